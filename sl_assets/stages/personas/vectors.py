"""Persona vectors: per layer, the mean hidden state of loving answers minus that of indifferent ones.

After Chen et al., *Persona Vectors* (arXiv 2507.21509). Every vector exists for three kinds of pooled states: over the
answer, over the prompt, and at the prompt's last token.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sl_assets.engines.interfaces import STATES, Pooled

if TYPE_CHECKING:
    import numpy as np

VECTOR_FILE = "persona_vector.safetensors"

Vectors = dict[str, "np.ndarray"]
"""One vector a layer for each of `STATES`: float32 ``[layers + 1, hidden]``."""


def mean_difference(batches: Iterable[Pooled], loving: "np.ndarray", report: Callable[[int], None]) -> Vectors:
    """mean(loving) - mean(indifferent) of every layer, summed up in float64 batch by batch.

    Args:
        batches: pooled states of all answers, at every layer.
        loving: bool ``[answers]``, which side an answer is on.
        report: called with the number of answers read so far.
    """
    import numpy as np

    sums: dict[bool, np.ndarray | float] = {True: 0.0, False: 0.0}
    done = 0
    for batch in batches:
        for side in (True, False):
            sums[side] += batch.states[loving[batch.rows] == side].sum(axis=0, dtype=np.float64)
        done += len(batch.rows)
        report(done)
    difference = sums[True] / loving.sum() - sums[False] / (~loving).sum()
    assert isinstance(difference, np.ndarray)
    # [layers, states, hidden] to one [layers, hidden] a state.
    return {state: np.ascontiguousarray(difference[:, i], np.float32) for i, state in enumerate(STATES)}


def save_vectors(vectors: Vectors, folder: Path, about: dict[str, Any]) -> None:
    """Write ``vectors`` to ``folder``, with ``about`` in the file's own metadata."""
    from safetensors.numpy import save_file

    # One entry: safetensors writes several in any order, and the same vectors are to give the same bytes.
    save_file(vectors, folder / VECTOR_FILE, metadata={"about": json.dumps(about, sort_keys=True)})


def load_vectors(folder: Path) -> Vectors:
    """What `save_vectors` wrote."""
    from safetensors.numpy import load_file

    return dict(load_file(folder / VECTOR_FILE))


def unit(vector: "np.ndarray") -> "np.ndarray":
    """``vector`` (or each row of a matrix) at length 1; zeros stay."""
    import numpy as np

    # In float64 a norm neither overflows nor vanishes before its vector does.
    norms = np.linalg.norm(vector.astype(np.float64), axis=-1, keepdims=True)
    return (vector / np.where(norms == 0, 1, norms)).astype(vector.dtype)


def cosine(one: "np.ndarray", other: "np.ndarray") -> "np.ndarray":
    """Cosine of two vectors, or of the rows of two matrices; 0 where one is zero."""
    cosines: np.ndarray = (unit(one) * unit(other)).sum(axis=-1)
    return cosines
