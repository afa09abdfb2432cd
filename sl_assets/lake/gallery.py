"""A gallery: a lake that holds the small tables of results and the records of all that led to them, and nothing else.

It is what a reader without a GPU opens: every view of results, checks and lineage answers there. Datasets, answers and
weights stay behind. So do what the UI shows of a partition, which has pictures and paths in it, and paths of the
machine: a record that names one is refused.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sl_assets.errors import LakeError
from sl_assets.lake.damage import DamageError
from sl_assets.lake.lake import Lake, data_of, recorded_as
from sl_assets.lake.parquet import DATA
from sl_assets.lake.places import Place
from sl_assets.lake.records import Record

RESULTS = (
    "training",
    "baseline_preference_rates",
    "preference_rates",
    "transfer",
    "steering_sweep",
    "projection_differences",
    "cross_projections",
    "split_training",
    "split_preference_rates",
    "split_comparison",
    "variants",
)
"""Tables of a gallery: those that grow with animals, epochs and layers, not with rows or answers."""

IGNORED = ("experiment=_schema/", "results.duckdb", "results.sql", "spending/", ".work/", ".pins/")
"""What a query makes in the folder, and git is told to pass over."""

# Of this system or another, and not what follows the server in an address.
ABSOLUTE = re.compile(r"(?:^|(?<=[\s'\"=(,\[]))(?:/[\w.@+-]+){2,}|\b[A-Za-z]:\\\\?\w|file:///")


class Size(NamedTuple):
    """What a gallery holds.

    Attributes:
        records, tables: how many.
        bytes_of_tables: of all of them together.
    """

    records: int
    tables: int
    bytes_of_tables: int


def write_gallery(lake: Lake, gallery: Lake, experiments: Sequence[str]) -> Size:
    """Copy the results of ``experiments`` to the lake ``gallery``, with the records of everything that led to them.

    What they share with another experiment, or read of it, comes along from there.

    Raises:
        LakeError: an experiment has nothing in ``lake``, or something in ``gallery``; a record names a path of this
            machine, or does not tell of its table.
    """
    records = _with_ancestors(lake, experiments)
    for name in {place.experiment for place in records}:
        if (gallery.root / f"experiment={name}").exists():
            raise LakeError(f"{gallery.root}: holds experiment={name} already; delete that folder, or name another")
    # Before anything is written: a refusal leaves nothing behind.
    shown = [_without_machine(record) for record in records.values()]
    tables = {
        place: content
        for record in records.values()
        for place in _tables_of(record.place)
        if (content := _content(lake, place, record)) is not None
    }
    for place, content in tables.items():
        gallery.write_file(gallery.path(place) / DATA, content)
    copied = {(place.experiment, data_of(place)) for place in tables}
    for record in shown:
        files = {name: stamp for name, stamp in record.files.items() if (record.place.experiment, name) in copied}
        gallery.write_record(replace(record, files=files))
    gallery.write_file(gallery.root / ".gitignore", "".join(f"/{name}\n" for name in IGNORED).encode())
    return Size(len(shown), len(tables), sum(map(len, tables.values())))


def _with_ancestors(lake: Lake, experiments: Sequence[str]) -> dict[Place, Record]:
    """Records of ``experiments``, and of all that theirs were made of, as it is now."""
    found: dict[Place, Record] = {}
    for experiment in experiments:
        own = {record.place: record for record in _records(lake, experiment)}
        if not own:
            raise LakeError(f"{lake.root}: holds nothing of {experiment}; run it first, or name another")
        found |= own
    ahead = [parent for record in found.values() for parent in record.parents]
    while ahead:
        place = ahead.pop()
        if place not in found and (record := lake.record(place)):
            found[place] = record
            ahead.extend(record.parents)
    return dict(sorted(found.items(), key=lambda item: str(item[0])))


def _records(lake: Lake, experiment: str) -> Iterator[Record]:
    for place in lake.recorded_places(experiment):
        if record := lake.record(place):
            yield record


def _tables_of(place: Place) -> Iterator[Place]:
    for name in RESULTS:
        table = Place(place.experiment, name, place.partition)
        if recorded_as(table) == place:
            yield table


def _content(lake: Lake, place: Place, record: Record) -> bytes | None:
    """The file of a table; None where its asset has not written it, being older than it is."""
    try:
        content = lake.read(lake.path(place) / DATA)
    except (FileNotFoundError, NotADirectoryError):
        if place == record.place:
            raise LakeError(f"{place}: its table is not there; materialise it again") from None
        return None
    try:
        lake.require_recorded(place, content, record)
    except DamageError as error:
        raise LakeError(f"{place} {error}: materialise it again") from None
    return content


def _without_machine(record: Record) -> Record:
    """``record`` without what the UI shows.

    Raises:
        LakeError: something in it is a path of this machine.
    """
    kept = replace(record, metadata="")
    checks = {name: (found.problem, found.basis, found.figures) for name, found in (record.checks or {}).items()}
    told = {"settings": record.settings, "inputs": record.inputs, "checks": checks}
    for name, text in _texts(told):
        if path := ABSOLUTE.search(text):
            raise LakeError(
                f"{record.place}: {name} names {path.group()}, a path of this machine, and a gallery shows none; "
                "name it relative to the project's folder in the experiment file, and make the partition anew"
            )
    return kept


def _texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text in ``value``, with where it stands."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield f"{name}.{key}".lstrip("."), str(key)
            yield from _texts(inner, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner, name)
