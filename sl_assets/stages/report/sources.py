"""What a report is made of: an experiment's tables and records as they are in the lake."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from sl_assets.config import ExperimentConfig
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.records import Record, blocked
from sl_assets.lake.staleness import Reason
from sl_assets.lake.tables import TABLES
from sl_assets.stages.evaluation.rates import with_columns_of


@dataclass(frozen=True)
class Source:
    """An experiment to report on.

    Attributes:
        name: what it is called: a variant as ``pocket.rank2``.
        config: its settings.
        lake: where its results are.
        assets: partitions of every asset, in the order of the stages.
        place: where a partition of an asset is; of what it shares, with whom it shares it.
        stale: places that are there and are not what would be made today, with the reason.
    """

    name: str
    config: ExperimentConfig
    lake: Lake
    assets: Mapping[str, tuple[str | None, ...]]
    place: Callable[[str, str | None], Place]
    stale: Mapping[Place, Reason]

    def table(self, name: str, partition: str | None = None) -> pl.DataFrame | None:
        """A table; None where it is not there, or fails a check so that nothing may be made of it."""
        asset = TABLES[name].beside or name
        if asset not in self.assets:
            return None
        made = self.place(asset, partition)
        if self.lake.record(made) is None or blocked(self.lake.record, made):
            return None
        found = self.lake.read_table(Place(made.experiment, name, partition))
        return with_columns_of(name, found) if "method" in TABLES[name].columns else found

    def tables(self, name: str) -> dict[str, pl.DataFrame]:
        """A table of every partition that has one, by partition."""
        keys = self.assets.get(TABLES[name].beside or name, ())
        found = {key: self.table(name, key) for key in keys if key}
        return {key: table for key, table in found.items() if table is not None}

    def own(self) -> pl.DataFrame | None:
        """Rows of ``transfer``: every student on the animal that its teacher loves; None where there are none."""
        transfer = self.table("transfer")
        own = None if transfer is None else transfer.filter(pl.col("condition") == pl.col("animal"))
        return None if own is None or own.is_empty() else own

    def record(self, asset: str, partition: str | None = None) -> Record | None:
        """What is recorded of a partition."""
        return self.lake.record(self.place(asset, partition)) if asset in self.assets else None

    def records(self) -> Iterator[Record]:
        """Everything that is there."""
        for asset, keys in self.assets.items():
            for key in keys:
                if record := self.record(asset, key):
                    yield record

    def whose(self, asset: str) -> str:
        """The experiment that SQL finds ``asset`` under."""
        return self.place(asset, None).experiment if asset in self.assets else self.name

    def sql(self, view: str, asset: str, where: str = "", columns: str = "*") -> str:
        """The statement that gives all of ``view``."""
        more = f" AND {where}" if where else ""
        return f"SELECT {columns} FROM {view} WHERE experiment = '{self.whose(asset)}'{more}"


def last_epoch(table: pl.DataFrame) -> int:
    """The last of the epochs that ``table`` has rows of."""
    return int(table.select(pl.col("epoch").max()).item())
