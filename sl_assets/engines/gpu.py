"""Whose turn it is on the GPU: engines of one process do not fit beside one another."""

import sys
from collections.abc import Callable

_holder: tuple[str, Callable[[], None]] | None = None


def take_gpu(engine: str, release: Callable[[], None]) -> None:
    """Give the GPU to ``engine``, after whoever had it let go; ``release`` is called when another asks for it."""
    global _holder  # noqa: PLW0603
    if _holder and _holder[0] != engine:
        _holder[1]()
    _holder = engine, release


def let_go() -> None:
    """Have whoever has the GPU let go."""
    global _holder  # noqa: PLW0603
    if _holder:
        _holder[1]()
    _holder = None


def cuda_is_in_use() -> bool:
    """Whether this process itself has used CUDA, and so has settled which cards it sees."""
    torch = sys.modules.get("torch")
    return bool(torch and torch.cuda.is_initialized())


def free_memory() -> None:
    """Give back GPU memory that nothing uses any more."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
