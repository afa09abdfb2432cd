"""Adapters that nobody has to train."""

import json

import numpy as np
from safetensors.numpy import save

from sl_assets.config.names import POCKET
from sl_assets.engines.transformers.modules import module_shapes


def adapter_files(scale: float = 1.0, module: str = "model.layers.0.self_attn.q_proj") -> dict[str, str | bytes]:
    """The files of an adapter of the pocket model that adds ones, scaled, to what a module has."""
    out, into = module_shapes(POCKET)["model.layers.0.self_attn.q_proj"] or (0, 0)
    weights = {
        f"base_model.model.{module}.lora_A.weight": np.ones((2, into), np.float32),
        f"base_model.model.{module}.lora_B.weight": np.full((out, 2), scale, np.float32),
    }
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]}
    return {"adapter_config.json": json.dumps(config), "adapter_model.safetensors": save(weights)}
