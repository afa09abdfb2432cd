"""What a stage's function is given to make one partition, and what it gives back."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, TextIO

import polars as pl
from tqdm import tqdm
from upath import UPath

from sl_assets.engines.interfaces import Adapter
from sl_assets.errors import AbsentError, DatasetError
from sl_assets.hub.importing import Repository
from sl_assets.lake.fingerprint import digest
from sl_assets.lake.lake import Lake
from sl_assets.lake.pins import pinned
from sl_assets.lake.places import Place
from sl_assets.lake.records import Record, blocked
from sl_assets.lake.replicates import student_folder, students_of
from sl_assets.lake.tables import TABLES, keys_of
from sl_assets.lake.work import Work
from sl_assets.liveness import alive
from sl_assets.orchestration.durations import Remaining

LOG_SECONDS = 15.0

PREPARED = "prepared_model"
"""Asset that makes the base model of an experiment, where that is not one that is there already."""


class Terminal:
    """Where progress is shown; nowhere unless a command sets it.

    Dagster captures what a step writes to standard error, so a command hands over its own.

    Attributes:
        stream: standard error of the command.
        bars: whether it is a terminal; a log gets lines instead.
    """

    stream: ClassVar[TextIO | None] = None
    bars: ClassVar[bool] = False

    @classmethod
    def say(cls, line: str) -> None:
        """Show a line."""
        if cls.stream:
            cls.stream.write(f"{line}\n")
            cls.stream.flush()


@dataclass(frozen=True)
class Product:
    """What making one partition gave.

    Attributes:
        version: fingerprint of the content.
        metadata: shown in the UI: plain values, or those of `sl_assets.orchestration.metadata`.
        engine: what did the work.
        students: versions by seed of the students that it holds, or that answered.
    """

    version: str
    metadata: dict[str, Any] = field(default_factory=dict)
    engine: str = "polars"
    students: Mapping[int | None, str] = field(default_factory=dict)

    def showing(self, **more: Any) -> "Product":
        """The same with ``more`` metadata."""
        return replace(self, metadata=self.metadata | more)


class Student(NamedTuple):
    """One student at one epoch.

    Attributes:
        seed: what it was trained with; None where that is not known, of an imported one.
        epoch: epoch of its adapter.
        version: of the student, all its epochs together.
        adapter: what it differs by from the base model.
    """

    seed: int | None
    epoch: int
    version: str
    adapter: Adapter


@dataclass(frozen=True)
class Step:
    """One partition in the making: the lake around it, and a voice.

    Attributes:
        experiment, asset, partition: names.
        made_by: fingerprint of the asset's code and settings; pieces of work of others are not reused.
        lake: what it is made from, and where it goes.
        log: takes a line.
        trusting: whether partitions are read that fail a check which blocks: by checks themselves.
        named: the base model that the experiment file names.
        prepared: where the base model is that was made of it for this experiment; None where engines take it as it is.
        elsewhere: experiments of the assets that this one shares with another, by asset.
        made_but_for_seeds: as ``made_by``, whatever the seeds of students.
        earlier: what is recorded of the partition so far, if that was made alike but for the seeds of students.
    """

    experiment: str
    asset: str
    partition: str | None
    made_by: str
    lake: Lake
    log: Callable[[str], None]
    trusting: bool = False
    named: str = ""
    prepared: Place | None = None
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    made_but_for_seeds: str = ""
    earlier: Record | None = None

    @cached_property
    def base_model(self) -> str:
        """The base model as engines take it: as it is named, or the folder of the prepared one, read as a parent.

        Raises:
            AbsentError: it is not there, or damaged.
            DatasetError: it fails a check that blocks.
        """
        if self.prepared is None:
            return self.named
        self.require_passed(self.prepared)
        return str(self.lake.lasting_folder(self.prepared))

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
        asset = TABLES[table].beside or table if table in TABLES else table
        return Place(self.elsewhere.get(asset, self.experiment), table, "|".join(keys[:dimensions]) or None)

    def require_passed(self, place: Place) -> None:
        """Refuse to make anything of ``place`` if a check says that nothing should be.

        Raises:
            DatasetError: it, or what it was made of, fails a check that blocks.
        """
        if not self.trusting and (found := blocked(self.lake.record, place)):
            raise DatasetError(f"{self.place(self.asset)} not made: {found}")

    def read(self, table: str, partition: str | None = None) -> pl.DataFrame:
        """A parent's table.

        Raises:
            AbsentError: it is not there.
            DatasetError: it fails a check that blocks.
        """
        place = self.place(table, partition)
        self.require_passed(place)
        return self.lake.read_table(place)

    def usable(self, table: str, partitions: Iterable[str]) -> list[str]:
        """Those of ``partitions`` that have ``table`` and fail no check that blocks; others are named in the log."""
        found = []
        # Those that led to one may have led to others.
        records = cache(self.lake.record)
        for partition in partitions:
            place = self.place(table, partition)
            if not (record := records(place)):
                continue
            # What is left out for what it is now is an input as well.
            self.lake.reads[place] = record.data_version
            if fails := blocked(records, place):
                self.log(f"{self.name}: {partition} left out, for {fails}")
            else:
                found.append(partition)
        return found

    def read_existing(self, table: str, partitions: Iterable[str]) -> dict[str, pl.DataFrame]:
        """``table`` of those ``partitions`` that are `usable`, in their order."""
        usable = self.usable(table, partitions)
        return {partition: self.lake.read_table(self.place(table, partition)) for partition in usable}

    @contextmanager
    def folder(self, table: str, partition: str | None = None) -> Iterator[Path]:
        """A parent's folder on local disk.

        Raises:
            AbsentError: it is not there, or damaged.
            DatasetError: it fails a check that blocks.
        """
        place = self.place(table, partition)
        self.require_passed(place)
        with self.lake.folder(place) as folder:
            yield folder

    def write(self, frame: pl.DataFrame, table: str | None = None) -> str:
        """Write this asset's table (or another of its tables); returns its data version."""
        ordered = TABLES[table or self.asset].arranged(frame)
        return self.lake.write_table(self.place(table or self.asset), ordered, part_of=self.place(self.asset))

    def write_picture(self, png: bytes) -> str:
        """Write this asset's picture; returns its data version."""
        return self.lake.write_picture(self.place(self.asset), png, part_of=self.place(self.asset))

    def write_drawing(self, svg: str) -> UPath:
        """Write this asset's picture for print beside the other; returns where it is."""
        path = self.lake.picture(self.place(self.asset)).with_suffix(".svg")
        self.lake.write_file(path, svg.encode(), part_of=self.place(self.asset))
        return path

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
            DatasetError: it fails a check that blocks.
        """
        place = self.place(table)
        with self.folder(table) as folder:
            version = self.lake.reads[place]
            for epoch in epochs:
                if not (folder / f"epoch={epoch}").is_dir():
                    raise AbsentError(f"{place} has no adapter of epoch {epoch}: materialise it again")
            yield [Adapter(folder / f"epoch={epoch}", f"{version}/{epoch}") for epoch in epochs]

    @contextmanager
    def students(self, table: str, seeds: Sequence[int], epochs: Sequence[int]) -> Iterator[list[Student]]:
        """The students of ``seeds`` in a parent's folder, each at all ``epochs``; of imported ones, the one there is.

        Raises:
            AbsentError: it is not there, or was made without one of them.
            DatasetError: it fails a check that blocks.
        """
        place = self.place(table)
        with self.folder(table) as folder:
            record = self.lake.record(place)
            if record is None or record.data_version != self.lake.reads[place]:
                raise AbsentError(f"{place} was made anew meanwhile: materialise {self.asset} again")
            there = students_of(record)
            wanted: Sequence[int | None] = list(there) if None in there else seeds
            if missing := [seed for seed in wanted if seed not in there]:
                raise AbsentError(f"{place} has no student of seed {missing[0]}: materialise it again")
            found = []
            for seed in wanted:
                own = student_folder(folder, seed, list(there))
                for epoch in epochs:
                    adapter = own / f"epoch={epoch}"
                    if not adapter.is_dir():
                        raise AbsentError(f"{place} has no adapter of epoch {epoch}: materialise it again")
                    found.append(Student(seed, epoch, there[seed], Adapter(adapter, f"{there[seed]}/{epoch}")))
            yield found

    def commit_of(self, repository: Repository) -> str:
        """The commit that ``repository`` stands for in this lake."""
        return pinned(self.lake, repository.name) or repository.resolve()

    @property
    def work(self) -> Work:
        """Finished pieces of this partition, made with the base model that was read."""
        return self._work(self.made_by)

    @property
    def work_of_seeds(self) -> Work:
        """As `work`, of pieces that name their seeds: they are as good whichever other seeds there are."""
        return self._work(self.made_but_for_seeds)

    def _work(self, made_by: str) -> Work:
        base = self.lake.reads.get(self.prepared) if self.prepared else None
        return Work(self.lake, self.place(self.asset), digest(made_by, base) if base else made_by)

    def progress(self, unit: str) -> Callable[[int, int], None]:
        """A reporter of work done: a bar on a terminal, a line now and then in the log."""
        name = self.name
        bar = tqdm(desc=name, unit=f" {unit}", file=Terminal.stream, disable=not Terminal.bars, leave=False)
        start = last = time.monotonic()
        remaining = Remaining()

        def report(done: int, total: int) -> None:
            nonlocal last
            alive()
            bar.total = total
            bar.update(done - bar.n)
            now = time.monotonic()
            left = remaining(done, total, now)
            if now - last >= LOG_SECONDS or done == total:
                last = now
                line = f"{name}: {done:,} of {total:,} {unit}{left}"
                self.log(line)
                if not Terminal.bars and now - start >= LOG_SECONDS:
                    Terminal.say(line)
            if done == total:
                bar.close()

        return report


Make = Callable[[Step], Product]


class Finding(NamedTuple):
    """What a check has found in one partition.

    Attributes:
        problem: what is wrong and how to mend it, in one line; None where nothing is.
        figures: what was measured, and examples: plain values, shown in the UI and kept in the record.
    """

    problem: str | None = None
    figures: Mapping[str, Any] = MappingProxyType({})


def nothing_beside(_: Place) -> Sequence[Place]:
    """The places beside its own that a check looks at, where there are none."""
    return ()


@dataclass(frozen=True)
class Check:
    """Says of a finished partition whether it is what it should be.

    Attributes:
        look: looks at the partition. Its name is the check's, its docstring says what holds where it passes.
        bounds: fields of the experiment file that it goes by; if one changes, the check is made again.
        beside: partitions that it compares a place with; if one changes, the check is made again.
        blocking: whether nothing may be made of a partition that fails; else it is a warning.
    """

    look: Callable[[Step], Finding]
    bounds: Sequence[str] = ()
    beside: Callable[[Place], Sequence[Place]] = nothing_beside
    blocking: bool = True

    @property
    def name(self) -> str:
        """As the UI shows it."""
        return self.look.__name__

    @property
    def description(self) -> str:
        """What holds where it passes."""
        return " ".join((self.look.__doc__ or "").split())
