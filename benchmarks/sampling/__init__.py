"""Sampling with vLLM: numbers by a teacher, answers of many students."""
