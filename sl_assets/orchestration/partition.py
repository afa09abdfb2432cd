"""What a stage's function is given to make one partition, and what it gives back."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TextIO

import polars as pl
from tqdm import tqdm

from sl_assets.engines.interfaces import Adapter
from sl_assets.errors import AbsentError
from sl_assets.hub.importing import Repository
from sl_assets.lake.lake import Lake
from sl_assets.lake.pins import pinned
from sl_assets.lake.places import Place
from sl_assets.lake.tables import TABLES, keys_of
from sl_assets.lake.work import Work
from sl_assets.orchestration.durations import duration, pace

LOG_SECONDS = 15.0


class Terminal:
    """Where progress bars are drawn; nowhere unless a command sets it.

    Dagster captures what a step writes to standard error, so a bar needs the terminal itself.
    """

    stream: ClassVar[TextIO | None] = None


@dataclass(frozen=True)
class Product:
    """What making one partition gave.

    Attributes:
        version: fingerprint of the content.
        metadata: shown in the UI: plain values, or those of `sl_assets.orchestration.metadata`.
        engine: what did the work.
    """

    version: str
    metadata: dict[str, Any] = field(default_factory=dict)
    engine: str = "polars"


@dataclass(frozen=True)
class Step:
    """One partition in the making: the lake around it, and a voice.

    Attributes:
        experiment, asset, partition: names.
        made_by: fingerprint of the asset's code and settings; pieces of work of others are not reused.
        lake: what it is made from, and where it goes.
        log: takes a line.
    """

    experiment: str
    asset: str
    partition: str | None
    made_by: str
    lake: Lake
    log: Callable[[str], None]

    @property
    def name(self) -> str:
        """Asset and partition, for the user."""
        return f"{self.asset} {self.partition or ''}".strip()

    @property
    def condition(self) -> str:
        """The condition or animal of this partition; empty where the asset has no partitions."""
        return next(iter(keys_of(self.partition)), "")

    @property
    def split(self) -> str:
        """The split of this partition."""
        return keys_of(self.partition)[1]

    def place(self, table: str, partition: str | None = None) -> Place:
        """Where ``table`` of this partition (or of ``partition``) lives."""
        keys = keys_of(partition or self.partition)
        # A folder has the partitions of whoever asks for it; a table may have fewer.
        dimensions = TABLES[table].dimensions if table in TABLES else len(keys)
        return Place(self.experiment, table, "|".join(keys[:dimensions]) or None)

    def read(self, table: str, partition: str | None = None) -> pl.DataFrame:
        """A parent's table."""
        return self.lake.read_table(self.place(table, partition))

    def read_existing(self, table: str, partitions: Iterable[str]) -> dict[str, pl.DataFrame]:
        """``table`` of those ``partitions`` that have it, in their order."""
        there = [partition for partition in partitions if self.lake.exists(self.place(table, partition))]
        return {partition: self.read(table, partition) for partition in there}

    def write(self, frame: pl.DataFrame, table: str | None = None) -> str:
        """Write this asset's table (or another of its tables); returns its data version."""
        schema = TABLES[table or self.asset].schema
        ordered = frame.select(pl.col(name).cast(dtype) for name, dtype in schema.items())
        return self.lake.write_table(self.place(table or self.asset), ordered, part_of=self.place(self.asset))

    def write_picture(self, png: bytes) -> str:
        """Write this asset's picture; returns its data version."""
        return self.lake.write_picture(self.place(self.asset), png, part_of=self.place(self.asset))

    def new_folder(self) -> AbstractContextManager[Path]:
        """An empty local folder to fill and then to `put`."""
        return self.lake.building(self.place(self.asset))

    def put(self, folder: Path) -> str:
        """Make what `new_folder` gave this asset's folder; returns its data version."""
        return self.lake.put_folder(self.place(self.asset), folder)

    @contextmanager
    def adapters(self, table: str, epochs: Sequence[int]) -> Iterator[list[Adapter]]:
        """A parent's adapters of ``epochs``.

        Raises:
            AbsentError: it is not there, or was made without one of them.
        """
        place = self.place(table)
        with self.lake.folder(place) as folder:
            version = self.lake.reads[place]
            for epoch in epochs:
                if not (folder / f"epoch={epoch}").is_dir():
                    raise AbsentError(f"{place} has no adapter of epoch {epoch}: materialise it again")
            yield [Adapter(folder / f"epoch={epoch}", f"{version}/{epoch}") for epoch in epochs]

    def commit_of(self, repository: Repository) -> str:
        """The commit that ``repository`` stands for in this lake."""
        return pinned(self.lake, repository.name) or repository.resolve()

    @property
    def work(self) -> Work:
        """Finished pieces of this partition."""
        return Work(self.lake, self.place(self.asset), self.made_by)

    def progress(self, unit: str) -> Callable[[int, int], None]:
        """A reporter of work done: a bar on a terminal, a line now and then in the log."""
        name = self.name
        bar = tqdm(desc=name, unit=f" {unit}", file=Terminal.stream, disable=Terminal.stream is None, leave=False)
        start = last = time.monotonic()
        first: tuple[float, int] | None = None

        def report(done: int, total: int) -> None:
            nonlocal last, first
            bar.total = total
            bar.update(done - bar.n)
            now = time.monotonic()
            if now - last >= LOG_SECONDS or done == total:
                last = now
                # Since the first report: what an earlier run had kept, and compiling, say nothing of the pace.
                since, before = first or (start, 0)
                line = f"{name}: {done:,} of {total:,} {unit}"
                if now - since >= 1 and done > before:
                    each = (now - since) / (done - before)
                    line += f", {pace(each)}, {duration((total - done) * each)} left"
                self.log(line)
            first = first or (now, done)
            if done == total:
                bar.close()

        return report


Make = Callable[[Step], Product]
Check = Callable[[Step], str | None]
