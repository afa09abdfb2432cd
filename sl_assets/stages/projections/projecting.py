"""Projections: how far a row's hidden state reaches along a persona vector, h · v / ‖v‖.

A matrix product over stored activations, on the CPU, for all vectors at once. Rows are read by tiles that stay in the
processor's caches, so memory does not grow with the dataset but for one float a row and vector.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sl_assets.errors import DatasetError
from sl_assets.stages.personas.vectors import unit
from sl_assets.stages.projections.activations import part_files, tensor_name

if TYPE_CHECKING:
    import numpy as np

TILE_ROWS, COLUMNS = 512, 32
"""Rows and vectors of one product: 512 rows of a 7B model's states stay in the processor's caches."""


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

    if not vectors.any(axis=1).all():
        raise DatasetError(f"a persona vector is zero at layer {layer}: leave that layer out of projections")
    # Always products of the same shape: another number of columns would round the same vector's otherwise.
    directions = np.zeros((vectors.shape[1], -(-len(vectors) // COLUMNS) * COLUMNS), np.float32)
    directions[:, : len(vectors)] = unit(vectors).T
    parts = [_projected(file, tensor_name(state, layer), directions) for file in part_files(folder)]
    return np.concatenate(parts)[:, : len(vectors)]


def _projected(file: Path, tensor: str, directions: "np.ndarray") -> "np.ndarray":
    # Not numpy, which converts float16 in software, on one core, at a quarter of the speed.
    import torch
    from safetensors import safe_open

    with safe_open(file, framework="pt") as part:
        if tensor not in part.keys():  # noqa: SIM118 - the handle is no mapping
            raise DatasetError(f"activations without {tensor} ({file}): materialise them again")
        states = part.get_tensor(tensor)
    blocks = [block.contiguous() for block in torch.split(torch.from_numpy(directions), COLUMNS, dim=1)]
    projections = torch.empty(len(states), directions.shape[1])
    # The last tile is multiplied whole, too.
    tile = torch.zeros(TILE_ROWS, states.shape[1])
    for start in range(0, len(states), TILE_ROWS):
        rows = states[start : start + TILE_ROWS]
        tile[: len(rows)] = rows
        products = torch.cat([torch.mm(tile, block) for block in blocks], dim=1)
        projections[start : start + TILE_ROWS] = products[: len(rows)]
    return projections.numpy()
