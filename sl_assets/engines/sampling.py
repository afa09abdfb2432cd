"""Sampling that survives: finished chunks are kept, and an interrupted run goes on after the last one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import polars as pl

from sl_assets.config import SHAPES, ExperimentConfig
from sl_assets.engines.interfaces import Adapter, Chat, Priced, Sampler, Steering
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
        temperature: softmax temperature; 0 takes the likeliest token.
        chunk: chats sampled together. Part of the result: another size gives other completions.
        top_p: tokens are drawn among the likeliest that have this probability together.
    """

    name: str
    seed: int
    max_tokens: int
    temperature: float
    chunk: int
    top_p: float = 1.0


def drawn(config: ExperimentConfig, stage: str, name: str, seed: int, max_tokens: int) -> Draw:
    """A draw of ``stage`` (a section) as ``config`` says."""
    (_, temperature), (_, top_p) = (config.shape_of(stage, shape) for shape in SHAPES)
    return Draw(name, seed, max_tokens, temperature, config.sampler.batch, top_p)


class Asked(NamedTuple):
    """One draw of completions to ``chats``, whose keys name the rows."""

    chats: Mapping[str, Chat]
    draw: Draw
    adapter: Adapter | None = None
    steering: Steering | None = None


class _Chunk:
    """Rows of ``asked`` that are sampled, and kept, together."""

    def __init__(self, asked: Asked, index: int, rows: list[str], work: Work) -> None:
        self._asked, self._index, self._rows, self._work = asked, index, rows, work
        self.chats = [asked.chats[row] for row in rows]
        self._name = f"{asked.draw.name}-{index:05}"
        self.kept = work.load(self._name, *self._fingerprint)

    @property
    def most_written(self) -> int:
        """Tokens that all its completions may have."""
        return len(self.chats) * self._asked.draw.max_tokens

    @property
    def _fingerprint(self) -> tuple[Any, ...]:
        _, draw, adapter, steering = self._asked
        steered = steering and [steering.layer, steering.vector.tolist()]
        if steered and steering and steering.positions != "all":
            steered.append(steering.positions)
        version = adapter and adapter.version
        # Pieces from before there was a top_p are still good.
        cut = () if draw.top_p == 1 else (draw.top_p,)
        return (draw.seed, draw.max_tokens, draw.temperature, version, steered, self._rows, self.chats, *cut)

    def sample(self, sampler: Sampler) -> pl.DataFrame:
        """Sample it, and keep it."""
        _, draw, adapter, steering = self._asked
        completions = sampler.sample(
            self.chats,
            max_tokens=draw.max_tokens,
            temperature=draw.temperature,
            top_p=draw.top_p,
            seed=seed_for(draw.seed, draw.name, self._index),
            row_seeds=[seed_for(draw.seed, draw.name, row) for row in self._rows],
            adapter=adapter and adapter.folder,
            steering=steering,
        )
        piece = pl.DataFrame(completions, schema=COMPLETIONS, orient="row")
        self._work.save(self._name, piece, *self._fingerprint)
        return piece


def sample_all(
    sampler: Callable[[Work], Sampler],
    chats: Mapping[str, Chat],
    draw: Draw,
    work: Work,
    progress: Callable[[int, int], None],
    adapter: Adapter | None = None,
    steering: Steering | None = None,
) -> pl.DataFrame:
    """The table of one draw; see `sample_draws`."""
    return sample_draws(sampler, [Asked(chats, draw, adapter, steering)], work, progress)[0]


def sample_draws(
    sampler: Callable[[Work], Sampler], draws: Sequence[Asked], work: Work, progress: Callable[[int, int], None]
) -> list[pl.DataFrame]:
    """Columns ``text, finish_reason, n_tokens``, one row a chat, in order: a table for each of ``draws``.

    Every chunk and every row has a seed of its own, so chunks that an earlier run finished and those sampled now are
    together what one undisturbed run gives. The sampler is only built if something is left to sample; one that costs
    money first says what all that is left may cost.
    """
    made = cache(lambda: sampler(work))
    parts = [_chunks(asked, work) for asked in draws]
    left = [chunk for chunks in parts for chunk in chunks if chunk.kept is None]
    if left:
        _announce(made(), left)
    tables = []
    total = sum(len(asked.chats) for asked in draws)
    if done := total - sum(len(chunk.chats) for chunk in left):
        progress(done, total)
    for chunks in parts:
        pieces = [pl.DataFrame(schema=COMPLETIONS)]
        for chunk in chunks:
            if chunk.kept is not None:
                pieces.append(chunk.kept)
                continue
            pieces.append(chunk.sample(made()))
            done += len(chunk.chats)
            progress(done, total)
        tables.append(pl.concat(pieces))
    return tables


def _announce(sampler: Sampler, left: Sequence[_Chunk]) -> None:
    if isinstance(sampler, Priced):
        sampler.expect([chat for chunk in left for chat in chunk.chats], sum(chunk.most_written for chunk in left))


def _chunks(asked: Asked, work: Work) -> list[_Chunk]:
    rows, size = list(asked.chats), asked.draw.chunk
    return [_Chunk(asked, start // size, rows[start : start + size], work) for start in range(0, len(rows), size)]
