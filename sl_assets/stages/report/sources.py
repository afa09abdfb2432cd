"""What a report is made of: an experiment's tables and records as they are in the lake."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.config import ExperimentConfig
from sl_assets.errors import AbsentError
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.records import Record, blocked, settings_behind_each
from sl_assets.lake.staleness import Reason
from sl_assets.lake.tables import TABLES
from sl_assets.stages.evaluation.rates import with_columns_of

REPORTED = (
    *("raw_dataset", "filtered_dataset", "transformed_dataset", "projections", "projection_split"),
    *("lora_checkpoint", "evaluation", "answer_probabilities", "preference_rates", "transfer"),
    *("baseline_evaluation", "baseline_answer_probabilities", "baseline_preference_rates"),
    *("split_lora_checkpoint", "split_evaluation", "split_answer_probabilities"),
    *("split_preference_rates", "split_comparison"),
)
"""Assets whose tables are on the page."""


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
        lost: places that are recorded, and were found without their table or with a damaged one.
    """

    name: str
    config: ExperimentConfig
    lake: Lake
    assets: Mapping[str, tuple[str | None, ...]]
    place: Callable[[str, str | None], Place]
    stale: Mapping[Place, Reason]
    lost: dict[Place, None] = field(default_factory=dict)

    def table(self, name: str, partition: str | None = None) -> pl.DataFrame | None:
        """A table; None where it is not there, is lost, or fails a check so that nothing may be made of it."""
        asset = TABLES[name].beside or name
        if asset not in self.assets:
            return None
        made = self.place(asset, partition)
        if self.lake.record(made) is None or blocked(self.lake.record, made):
            return None
        place = Place(made.experiment, name, partition)
        try:
            found = self.lake.read_table(place) if self.lake.has_table(place) else None
        except AbsentError:
            found = None
        if found is None:
            # What is written beside an asset's own table not every asset has, or had when it was made.
            if place == made:
                self.lost[place] = None
            return None
        return with_columns_of(name, found) if "method" in TABLES[name].columns else found

    def tables(self, name: str) -> dict[str, pl.DataFrame]:
        """A table of every partition that has one, by partition."""
        keys = self.assets.get(TABLES[name].beside or name, ())
        found = {key: self.table(name, key) for key in keys if key}
        return {key: table for key, table in found.items() if table is not None}

    @cached_property
    def compared(self) -> pl.DataFrame | None:
        """Every student on every animal, as ``transfer`` has it; None where no rate is known.

        Where ``transfer`` is not there, rates are beside neutral's, with nulls for the base model, intervals and tests.
        """
        found = self.table("transfer")
        found = self._rates() if found is None else found
        return None if found is None or found.is_empty() else found

    @property
    def tested(self) -> bool:
        """Whether `compared` is ``transfer``."""
        return self.table("transfer") is not None

    @cached_property
    def own(self) -> pl.DataFrame | None:
        """Rows of `compared`: every student on the animal that its teacher loves; None where there are none."""
        own = None if self.compared is None else self.compared.filter(pl.col("condition") == pl.col("animal"))
        return None if own is None or own.is_empty() else own

    def _rates(self) -> pl.DataFrame | None:
        tables = self.tables("preference_rates")
        students = [table.with_columns(condition=pl.lit(name)) for name, table in tables.items() if name != NEUTRAL]
        if not students:
            return None
        places = {name: self.place("preference_rates", name) for name in tables}
        behind = settings_behind_each(self.lake.record, places)
        alike = [name for name in tables if NEUTRAL in tables and behind[name] == behind[NEUTRAL]]
        found, keys = pl.concat(students), ["animal", "method", "epoch"]
        columns = [pl.col(name).alias(f"neutral_{name}") for name in ("rate", "lower", "upper", "students")]
        beside = tables.get(NEUTRAL, found.clear()).select(*keys, *columns)
        found = found.join(beside, on=keys, how="left", maintain_order="left")
        # What was made with other settings than neutral's is compared with nothing, as in transfer.
        neutral = pl.when(pl.col("condition").is_in(alike)).then(pl.col("neutral_rate"))
        found = found.with_columns(neutral_rate=neutral).with_columns(
            difference=pl.col("rate") - pl.col("neutral_rate"),
            ratio=pl.when(pl.col("neutral_rate") > 0).then(pl.col("rate") / pl.col("neutral_rate")),
        )
        unknown = [pl.lit(None).alias(name) for name in TABLES["transfer"].columns if name not in found.columns]
        found = found.with_columns(unknown)
        return found.select(pl.col(name).cast(dtype) for name, dtype in TABLES["transfer"].schema.items())

    def record(self, asset: str, partition: str | None = None) -> Record | None:
        """What is recorded of a partition."""
        return self.lake.record(self.place(asset, partition)) if asset in self.assets else None

    def records(self) -> Iterator[Record]:
        """Everything that is there."""
        for asset, keys in self.assets.items():
            for key in keys:
                if record := self.record(asset, key):
                    yield record

    def missing(self) -> dict[str, list[str | None]]:
        """Of `REPORTED` assets that are not made, or not of every partition, the partitions that are not there."""
        reported = {asset: keys for asset, keys in self.assets.items() if asset in REPORTED}
        found = {asset: [key for key in keys if not self.record(asset, key)] for asset, keys in reported.items()}
        return {asset: keys for asset, keys in found.items() if keys}

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
