"""Layers of a decoder by number, to read or to steer: one convention for everything that touches hidden states.

Layer 0 is what enters the first block (the embedding output), layer n what leaves the n-th, before any final norm.
Imports torch.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.utils.hooks import RemovableHandle

from sl_assets.errors import SlAssetsError


class HighestLayerReached(Exception):  # noqa: N818 - no error: the pass has done its work
    """Ends a forward pass whose remaining layers nobody asked for."""


def blocks_of(model: Any) -> "torch.nn.ModuleList":
    """The decoder's blocks, first to last."""
    blocks = model.get_decoder().layers
    assert isinstance(blocks, torch.nn.ModuleList)
    return blocks


COMPILED_FROM = 1_000_000_000
"""Parameters from which compiling the blocks on a GPU is worth its half minute.

Not a number of rows: whole datasets and small ones are compared, so the same kernels have to encode them."""

_compiled: WeakKeyDictionary[Any, list[Any]] = WeakKeyDictionary()
"""Compiled blocks of the models in use: bound to the blocks, so a model that is let go takes them along."""


@contextmanager
def fast_blocks(model: Any) -> Iterator[None]:
    """Compiled blocks of a large model on a GPU, for as long as needed: fused norms and activations save time."""
    if model.device.type != "cuda" or model.num_parameters() < COMPILED_FROM:
        yield
        return
    blocks = blocks_of(model)
    if model not in _compiled:
        _compiled[model] = [torch.compile(block.forward, dynamic=True) for block in blocks]
    for block, forward in zip(blocks, _compiled[model], strict=True):
        block.forward = forward
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


@contextmanager
def reading(model: Any, layers: Sequence[int], read: Callable[[int, torch.Tensor], None]) -> Iterator[None]:
    """Call ``read(layer, hidden)`` for each of ``layers``; with the highest, the block that was entered ends.

    ``hidden`` is ``[rows, length, width]``.
    """

    def change(layer: int, hidden: torch.Tensor) -> None:
        read(layer, hidden)
        if layer == max(layers):
            raise HighestLayerReached

    with _hooked(model, layers, change), suppress(HighestLayerReached):
        yield


@contextmanager
def adding(model: Any, layer: int, vector: torch.Tensor, last: bool = False) -> Iterator[None]:
    """Add ``vector`` (``[width]``) to ``layer`` at every position of every forward pass, or at its ``last`` alone."""

    def added(_: int, hidden: torch.Tensor) -> torch.Tensor:
        first = hidden.shape[1] - 1 if last else 0
        return torch.cat([hidden[:, :first], hidden[:, first:] + vector.to(hidden)], dim=1)

    with _hooked(model, [layer], added):
        yield


@contextmanager
def _hooked(
    model: Any, layers: Sequence[int], change: Callable[[int, torch.Tensor], torch.Tensor | None]
) -> Iterator[None]:
    blocks = blocks_of(model)
    if beyond := [layer for layer in layers if not 0 <= layer <= len(blocks)]:
        raise SlAssetsError(f"no layer {beyond[0]} in this model; choose from 0 to {len(blocks)}")
    handles = [_hook(blocks, layer, change) for layer in sorted(set(layers))]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(
    blocks: torch.nn.ModuleList, layer: int, change: Callable[[int, torch.Tensor], torch.Tensor | None]
) -> RemovableHandle:
    # Layer 0 has no block of its own: blocks[layer - 1] would wrap round to the last.
    if layer == 0:

        def before(_: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
            changed = change(0, inputs[0])
            return None if changed is None else (changed, *inputs[1:])

        return blocks[0].register_forward_pre_hook(before)

    def after(_: Any, __: Any, output: Any) -> Any:
        whole = isinstance(output, torch.Tensor)
        changed = change(layer, output if whole else output[0])
        if changed is None:
            return None
        return changed if whole else (changed, *output[1:])

    return blocks[layer - 1].register_forward_hook(after)
