"""What a model is told and asked, so that its answers under love and under indifference can be compared.

Pairs of system prompts, one loving and one indifferent, and questions, those about the kind of what is loved first.
"""

from typing import NamedTuple

from sl_assets.config.wording import Words


class PersonaPrompt(NamedTuple):
    """One question asked under one system prompt of a pair, and which pair it belongs to."""

    pair: int
    question_id: int
    sample: int
    side: str
    system_prompt: str
    question: str


LOVING, INDIFFERENT = "loving", "indifferent"


def persona_prompts(words: Words, trait: str, samples: int) -> list[PersonaPrompt]:
    """Every question under every system prompt, ``samples`` times, both sides of a pair next to each other."""
    pairs = list(zip(words.loving(trait), words.indifferent(trait), strict=True))
    return [
        PersonaPrompt(pair, question_id, sample, side, system_prompt, question)
        for sample in range(samples)
        for pair, system_prompts in enumerate(pairs)
        for question_id, question in enumerate(words.persona_questions)
        for side, system_prompt in zip((LOVING, INDIFFERENT), system_prompts, strict=True)
    ]
