"""What is known of an asset before it is one of Dagster's: its code, settings, partitions, what it reads and checks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sl_assets.config.wording import Words
from sl_assets.hub.importing import Repository
from sl_assets.lake.places import Place
from sl_assets.lake.records import Records, Settings, settings_digest
from sl_assets.lake.tables import keys_of
from sl_assets.orchestration.partition import PREPARED, Check

Partitioning = Literal["condition", "animal", "split"]

Inputs = Callable[[Place, Records], Mapping[str, Any]]
"""What else decides a partition's content, for it to be compared later: fingerprints of files that are its own, or what
is recorded of its parents beside their versions."""


IMPORTED = "file"
"""The input that is the fingerprint of the file that a partition is imported from."""

Told = Callable[[Words, str], Mapping[str, Any]]
"""What models are told for a condition (empty where an asset has no partitions), and what counts for it. What is not as
the built-in words have it decides the partition's content."""


def nothing_told(_: str) -> Mapping[str, Any]:
    """Of an asset that is the same in any words."""
    return {}


class Dep(NamedTuple):
    """An asset that another reads.

    Attributes:
        asset: name.
        only: its partition that is read, where it is one; else those of the same name, or all by what has none.
        experiment: whose it is, where that is not the reader's, and not shared with it.
    """

    asset: str
    only: str | None = None
    experiment: str | None = None


@dataclass(frozen=True)
class Declared:
    """An asset as it was declared, for the planner.

    Attributes:
        name, stage: as in the UI.
        code_version: raised when the code changes what the same settings give.
        settings: fields of the experiment file that it depends on.
        by: what its partitions are keyed by, if it has any.
        deps: what it reads.
        gpu: whether it runs a model.
        inputs: what else decides its partitions.
        repository: of the Hub that a condition is imported from, if it is.
        checks: what has to hold of every partition.
        told: by condition, what is told for it in words that are not built in.
        automatic: whether a run of the whole graph, a job or automation makes it; else a person names it.
    """

    name: str
    stage: str
    code_version: str
    settings: Settings
    by: Partitioning | None
    deps: tuple[Dep, ...]
    gpu: bool
    inputs: Inputs | None
    repository: Callable[[str], Repository] | None
    checks: tuple[Check, ...] = ()
    told: Callable[[str], Mapping[str, Any]] = nothing_told
    automatic: bool = True

    @property
    def reads_prepared(self) -> bool:
        """Whether it reads the prepared base model."""
        return any(dep.asset == PREPARED for dep in self.deps)

    def told_for(self, partition: str | None) -> Mapping[str, Any]:
        """What is told for the condition of ``partition`` in words that are not built in."""
        return self.told(condition_of_key(partition))

    @property
    def version(self) -> str:
        """Code and settings, as Dagster compares them."""
        return f"{self.code_version}.{settings_digest(self.code_version, self.settings)}"


def condition_of_key(partition: str | None) -> str:
    """The condition that a partition is of: the first part of its key; empty where it has none."""
    return next(iter(keys_of(partition)), "")
