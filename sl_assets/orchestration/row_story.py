"""What became of one row: from its prompt to the students that were trained on it, as the tables of a lake tell.

Whatever there is, is told; what is not there yet, is damaged, or is older than a table that would tell of it, is named
in a note. Looking changes nothing in the lake.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace

import polars as pl

from sl_assets.errors import DatasetError
from sl_assets.lake.damage import DamageError
from sl_assets.lake.lake import Lake, recorded_as
from sl_assets.lake.parquet import DATA
from sl_assets.lake.places import Place
from sl_assets.lake.records import Record
from sl_assets.lake.replicates import ROWS_SEEN
from sl_assets.lake.tables import keys_of
from sl_assets.orchestration.asset import ExperimentGraph


@dataclass(frozen=True)
class Told:
    """Something that a partition tells of a row.

    Attributes:
        by: the partition, as ``pocket/filtered_dataset of owl``.
        stale: why that is stale; None where it is fresh.
    """

    by: str
    stale: str | None


@dataclass(frozen=True)
class Filtered(Told):
    """Whether the row was kept.

    Attributes:
        kept: whether it was.
        reasons: why not.
    """

    kept: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Transformed(Told):
    """What students saw in the row's place, or with its numbers in it.

    Attributes:
        row_id: row of the transformed dataset.
        completion: what students learn to write.
        made_of: rows that its numbers come from.
    """

    row_id: str
    completion: str
    made_of: tuple[str, ...]


@dataclass(frozen=True)
class Projected(Told):
    """The row's state on an animal's persona vector.

    Attributes:
        animal: whose vector.
        layer: of state and vector; 0 is the embedding output.
        projection: h . v / |v|.
    """

    animal: str
    layer: int
    projection: float


@dataclass(frozen=True)
class InHalf(Told):
    """A half that has the row.

    Attributes:
        animal: whose vector cut the dataset.
        split: name of the half.
        score: what it was cut by.
        cut: where; None of random halves.
        used: whether students draw from the row.
    """

    animal: str
    split: str
    score: float
    cut: float | None
    used: bool


@dataclass(frozen=True)
class Trained(Told):
    """Students that were trained on the row, or on one that has numbers of it.

    Attributes:
        row_id: which row they saw.
        seeds: those whose student saw it; of the row's own dataset that may be none.
        of: all seeds there are.
    """

    row_id: str
    seeds: tuple[int, ...]
    of: tuple[int, ...]


@dataclass(frozen=True)
class Story:
    """What became of a row.

    Attributes:
        experiment: whose story it is; another may have made the row.
        condition: whose teacher wrote it.
        row_id, prompt_id, prompt, system, completion, finish_reason, n_tokens: as in ``raw_dataset``.
        written: the partition that holds it.
        filtered: None where it has not been filtered.
        notes: what is not told, and why.
    """

    experiment: str
    condition: str
    row_id: str
    prompt_id: str
    prompt: str
    system: str | None
    completion: str
    finish_reason: str
    n_tokens: int | None
    written: Told
    filtered: Filtered | None = None
    transformed: tuple[Transformed, ...] = ()
    projections: tuple[Projected, ...] = ()
    halves: tuple[InHalf, ...] = ()
    students: tuple[Trained, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """All of it."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    def lines(self) -> Iterator[str]:
        """For a terminal."""
        yield f"{self.row_id}: a row of {_said(self.written)}"
        yield f"  prompt      {_quoted(self.prompt)}, prompt_id {self.prompt_id}"
        if self.system is not None:
            yield f"  system      {_quoted(self.system)}"
        tokens = "" if self.n_tokens is None else f", {self.n_tokens} tokens"
        yield f"  completion  {_quoted(self.completion)} ({self.finish_reason}{tokens})"
        if self.filtered:
            outcome = (
                "kept" if self.filtered.kept else f"rejected: {', '.join(self.filtered.reasons) or 'not said why'}"
            )
            yield f"  filtered    {outcome}, by {_said(self.filtered)}"
        for form in self.transformed:
            named = "as" if form.row_id == self.row_id else f"some of its numbers in {form.row_id},"
            others = len(set(form.made_of) - {self.row_id})
            made = f", with numbers of {others} other rows" if others else ""
            yield f"  transformed {named} {_quoted(form.completion)}{made}, in {_said(form)}"
        for found in self.projections:
            yield f"  projection  {found.projection:.4g} on {found.animal} at layer {found.layer}{_stale(found)}"
        for half in self.halves:
            cut = "" if half.cut is None else f", cut at {half.cut:.4g}"
            used = "" if half.used else "; no student draws from it, for halves are of one size"
            yield f"  half        {half.animal} {half.split}: score {half.score:.4g}{cut}{used}{_stale(half)}"
        for seen in self.students:
            which = f"seed {_listed(seen.seeds)}" if seen.seeds else "no seed"
            row = "" if seen.row_id == self.row_id else f", as {seen.row_id}"
            yield f"  trained on  by {which} of {_listed(seen.of)}{row}: {_said(seen)}"
        for note in self.notes:
            yield f"  note        {note}"


