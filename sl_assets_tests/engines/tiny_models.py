"""Randomly initialised models of many architectures, small enough to be worked through token by token."""

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from sl_assets.engines.transformers.models import POCKET_FOLDER

SHARED = {"vocab_size": 2001, "eos_token_id": 1, "bos_token_id": None, "pad_token_id": 0}
DECODER = SHARED | {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 512,
}  # fmt: skip
WINDOW = {"sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": DECODER,
    "qwen2": DECODER,
    "olmo3": DECODER | WINDOW,
    "gemma2": DECODER | WINDOW | {"query_pre_attn_scalar": 16, "final_logit_softcapping": 5.0},
    "gpt2": SHARED | {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 512},
    "gpt_neox": SHARED | {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2},
    "bloom": SHARED | {"hidden_size": 32, "n_layer": 2, "n_head": 2},
    "mamba": SHARED | {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    "recurrent_gemma": DECODER | {"lru_width": 32, "attention_window_size": 64, "num_hidden_layers": 3},
    "lfm2": DECODER | {"layer_types": ["conv", "full_attention"], "block_ff_dim": 48},
}
"""Attention with a mask, with windows, with capped logits, by learnt positions, by distance; states; convolutions."""


def write_model(folder: Path, architecture: str = "llama", seed: int = 0, **changes: Any) -> Path:
    """A model with the pocket model's tokenizer and chat template, its weights drawn from ``seed``."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(architecture, **ARCHITECTURES[architecture] | changes)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        # As drawn, small models give all tokens nearly the same chance, and mistakes would hardly show.
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
    save_model(model, folder)
    return folder


def save_model(model: Any, folder: Path) -> None:
    """Put ``model`` into ``folder``, with the pocket model's tokenizer and chat template."""
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(POCKET_FOLDER).save_pretrained(folder)
    shutil.copyfile(POCKET_FOLDER / "chat_template.jinja", folder / "chat_template.jinja")
