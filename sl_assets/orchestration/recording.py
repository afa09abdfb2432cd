"""One step of a Dagster run: makes its partitions one after another and records each.

One run serves a whole backfill, so that a model loads once; still every partition gets its own data version, the
versions of what it was made from, and its lineage. A run may end at any moment: what it finished stays finished.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    NULL_DATA_VERSION,
    extract_data_version_from_entry,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from dagster._core.definitions.metadata import normalize_metadata

from sl_assets.engines.openai.budget import Budget
from sl_assets.errors import SlAssetsError
from sl_assets.hub.base_models import fetched_commit
from sl_assets.lake.lake import Lake, Place
from sl_assets.lake.unfinished import remove_orphans
from sl_assets.lake.views import refresh_catalog
from sl_assets.orchestration.partition import Check, Make, Product, Step
from sl_assets.orchestration.run_processes import note_process


def no_budget() -> Budget | None:
    """Of what costs nothing."""
    return None


@dataclass(frozen=True)
class Materialisation:
    """The partitions of ``asset`` that one step is asked for.

    Attributes:
        experiment, asset: names.
        context, lake: where it runs, and where its results go.
        code_version: fingerprint of ``settings`` and of the code.
        settings: what the asset depends on in the experiment file.
        budget: what the engines may spend, if they cost money.
    """

    experiment: str
    asset: str
    context: dg.AssetExecutionContext
    lake: Lake
    code_version: str
    settings: dict[str, Any]
    budget: Callable[[], Budget | None] = no_budget

    def events(self, make: Make, check: Check | None = None) -> Iterator[Any]:
        """Make every partition, and check it; yields what Dagster is to record."""
        note_process(self.context.instance, self.context.run_id)
        partitions = self._partitions()
        provenance = self._provenance()
        made: dict[str | None, Product] = {}
        try:
            if self.lake.local:
                remove_orphans(Path(self.lake.root))
            refresh_catalog(self.lake)
            for partition in partitions:
                made[partition] = self._make(make, partition, provenance)
        except SlAssetsError as error:
            yield from self._finished(made, provenance)
            raise dg.Failure(str(error), allow_retries=False) from error
        except BaseException:
            # What was finished before the failure is in the lake: say so, then fail.
            yield from self._finished(made, provenance)
            raise
        if len(partitions) == 1:
            product = made[partitions[0]]
            yield dg.MaterializeResult(data_version=dg.DataVersion(product.version), metadata=product.metadata)
            self._step(partitions[0]).work.clear()
        else:
            # One result stamps all partitions alike; each partition's own event then stands last and counts.
            yield dg.MaterializeResult()
            yield from self._finished(made, provenance)
        if check:
            yield self._checked(check, partitions)

    def _checked(self, check: Check, partitions: Sequence[str | None]) -> dg.AssetCheckResult:
        # After all are made: partitions that belong together are checked against each other.
        found = {partition: check(self._step(partition)) for partition in partitions}
        problems = {str(partition): problem for partition, problem in found.items() if problem}
        return dg.AssetCheckResult(
            passed=not problems,
            check_name=check.__name__,
            description="; ".join(f"{partition}: {problem}" for partition, problem in problems.items()) or None,
            metadata={"partitions": len(found)},
        )

    def _partitions(self) -> Sequence[str | None]:
        # A run that asks for partitions has them for every asset in it, also for those that have none.
        return self.context.partition_keys if self.context.assets_def.partitions_def else [None]

    def _step(self, partition: str | None) -> Step:
        return Step(self.experiment, self.asset, self.code_version, partition, self.lake, self.context.log.info)

    def _make(self, make: Make, partition: str | None, provenance: dict[str, str]) -> Product:
        step = self._step(partition)
        if (done := self._finished_earlier(step, provenance)) is not None:
            self.context.log.info(f"{self.asset} {partition or ''}: finished by an interrupted run, not made again")
            return done
        self.lake.reads.clear()
        start = time.monotonic()
        product = self._paid_for(make, step)
        seconds = time.monotonic() - start
        self._write_lineage(partition, product, seconds)
        product.metadata.update(self._found())
        product.metadata.setdefault("seconds", round(seconds, 2))
        step.work.mark_done(
            {
                "provenance": provenance,
                "version": product.version,
                "engine": product.engine,
                "metadata": dg.serialize_value(_as_dagster_stores(product.metadata)),
                "reads": [[place.experiment, place.table, place.partition, v] for place, v in self.lake.reads.items()],
            }
        )
        return product

    def _found(self) -> dict[str, str]:
        """What the settings leave open and the engine has settled: the commit of a model of the Hub."""
        base_model, _ = self.settings.get("base_model", ("", None))
        commit = fetched_commit(base_model)
        return {"base_model_commit": commit} if commit else {}

    def _paid_for(self, make: Make, step: Step) -> Product:
        """What ``make`` gives; of an engine that costs money, with what this run alone has spent in its metadata."""
        budget = self.budget()
        if budget is None:
            return make(step)
        with budget.account(lambda text: step.log(f"{step.name}: {text}")) as account:
            product = make(step)
        product.metadata.update(account.metadata)
        return product

    def _finished_earlier(self, step: Step, provenance: dict[str, str]) -> Product | None:
        """What a run wrote that was interrupted before its events were recorded, if nothing has changed since."""
        note = step.work.done()
        # Provenance tells of parents that are new since; what was read is compared below, for it may be written anew.
        if note is None or note.get("provenance") != provenance:
            return None
        reads = {Place(*place): version for *place, version in note["reads"]}
        if any(not self.lake.exists(place) or self.lake.version(place) != version for place, version in reads.items()):
            return None
        place = step.place(self.asset)
        if not self.lake.exists(place) or self.lake.version(place) != note["version"]:
            return None
        return Product(note["version"], dg.deserialize_value(note["metadata"], dict), note["engine"])

    def _provenance(self) -> dict[str, str]:
        """Tags that say which versions of the parents are read, by which Dagster later tells what is stale."""
        tags = {CODE_VERSION_TAG: self.code_version}
        for dep in self.context.assets_def.specs_by_key[self.context.asset_key].deps:
            latest = self.context.instance.fetch_materializations(dep.asset_key, limit=1).records
            version = extract_data_version_from_entry(latest[0].event_log_entry) if latest else None
            tags[get_input_data_version_tag(dep.asset_key)] = version.value if version else NULL_DATA_VERSION.value
            tags[get_input_event_pointer_tag(dep.asset_key)] = str(latest[0].storage_id) if latest else "NULL"
        return tags

    def _finished(self, made: dict[str | None, Product], provenance: dict[str, str]) -> Iterator[Any]:
        """Events of the partitions made; once Dagster has them, nothing needs to be remembered."""
        yield from self._partition_events(made, provenance)
        for partition in made:
            self._step(partition).work.clear()

    def _partition_events(
        self, made: dict[str | None, Product], provenance: dict[str, str]
    ) -> Iterator[dg.AssetMaterialization]:
        for partition, product in made.items():
            yield dg.AssetMaterialization(
                self.context.asset_key,
                partition=partition,
                metadata=product.metadata,
                tags={**provenance, DATA_VERSION_TAG: product.version, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"},
            )

    def _write_lineage(self, partition: str | None, product: Product, seconds: float) -> None:
        parents = [
            {"asset": place.table, "partition": place.partition, "data_version": version}
            for place, version in self.lake.reads.items()
        ]
        row = {
            "asset": self.asset,
            "partition": partition,
            "run_id": self.context.run_id,
            "finished_at": datetime.now(UTC),
            "data_version": product.version,
            "code_version": self.code_version,
            "parents": parents,
            "config": json.dumps(self.settings | self._found(), sort_keys=True),
            "seconds": seconds,
            "engine": product.engine,
        }
        self.lake.write_lineage(self.experiment, self.asset, f"{self.context.run_id}-{partition or 'all'}", row)


def _as_dagster_stores(metadata: dict[str, Any]) -> dict[str, Any]:
    stored: dict[str, Any] = {}
    stored.update(normalize_metadata(metadata))
    return stored