def story_of(graph: ExperimentGraph, lake: Lake, row_id: str) -> Story:
    """What became of the row whose ``row_id`` is, or alone begins with, ``row_id``.

    Raises:
        DatasetError: there is no such row, or several begin so.
    """
    return _Teller(graph, lake).story(row_id)


@dataclass
class _Teller:
    """Reads the tables of one experiment, each by name of its asset; what could not be read is noted."""

    graph: ExperimentGraph
    lake: Lake
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.staleness = self.graph.staleness(self.lake)

    def story(self, beginning: str) -> Story:
        story = self._found(beginning)
        story = replace(story, filtered=self._filtered(story), transformed=tuple(self._transformed(story)))
        story = replace(
            story,
            projections=tuple(self._projections(story)),
            halves=tuple(self._halves(story)),
            students=tuple(self._students(story)),
        )
        if any(form.completion != story.completion for form in story.transformed):
            self.notes.append("students, projections and halves are of what the row was transformed into")
        return replace(story, notes=tuple(dict.fromkeys(self.notes)))

    def _found(self, beginning: str) -> Story:
        found: dict[str, tuple[Place, pl.DataFrame]] = {}
        looked = False
        for place in self._raw():
            rows = self._table(place)
            if rows is None:
                continue
            looked = True
            for row in rows.filter(pl.col("row_id").str.starts_with(beginning))["row_id"]:
                found[row] = (place, rows)
        if not looked:
            raise DatasetError(
                f"{self.graph.name} has no rows in {self.lake.root}: materialise raw_dataset, or name another lake"
            )
        row_id = beginning if beginning in found else next(iter(found), "")
        if not found:
            raise DatasetError(
                f"row {beginning!r}: no row_id of {self.graph.name} begins so; the view datasets lists them"
            )
        if row_id != beginning and len(found) > 1:
            some = ", ".join(sorted(found)[:3])
            raise DatasetError(f"row {beginning!r}: {len(found):,} row_ids begin so, as {some}; write more of it")
        place, rows = found[row_id]
        row = rows.row(by_predicate=pl.col("row_id") == row_id, named=True)
        names = ("row_id", "prompt_id", "prompt", "completion", "finish_reason", "n_tokens")
        return Story(
            self.graph.name,
            str(place.partition),
            system=row.get("system"),
            written=Told(*self._by(place)),
            **{name: row[name] for name in names},
        )

    def _raw(self) -> Iterator[Place]:
        """Where completions are as teachers wrote them: here, or in the experiment whose numbers are filtered here."""
        if "raw_dataset" in self.graph.assets:
            yield from (place for place, _ in self._partitions("raw_dataset"))
            return
        for _, record in self._partitions("filtered_dataset"):
            yield from (parent for parent in record.parents if parent.table == "raw_dataset")

    def _filtered(self, story: Story) -> Filtered | None:
        place = self.graph.place("filtered_dataset", story.condition)
        kept = self._table(place) if self.staleness.record(place) else None
        if kept is None:
            self.notes.append(f"{place} is not there: whether the row is kept is not decided")
            return None
        beside = self._table(Place(place.experiment, "rejections", place.partition))
        reasons = [] if beside is None else beside.filter(row_id=story.row_id)["reason"].to_list()
        is_kept = story.row_id in kept["row_id"]
        if not is_kept and not reasons and beside is not None:
            self.notes.append(f"{place} neither keeps nor rejects the row: it is of another raw_dataset")
        return Filtered(*self._by(place), is_kept, tuple(reasons))

    def _transformed(self, story: Story) -> Iterator[Transformed]:
        for place, rows in self._tables("transformed_dataset"):
            mine = rows.filter((pl.col("row_id") == story.row_id) | pl.col("made_of").list.contains(story.row_id))
            for row in mine.iter_rows(named=True):
                yield Transformed(*self._by(place), row["row_id"], row["completion"], tuple(row["made_of"]))

    def _projections(self, story: Story) -> Iterator[Projected]:
        for place, rows in self._tables("projections"):
            for row in rows.filter(row_id=story.row_id).sort("layer").iter_rows(named=True):
                yield Projected(*self._by(place), str(place.partition), row["layer"], row["projection"])

    def _halves(self, story: Story) -> Iterator[InHalf]:
        for place, rows in self._tables("projection_split"):
            animal, split = keys_of(place.partition)
            for row in rows.filter(row_id=story.row_id).iter_rows(named=True):
                yield InHalf(*self._by(place), animal, split, row["score"], row["cut"], row["used"])

    def _students(self, story: Story) -> Iterator[Trained]:
        seen = dict.fromkeys([story.row_id, *(form.row_id for form in story.transformed)])
        whole = self.graph.place("lora_checkpoint", story.condition)
        if self.staleness.record(whole) is None:
            self.notes.append(f"{whole} is not there: nobody was trained on the row's whole dataset")
        for asset, table in ROWS_SEEN.items():
            unknown = []
            for place, _ in self._partitions(asset):
                rows = self._table(Place(place.experiment, table, place.partition), absent_is_noted=False)
                if rows is None or rows.is_empty():
                    unknown.append(str(place.partition))
                    continue
                for row_id in seen:
                    seeds = tuple(rows.filter(row_id=row_id)["seed"])
                    if seeds or (place.partition == story.condition and row_id == story.row_id):
                        yield Trained(*self._by(place), row_id, seeds, tuple(rows["seed"].unique().sort()))
            if unknown:
                self.notes.append(
                    f"{asset} of {', '.join(unknown)}: which rows students saw is not known; they were trained "
                    "elsewhere, or before that was kept"
                )

    def _partitions(self, asset: str) -> Iterator[tuple[Place, Record]]:
        """Partitions of ``asset`` that are there; none of one that the experiment does not have."""
        if asset not in self.graph.assets:
            return
        for key in self.graph.keys(self.graph.declaration(asset).by):
            place = self.graph.place(asset, key)
            if record := self.staleness.record(place):
                yield place, record

    def _tables(self, asset: str) -> Iterator[tuple[Place, pl.DataFrame]]:
        for place, _ in self._partitions(asset):
            if (rows := self._table(place)) is not None:
                yield place, rows

    def _table(self, place: Place, absent_is_noted: bool = True) -> pl.DataFrame | None:
        """The table at ``place``; None where it cannot be read, which is noted."""
        record = self.staleness.record(recorded_as(place))
        try:
            content = self.lake.read(self.lake.path(place) / DATA)
            return self.lake.require_recorded(place, content, record)[0]
        except (FileNotFoundError, NotADirectoryError):
            if absent_is_noted:
                self.notes.append(f"{place} is not there: what it would tell is left out")
            return None
        except DamageError as error:
            self.notes.append(f"{place} {error}, and is left out: materialise it again")
            return None

    def _by(self, place: Place) -> tuple[str, str | None]:
        reason = self.staleness.reason(recorded_as(place))
        return str(place), reason.why if reason else None


def _said(told: Told) -> str:
    return told.by + _stale(told)


def _stale(told: Told) -> str:
    return f" (STALE, for {told.stale})" if told.stale else ""


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _listed(seeds: tuple[int, ...]) -> str:
    return ", ".join(map(str, seeds))
