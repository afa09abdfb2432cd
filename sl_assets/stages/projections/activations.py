"""Activations of a dataset: what one pass of its rows through the model leaves behind.

A folder of parts, each a safetensors file with one float16 ``[rows, hidden]`` tensor for every kind of pooled state and
layer, and ``rows.parquet``, which says whose states they are, in order. However many rows there are, only one part is
in memory; each is kept as it ends, so an interrupted pass goes on after the last one.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl

from sl_assets.engines.interfaces import STATES, Encoder, Exchange, chat
from sl_assets.errors import DatasetError
from sl_assets.lake.fingerprint import digest
from sl_assets.lake.work import Work
from sl_assets.stages.numbers.sources import system_prompts

PART_ROWS = 4_096
SMALLEST_PART = 256
ROWS_FILE = "rows.parquet"


def tensor_name(state: str, layer: int) -> str:
    """Name of a part's tensor."""
    return f"{state}.{layer}"


def part_files(folder: Path) -> list[Path]:
    """The parts of an ``activations`` folder, in the order of its rows."""
    return sorted(folder.glob("part-*.safetensors"))


def encode_parts(
    encoder: Callable[[], Encoder],
    rows: pl.DataFrame,
    layers: Sequence[int],
    work: Work,
    progress: Callable[[int, int], None],
    system: str | None = None,
) -> Iterator[bytes]:
    """Encode ``rows`` (``prompt, completion``, perhaps ``system``) as students see them: under a system prompt of their
    own, or under ``system``.

    Yields the parts in order; the encoder is built only if one is missing.

    Raises:
        DatasetError: rows have a system prompt of their own, and one is given.
    """
    told = system_prompts(rows, system)
    size = max(SMALLEST_PART, PART_ROWS // len(layers))
    for index, start in enumerate(range(0, rows.height, size)):
        part = rows.slice(start, size).select("prompt", "completion").rows()
        under = told[start : start + size]
        said: object = system if "system" not in rows.columns else under
        name, fingerprint = f"{index:05}.safetensors", (list(layers), digest(part, said))

        def report(done: int, start: int = start) -> None:
            progress(start + done, rows.height)

        content = work.load_bytes(name, *fingerprint)
        if content is not None:
            report(len(part))
        else:
            exchanges = [Exchange(chat(prompt, own), answer) for (prompt, answer), own in zip(part, under, strict=True)]
            content = _encoded(encoder(), exchanges, layers, report)
            work.save_bytes(name, content, *fingerprint)
        yield content


def _encoded(
    encoder: Encoder, exchanges: Sequence[Exchange], layers: Sequence[int], report: Callable[[int], None]
) -> bytes:
    import numpy as np
    from safetensors.numpy import save

    states: np.ndarray | None = None
    done = 0
    for batch in encoder.encode(exchanges, layers):
        if states is None:
            states = np.empty((len(exchanges), *batch.states.shape[1:]), np.float16)
        with np.errstate(over="ignore"):
            states[batch.rows] = batch.states
        done += len(batch.rows)
        report(done)
    assert states is not None
    if not (finite := np.isfinite(states).all(axis=(0, 2, 3))).all():
        worst = int(np.argmin(finite))
        if np.isnan(states[:, worst]).any():
            raise DatasetError(f"layer {layers[worst]} has states that are no numbers: the base model is broken")
        raise DatasetError(f"layer {layers[worst]} has states beyond float16's range: take it out of projections")
    tensors = {
        tensor_name(state, layer): np.ascontiguousarray(states[:, i, j])
        for i, layer in enumerate(layers)
        for j, state in enumerate(STATES)
    }
    return bytes(save(tensors))


def write_activations(folder: Path, rows: pl.DataFrame, parts: Iterable[bytes]) -> None:
    """Fill ``folder`` with ``parts``, one at a time, and with whose they are."""
    for index, part in enumerate(parts):
        (folder / f"part-{index:05}.safetensors").write_bytes(part)
    rows.select("row_id", "prompt_id").write_parquet(folder / ROWS_FILE)


def read_rows(folder: Path) -> pl.DataFrame:
    """``row_id, prompt_id`` of every row, in the order of the parts."""
    return pl.read_parquet(io.BytesIO((folder / ROWS_FILE).read_bytes()))
