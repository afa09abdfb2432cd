"""What nobody needs any more in a lake: found by records, listed first, and deleted only if someone says so.

Not touched: whatever has no record and is no table that an asset of ours writes, for it is someone else's.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from upath import UPath

from sl_assets.lake.folders import MANIFEST, is_left
from sl_assets.lake.lake import Lake, recorded_as
from sl_assets.lake.parquet import DATA
from sl_assets.lake.places import Place
from sl_assets.lake.records import RECORD
from sl_assets.lake.tables import DIMENSIONS, TABLES
from sl_assets.lake.unfinished import UNFINISHED

OLD_LINEAGE = "lineage"
"""Folder in which version 0.1 kept what records tell now."""

Makes = Callable[[Place], bool]
"""Whether an experiment, as its file is now, makes a place."""


class Leftover(NamedTuple):
    """Something to delete.

    Attributes:
        path: file or folder.
        why: nobody needs it.
        experiment: whose it is; empty where that is nobody's in particular.
        is_experiment: whether it is all that an unknown experiment made, which only its name deletes.
    """

    path: UPath
    why: str
    experiment: str = ""
    is_experiment: bool = False

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(int(size) for _, size in self._files())

    def delete(self) -> None:
        """Delete it; a record goes before the data that it tells of."""
        for file, _ in self._files():
            if file.rpartition("/")[2] == RECORD:
                self.path.fs.rm_file(file)
        self.path.fs.rm(self.path.path, recursive=True)

    def _files(self) -> list[tuple[str, int]]:
        """Each file with its size in bytes."""
        found = self.path.fs.find(self.path.path, detail=True)
        return [(name, file["size"]) for name, file in found.items()]


def leftovers(lake: Lake, experiments: Mapping[str, Makes]) -> Iterator[Leftover]:
    """What nobody needs of ``lake``.

    Args:
        lake: where to look.
        experiments: those that have a file now, by name.
    """
    for name in lake.experiments():
        folder = lake.root / f"experiment={name}"
        if name not in experiments:
            yield Leftover(folder, f"no experiment is called {name} now", name, is_experiment=True)
            continue
        for table in sorted(child for child in folder.iterdir() if child.is_dir()):
            if table.name == OLD_LINEAGE:
                yield Leftover(table, "lineage of version 0.1, which records tell now", name)
            else:
                yield from _of_table(lake, table, name, experiments[name])
    for folder in lake.folders(lake.root / ".work", "experiment="):
        if (name := folder.name.removeprefix("experiment=")) not in experiments:
            yield Leftover(folder, f"work in progress of {name}, which is no experiment now", name, is_experiment=True)
    if not lake.local:
        yield from _uploads(lake)


def _uploads(lake: Lake) -> Iterator[Leftover]:
    """What killed processes left on their way into place; on a disk, the next run removes it."""
    folder = lake.root / UNFINISHED
    for upload in folder.iterdir() if folder.exists() else ():
        if is_left(lake, upload):
            yield Leftover(upload, "an upload that was never put in place")


def _of_table(lake: Lake, table: UPath, experiment: str, makes: Makes) -> Iterator[Leftover]:
    for folder, place in _partitions(table, experiment):
        owner = recorded_as(place)
        if not makes(owner):
            if table.name in TABLES or (folder / RECORD).exists():
                yield Leftover(folder, f"{owner} is not made by the experiment now", experiment)
            continue
        record = lake.record(place)
        kept = {record.data_version, record.replaced} if record else set()
        for version in folder.iterdir():
            if _is_version(version) and version.name not in kept and is_left(lake, version):
                yield Leftover(version, f"a version of {place} that no record names", experiment)


def _partitions(table: UPath, experiment: str) -> Iterator[tuple[UPath, Place]]:
    """Folders of ``table`` that hold a partition and nothing below it, with their places."""
    found: list[tuple[UPath, list[str]]] = [(table, [])]
    while found:
        folder, keys = found.pop()
        children = sorted(folder.iterdir(), reverse=True)
        below = [child for child in children if "=" in child.name and child.is_dir()]
        if not below and any(_is_ours(child, table.name) for child in children):
            yield folder, Place(experiment, table.name, "|".join(keys) or None)
        if len(keys) < len(DIMENSIONS):
            found += [(child, [*keys, child.name.partition("=")[2]]) for child in below]


def _is_version(folder: UPath) -> bool:
    """Whether ``folder`` is a version of ours, or the beginning of one, without a manifest yet."""
    return bool(re.fullmatch(r"[0-9a-f]{16}", folder.name)) and folder.is_dir()


def _is_ours(child: UPath, table: str) -> bool:
    return child.name in (RECORD, DATA, f"{table}.png") or (child / MANIFEST).exists()
