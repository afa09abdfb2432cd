"""The variants of an experiment side by side: how much more each one's students name their animal than neutral's do."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import polars as pl

from sl_assets.lake.tables import TABLES
from sl_assets.stages.evaluation.rates import with_columns_of


class Results(NamedTuple):
    """Results of a variant, or of the experiment itself.

    Attributes:
        experiment: whose results they are: the experiment's, too, where the variant changes nothing that led to them.
        changes: settings that differ from the experiment's.
        transfer: table ``transfer``, of any number of students.
    """

    experiment: str
    changes: Mapping[str, Any]
    transfer: pl.DataFrame


def variants_table(results: Mapping[str, Results]) -> pl.DataFrame:
    """The ``variants`` table: every student on the animal that its teacher loves, by variant in the given order."""
    schema = TABLES["variants"].schema
    tables = [pl.DataFrame(schema=schema)]
    for variant, found in results.items():
        own = with_columns_of("transfer", found.transfer).filter(pl.col("condition") == pl.col("animal"))
        named = own.with_columns(
            variant=pl.lit(variant),
            made_by=pl.lit(found.experiment),
            changes=pl.lit(json.dumps(found.changes, sort_keys=True)),
        )
        tables.append(named.select(pl.col(name).cast(dtype) for name, dtype in schema.items()))
    return pl.concat(tables)


def last_epochs(variants: pl.DataFrame) -> pl.DataFrame:
    """Rows of each variant's last epoch."""
    return variants.filter(pl.col("epoch") == pl.col("epoch").max().over("variant"))
