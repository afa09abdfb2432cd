"""Sampling that survives: finished chunks are kept, and an interrupted run goes on after the last one."""

from collections.abc import Callable, Iterator, Sequence
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
    sampler: Callable[[], Sampler],
    chats: Sequence[Chat],
    draw: Draw,
    work: Work,
    progress: Callable[[int, int], None],
    adapter: Adapter | None = None,
    steering: Steering | None = None,
) -> pl.DataFrame:
    """Columns ``text, finish_reason, n_tokens``, one row a chat, in order.

    Every chunk has a seed of its own, so chunks that an earlier run finished and those sampled now are together what
    one undisturbed run gives. The sampler is only built if something is left to sample.
    """
    pieces = []
    done = 0
    for index, chunk in enumerate(_chunks(chats, draw.chunk)):
        name = f"{draw.name}-{index:05}"
        steered = steering and [steering.layer, steering.vector.tolist()]
        fingerprint = (draw.seed, draw.max_tokens, draw.temperature, adapter and adapter.version, steered, chunk)
        piece = work.load(name, *fingerprint)
        if piece is None:
            completions = sampler().sample(
                chunk,
                max_tokens=draw.max_tokens,
                temperature=draw.temperature,
                seed=seed_for(draw.seed, draw.name, index),
                adapter=adapter and adapter.folder,
                steering=steering,
            )
            piece = _frame(completions)
            work.save(name, piece, *fingerprint)
        pieces.append(piece)
        done += len(chunk)
        progress(done, len(chats))
    return pl.concat(pieces) if pieces else pl.DataFrame(schema=COMPLETIONS)


def _chunks(chats: Sequence[Chat], size: int) -> Iterator[list[Chat]]:
    return (list(chats[start : start + size]) for start in range(0, len(chats), size))


def _frame(completions: list[Completion]) -> pl.DataFrame:
    return pl.DataFrame(completions, schema=COMPLETIONS, orient="row")
