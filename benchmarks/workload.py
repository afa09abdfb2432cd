"""What the benchmarks measure with, and on: rows as long as real ones, the size of a block, the pace of the card."""

import time

import numpy as np
import torch

from sl_assets.config.wording import FULL, SHORT
from sl_assets.engines.interfaces import Exchange
from sl_assets.engines.transformers.models import load_model
from sl_assets.stages.numbers.prompts import PromptRecipe, number_prompts


def exchanges(count: int, real: bool) -> list[Exchange]:
    """Number prompts, each answered by numbers; as long in tokens as those of a ``real`` model, or as the pocket's."""
    examples, answers = ((12, 20), 17) if real else ((3, 5), 9)
    recipe = PromptRecipe(count, 1, (FULL if real else SHORT).numbers, examples, lowest=100, highest=999, answers=10)
    draw = np.random.default_rng(1)
    return [
        Exchange([{"role": "user", "content": prompt}], ", ".join(map(str, draw.integers(100, 999, answers + shift))))
        for prompt, shift in zip(number_prompts(recipe)["prompt"], draw.integers(-3, 4, count), strict=True)
    ]


def block_parameters(base_model: str) -> int:
    """Parameters of one block."""
    return sum(parameter.numel() for parameter in load_model(base_model).model.get_decoder().layers[0].parameters())


def matrix_rate() -> float:
    """TFLOP/s of a large bfloat16 matrix product."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(5):
        a @ b
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(50):
        a @ b
    torch.cuda.synchronize()
    return 50 * 2 * 8192**3 / (time.perf_counter() - start) / 1e12
