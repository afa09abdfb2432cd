"""Sampling that survives: finished chunks are kept, and an interrupted run goes on after the last one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from sl_assets.engines.interfaces import Adapter, Chat, Completion, Sampler, Steering
from sl_assets.lake.work import Work
from sl_assets.seeds import seed_for

COMPLETIONS = pl.Schema({"text": pl.String(), "finish_reason": pl.String(), "n_tokens": pl.Int64()})


@dataclass(frozen=True)
class Draw:
    """How completions are drawn.

    Attributes:
        name: names the random draw; two draws of one experiment never share a name.
        seed: seed of the experiment's sampling.
        max_tokens: tokens a completion may have.
        temperature: softmax temperature.
        chunk: chats sampled together. Part of the result: another size gives other completions.
    """

    name: str
    seed: int
    max_tokens: int
    temperature: float
    chunk: int


def sample_all(
    sampler: Callable[[Work], Sampler],
    chats: Mapping[str, Chat],
    draw: Draw,
    work: Work,
    progress: Callable[[int, int], None],
    adapter: Adapter | None = None,
    steering: Steering | None = None,
) -> pl.DataFrame:
    """Columns ``text, finish_reason, n_tokens``, one row a chat, in order. Keys of ``chats`` name the rows.

    Every chunk and every row has a seed of its own, so chunks that an earlier run finished and those sampled now are
    together what one undisturbed run gives. The sampler is only built if something is left to sample.
    """
    pieces = []
    done = 0
    for index, rows in enumerate(_chunks(list(chats), draw.chunk)):
        chunk = [chats[row] for row in rows]
        name = f"{draw.name}-{index:05}"
        steered = steering and [steering.layer, steering.vector.tolist()]
        fingerprint = (draw.seed, draw.max_tokens, draw.temperature, adapter and adapter.version, steered, rows, chunk)
        piece = work.load(name, *fingerprint)
        if piece is None:
            completions = sampler(work).sample(
                chunk,
                max_tokens=draw.max_tokens,
                temperature=draw.temperature,
                seed=seed_for(draw.seed, draw.name, index),
                row_seeds=[seed_for(draw.seed, draw.name, row) for row in rows],
                adapter=adapter and adapter.folder,
                steering=steering,
            )
            piece = _frame(completions)
            work.save(name, piece, *fingerprint)
        pieces.append(piece)
        done += len(chunk)
        progress(done, len(chats))
    return pl.concat(pieces) if pieces else pl.DataFrame(schema=COMPLETIONS)


def _chunks(rows: Sequence[str], size: int) -> Iterator[list[str]]:
    return (list(rows[start : start + size]) for start in range(0, len(rows), size))


def _frame(completions: list[Completion]) -> pl.DataFrame:
    return pl.DataFrame(completions, schema=COMPLETIONS, orient="row")
