"""Records: what a partition is, and what it was made of.

``record.json`` beside a partition's data is written last, and it alone makes the partition exist. Whether anything is
fresh, comparable, finished or worth keeping is read from records and from nothing else; Dagster is told what they say.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sl_assets.lake.fingerprint import digest
from sl_assets.lake.places import Place
from sl_assets.lake.stamps import Stamp

RECORD = "record.json"

Settings = Mapping[str, Any]
"""What an experiment file says, by field. What has content of its own, such as a model's folder, says that too."""


@dataclass(frozen=True)
class Outcome:
    """What a check of a partition has come to.

    Attributes:
        problem: what is wrong and how to mend it, in one line; None where the check passed.
        blocking: whether a partition that fails it may not be read.
        basis: what it was decided by beside the partition itself: bounds, and versions of other partitions. None where
            it could not be decided.
        figures: what was measured, and examples.
    """

    problem: str | None
    blocking: bool
    basis: Mapping[str, Any] | None
    figures: Mapping[str, Any]


@dataclass(frozen=True)
class Record:
    """One partition as it is in the lake.

    Attributes:
        place: experiment, asset and partition.
        data_version: fingerprint of the content.
        code_version: version of the asset's code.
        settings: fields of the experiment file that decide the content, the same for every partition.
        inputs: what else decides it: fingerprints of the partition's own files, or what its parents are like.
        parents: what was read, each with the data version that was read.
        run_id: Dagster's run.
        started, finished: when it was begun, and when this record was written.
        seconds: wall-clock time of making it.
        engine: what did the work.
        rows: rows of the table, where it is one.
        libraries: versions of the libraries that were installed; they are told, and make nothing stale.
        replaced: data version that was here before, of a folder that someone may still be reading.
        behind: code and settings, as fingerprints by asset, of everything that led to it when it was made; another
            experiment's assets are ``experiment/asset``.
        metadata: what the UI shows, as the orchestrator writes it.
        checks: outcomes by name; one that is missing has not been decided. None where it was made before there were
            checks, which counts as passed.
        students: of a checkpoint, versions by seed of the students that it holds; of answers, of those that gave them.
            Empty where there are none, and where it was made before there could be several.
        files: everything that was put in place of it, by path below the experiment's folder. Empty where it was made
            before they were noted.
    """

    place: Place
    data_version: str
    code_version: str
    settings: Settings
    inputs: Mapping[str, Any]
    parents: Mapping[Place, str]
    run_id: str
    started: datetime
    finished: datetime
    seconds: float
    engine: str
    rows: int | None = None
    libraries: Mapping[str, str] = field(default_factory=dict)
    replaced: str | None = None
    behind: Mapping[str, str] = field(default_factory=dict)
    metadata: str = ""
    checks: Mapping[str, Outcome] | None = None
    students: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Stamp] = field(default_factory=dict)

    @property
    def model_commit(self) -> str | None:
        """Commit of the base model, if it is one of the Hub."""
        model = self.settings.get("base_model")
        return model.get("commit") if isinstance(model, dict) else None

    def to_json(self) -> bytes:
        """The content of ``record.json``."""
        content = {
            "asset": self.place.table,
            "partition": self.place.partition,
            "data_version": self.data_version,
            "code_version": self.code_version,
            "settings": self.settings,
            "inputs": self.inputs,
            "parents": [
                {
                    "experiment": place.experiment,
                    "asset": place.table,
                    "partition": place.partition,
                    "data_version": version,
                }
                for place, version in self.parents.items()
            ],
            "run_id": self.run_id,
            "started_at": self.started.isoformat(),
            "finished_at": self.finished.isoformat(),
            "seconds": self.seconds,
            "engine": self.engine,
            "rows": self.rows,
            "model_commit": self.model_commit,
            "libraries": self.libraries,
            "replaced": self.replaced,
            "behind": self.behind,
            "metadata": self.metadata,
            "checks": None if self.checks is None else {name: asdict(found) for name, found in self.checks.items()},
            "students": self.students,
            "files": {name: stamp._asdict() for name, stamp in self.files.items()},
        }
        return json.dumps(content, indent=1).encode()

    @classmethod
    def from_json(cls, experiment: str, content: bytes) -> "Record":
        """What `to_json` wrote."""
        found = json.loads(content)
        for name in ("settings", "inputs", "libraries", "behind"):
            if not isinstance(found[name], dict):
                raise TypeError(f"{name} = {found[name]!r}")
        checks, students = found.get("checks"), found.get("students", {})
        if not isinstance(students, dict):
            raise TypeError(f"students = {students!r}")
        return cls(
            Place(experiment, found["asset"], found["partition"]),
            found["data_version"],
            found["code_version"],
            found["settings"],
            found["inputs"],
            {
                Place(parent["experiment"], parent["asset"], parent["partition"]): parent["data_version"]
                for parent in found["parents"]
            },
            found["run_id"],
            datetime.fromisoformat(found["started_at"]),
            datetime.fromisoformat(found["finished_at"]),
            found["seconds"],
            found["engine"],
            found["rows"],
            found["libraries"],
            found["replaced"],
            found["behind"],
            found["metadata"],
            None if checks is None else {name: Outcome(**outcome) for name, outcome in checks.items()},
            students,
            {name: Stamp(**stamp) for name, stamp in found.get("files", {}).items()},
        )


