"""Activations written by hand."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from safetensors.numpy import save

from sl_assets.stages.projections.activations import tensor_name, write_activations


def write_folder(
    folder: Path,
    states: dict[tuple[str, int], np.ndarray],
    parts: Sequence[int] = (),
    prompt_ids: Sequence[str] | None = None,
) -> Path:
    """An ``activations`` folder.

    Args:
        folder: is made.
        states: ``[rows, hidden]`` by kind and layer, in numbers that float16 can hold.
        parts: rows of each part; one part of all rows where left out.
        prompt_ids: one a row.
    """
    rows = len(next(iter(states.values())))
    ends = np.cumsum(parts or (rows,)).tolist()
    assert ends[-1] == rows

    def content(start: int, end: int) -> bytes:
        return save({tensor_name(*key): values[start:end].astype(np.float16) for key, values in states.items()})

    contents = [content(start, end) for start, end in zip([0, *ends], ends, strict=False)]
    names = prompt_ids or [f"p{i}" for i in range(rows)]
    table = pl.DataFrame({"row_id": [f"{folder.name}-{name}" for name in names], "prompt_id": names})
    folder.mkdir()
    write_activations(folder, table, contents)
    return folder
