"""Projections: how far a row's hidden state reaches along a persona vector, h · v / ‖v‖.

A matrix product over stored activations, on the CPU: tiles of rows small enough for the cache, one thread a core, all
vectors at once. Memory does not grow with the dataset, but for one float a row and vector.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sl_assets.errors import DatasetError
from sl_assets.personas.vectors import unit
from sl_assets.projections.activations import part_files, tensor_name

if TYPE_CHECKING:
    import numpy as np

SLAB_ROWS, TILE_ROWS = 1_024, 128
"""Rows a thread reads at once, and multiplies at once: a tile of a 7B model's float32 states (2 MB) stays in cache."""


def project(folder: Path, state: str, layer: int, vectors: "np.ndarray") -> "np.ndarray":
    """Projections of every row of an ``activations`` folder: float32 ``[rows, vectors]``.

    Args:
        folder: an ``activations`` folder.
        state: kind of pooled state.
        layer: layer of both the states and the vectors.
        vectors: float32 ``[vectors, hidden]``, of any length but zero.

    Raises:
        DatasetError: a vector is zero, or the folder lacks the layer.
    """
    import numpy as np

    if not np.linalg.norm(vectors, axis=1).all():
        raise DatasetError(f"a persona vector is zero at layer {layer}: nothing can be projected on it")
    directions = np.ascontiguousarray(unit(vectors).T, np.float32)
    slabs = [slab for file in part_files(folder) for slab in _slabs(file, tensor_name(state, layer))]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return np.concatenate(list(threads.map(partial(_projected, directions), slabs)))


class Slab(NamedTuple):
    """Neighbouring rows of a part's tensor."""

    file: Path
    tensor: str
    start: int
    stop: int


def _slabs(file: Path, tensor: str) -> list[Slab]:
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as part:
        if tensor not in part.keys():  # noqa: SIM118 - the handle is no mapping
            raise DatasetError(f"activations without {tensor}: materialise activations again")
        rows = part.get_slice(tensor).get_shape()[0]
    return [Slab(file, tensor, start, min(start + SLAB_ROWS, rows)) for start in range(0, rows, SLAB_ROWS)]


def _projected(directions: "np.ndarray", slab: Slab) -> "np.ndarray":
    import numpy as np
    from safetensors import safe_open

    with safe_open(slab.file, framework="numpy") as part:
        states = part.get_slice(slab.tensor)[slab.start : slab.stop]
    tiles = range(0, len(states), TILE_ROWS)
    return np.concatenate([states[tile : tile + TILE_ROWS].astype(np.float32) @ directions for tile in tiles])