Records = Callable[[Place], Record | None]
"""Looks up the record of a place; None where there is none."""


def identity(settings: Settings) -> dict[str, Any]:
    """``settings`` without names of what is known by its content: a copied model is the same model."""
    return {name: _nameless(value) for name, value in settings.items()}


def _nameless(value: Any) -> Any:
    if isinstance(value, Mapping) and "content" in value:
        return {"content": value["content"]}
    return value


def settings_digest(code_version: str, settings: Settings) -> str:
    """Fingerprint of code and settings: equal where the same inputs give the same content."""
    return digest(code_version, identity(settings))


def ancestry(records: Records, place: Place) -> list[Record]:
    """Records that lead to ``place`` as it is now, parents first; what has changed since it was read is left out."""
    look_up = cache(records)
    entered: set[Place] = set()
    found: list[Record] = []

    def visit(at: Place, read: str | None) -> None:
        record = look_up(at)
        if record is None or at in entered or read not in (None, record.data_version):
            return
        entered.add(at)
        for parent, version in record.parents.items():
            visit(parent, version)
        found.append(record)

    visit(place, None)
    return found


class Failing(NamedTuple):
    """A partition that fails a check that blocks.

    Attributes:
        place: the partition.
        check: name of the check.
        problem: what is wrong, and how to mend it.
    """

    place: Place
    check: str
    problem: str

    def __str__(self) -> str:
        return f"{self.place} fails {self.check}: {self.problem}"


def failing(record: Record) -> Failing | None:
    """The first check that blocks and that ``record``'s own partition fails."""
    outcomes = (record.checks or {}).items()
    failed = (
        Failing(record.place, name, found.problem) for name, found in outcomes if found.problem and found.blocking
    )
    return next(failed, None)


def blocked(records: Records, place: Place) -> Failing | None:
    """Why nothing may be made of ``place``: it, or what it was made of as that is now, fails a check that blocks.

    What has no partitions looks at each partition that it reads, and leaves out those that fail.
    """
    look_up = cache(records)
    entered: set[Place] = set()

    def visit(at: Place, read: str | None) -> Failing | None:
        record = look_up(at)
        if record is None or at in entered or read not in (None, record.data_version):
            return None
        entered.add(at)
        overview = at.partition is None
        parents = (
            (parent, version) for parent, version in record.parents.items() if not (overview and parent.partition)
        )
        # What it was made of first: there the fault lies.
        return next((found for parent in parents if (found := visit(*parent))), None) or failing(record)

    return visit(place, None)


def behind(records: Records, place: Place) -> dict[str, str]:
    """Code and settings, as fingerprints by asset, of ``place`` and of everything that led to it.

    Those of ancestors as they are recorded now, where that is what was read; where an ancestor has been made anew
    since, those that were noted when ``place`` was made.
    """
    look_up = cache(records)
    known: dict[Place, dict[str, str]] = {}

    def of(at: Place, record: Record) -> dict[str, str]:
        if at not in known:
            # Here already, if records of former graphs lead back.
            known[at] = found = dict(record.behind)
            for parent, read in record.parents.items():
                current = look_up(parent)
                if current is not None and current.data_version == read:
                    found |= _seen_from(at.experiment, parent, of(parent, current))
            found[at.table] = settings_digest(record.code_version, record.settings)
        return known[at]

    record = look_up(place)
    return dict(of(place, record)) if record else {}


def settings_behind(records: Records, place: Place) -> str:
    """Fingerprint of `behind`: two partitions of an asset may be compared if theirs are equal.

    They differ in nothing but their own inputs, then.
    """
    return digest(behind(records, place))


def settings_behind_each(records: Records, places: Mapping[str, Place]) -> dict[str, str]:
    """`settings_behind` of those ``places`` that are there; what led to several is looked up once."""
    look_up = cache(records)
    return {name: settings_behind(look_up, place) for name, place in places.items() if look_up(place)}


def behind_parents(records: Records, record: Record) -> dict[str, str]:
    """What is to be noted of everything that led to ``record``, which has just been made."""
    found: dict[str, str] = {}
    for parent in record.parents:
        found |= _seen_from(record.place.experiment, parent, behind(records, parent))
    return found


def _seen_from(experiment: str, parent: Place, behind: Mapping[str, str]) -> Mapping[str, str]:
    """`behind` of a ``parent``, with its experiment's name where that is another: both may have an asset of a name."""
    if parent.experiment == experiment:
        return behind
    return {name if "/" in name else f"{parent.experiment}/{name}": digest for name, digest in behind.items()}
