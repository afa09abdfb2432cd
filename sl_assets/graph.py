"""How an asset of an experiment is declared and run: everything the stages' ``assets.py`` have in common.

A stage writes a function that makes one partition. Around it stand, once for all: one run for a whole backfill, data
and code versions, lineage, the journal that lets an interrupted run go on, and what the UI shows.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import dagster as dg
import polars as pl
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    NULL_DATA_VERSION,
    extract_data_version_from_entry,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from tqdm import tqdm

from sl_assets.config import ExperimentConfig
from sl_assets.engines.interfaces import Adapter, Engines, engines_for
from sl_assets.errors import SlAssetsError
from sl_assets.lake.catalog import refresh_catalog
from sl_assets.lake.fingerprint import digest
from sl_assets.lake.lake import Lake, Place
from sl_assets.lake.resource import LakeResource
from sl_assets.lake.tables import LINEAGE, TABLES
from sl_assets.lake.work import Work

CODE_VERSION = "1"
"""Raise it when the code of an asset changes what the same settings give."""

GPU_POOL = "gpu"
LOG_SECONDS = 15.0


@dataclass(frozen=True)
class Product:
    """What making one partition gave.

    Attributes:
        version: fingerprint of the content.
        metadata: shown in the UI.
        engine: what did the work.
    """

    version: str
    metadata: dict[str, Any] = field(default_factory=dict)
    engine: str = "polars"


@dataclass(frozen=True)
class Step:
    """One partition in the making: the lake around it, and a voice."""

    experiment: str
    asset: str
    condition: str | None
    lake: Lake
    log: Callable[[str], None]

    def place(self, table: str, condition: str | None = None) -> Place:
        """Where ``table`` of this partition (or of ``condition``) lives."""
        return Place(self.experiment, table, (condition or self.condition) if _partitioned(table) else None)

    def read(self, table: str, condition: str | None = None) -> pl.DataFrame:
        """A parent's table."""
        return self.lake.read_table(self.place(table, condition))

    def write(self, frame: pl.DataFrame, table: str | None = None) -> str:
        """Write this asset's table (or another of its tables); returns its data version."""
        schema = TABLES[table or self.asset].schema
        ordered = frame.select(pl.col(name).cast(dtype) for name, dtype in schema.items())
        return self.lake.write_table(self.place(table or self.asset), ordered)

    @contextmanager
    def adapters(self, table: str) -> Iterator[dict[int, Adapter]]:
        """A parent's adapters by epoch; none where the model is the base model itself."""
        place = self.place(table)
        with self.lake.folder(place) as folder:
            version = self.lake.reads[place]
            epochs = {int(path.name.removeprefix("epoch=")): path for path in sorted(folder.glob("epoch=*"))}
            yield {epoch: Adapter(path, f"{version}/{epoch}") for epoch, path in epochs.items()}

    @property
    def work(self) -> Work:
        """Finished pieces of this partition."""
        return Work(self.lake, self.place(self.asset))

    def progress(self, unit: str) -> Callable[[int, int], None]:
        """A reporter of work done: a bar on a terminal, a line now and then in the log."""
        name = f"{self.asset} {self.condition or ''}".strip()
        bar = tqdm(desc=name, unit=f" {unit}", file=sys.stderr, disable=not sys.stderr.isatty(), leave=False)
        start = last = time.monotonic()

        def report(done: int, total: int) -> None:
            nonlocal last
            bar.total = total
            bar.update(done - bar.n)
            now = time.monotonic()
            if now - last >= LOG_SECONDS or done == total:
                last = now
                pace = done / max(now - start, 1e-9)
                self.log(f"{name}: {done:,} of {total:,} {unit}, {pace:,.0f}/s, {(total - done) / pace:,.0f} s left")
            if done == total:
                bar.close()

        return report


def _partitioned(table: str) -> bool:
    return TABLES[table].partitioned if table in TABLES else True


Make = Callable[[Step], Product]


@dataclass(frozen=True)
class ExperimentGraph:
    """An experiment on its way to Dagster: its name, settings, partitions and engines."""

    name: str
    config: ExperimentConfig

    @cached_property
    def conditions(self) -> dg.StaticPartitionsDefinition:
        """Partitions of datasets, students and evaluations."""
        return dg.StaticPartitionsDefinition(list(self.config.conditions))

    @cached_property
    def engines(self) -> Engines:
        """Engines named by the experiment."""
        return engines_for(self.config)

    def key(self, asset: str) -> dg.AssetKey:
        """Asset key below the experiment's prefix."""
        return dg.AssetKey([self.name, asset])

    def asset(
        self,
        *,
        stage: str,
        uses: Sequence[str],
        deps: Sequence[str] = (),
        partitioned: bool = True,
        gpu: bool = False,
        kinds: Sequence[str] = (),
    ) -> Callable[[Make], dg.AssetsDefinition]:
        """Turn a function that makes one partition into an asset.

        Args:
            stage: label by which the UI can filter.
            uses: fields of the experiment file it depends on; a change there makes it stale.
            deps: assets it reads.
            partitioned: one partition per condition, or none.
            gpu: takes the ``gpu`` pool and is never started by automation.
            kinds: labels in the UI besides ``cpu`` and ``gpu``.
        """
        settings = {name: self._setting(name) for name in uses}

        def declare(make: Make) -> dg.AssetsDefinition:
            name = make.__name__
            code_version = f"{CODE_VERSION}.{digest(settings)}"

            @dg.asset(
                name=name,
                key_prefix=self.name,
                description=(make.__doc__ or "").strip(),
                group_name=self.name,
                deps=[self.key(dep) for dep in deps],
                partitions_def=self.conditions if partitioned else None,
                backfill_policy=dg.BackfillPolicy.single_run(),
                code_version=code_version,
                pool=GPU_POOL if gpu else None,
                op_tags=self._gpu_request if gpu else None,
                tags={"experiment": self.name, "stage": stage},
                owners=list(self.config.owners),
                kinds={"gpu" if gpu else "cpu", *kinds},
                metadata=_column_metadata(name),
                automation_condition=None if gpu or not deps else refresh_when_inputs_change(),
            )
            def asset(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[Any]:
                yield from _Materialisation(self, context, lake.open(), name, code_version, settings).events(make)

            return asset

        return declare

    def _setting(self, name: str) -> Any:
        value = getattr(self.config, name)
        return value.model_dump(mode="json") if hasattr(value, "model_dump") else value

    @property
    def _gpu_request(self) -> dict[str, Any] | None:
        """Op tags that Kubernetes and Ray launchers act on."""
        count = self.config.sampler.gpus
        if not count:
            return None
        limits = {"container_config": {"resources": {"limits": {"nvidia.com/gpu": count}}}}
        return {"dagster-k8s/config": limits, "dagster-ray/config": {"num_gpus": count}}


def refresh_when_inputs_change() -> dg.AutomationCondition[Any]:
    """Like ``eager``, but content with the partitions that exist: charts need not wait for every animal."""
    updated = dg.AutomationCondition.any_deps_updated() | dg.AutomationCondition.newly_missing()
    return (
        updated.since_last_handled()
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.in_progress()
    ).with_label("inputs changed")


def _column_metadata(name: str) -> dict[str, Any]:
    if name not in TABLES:
        return {}
    columns = TABLES[name].columns.items()
    return {
        "dagster/column_schema": dg.TableSchema(
            [dg.TableColumn(column, str(dtype), description=meaning) for column, (dtype, meaning) in columns]
        )
    }


@dataclass(frozen=True)
class _Materialisation:
    """One step of a run: makes its partitions one after another and records each."""

    graph: ExperimentGraph
    context: dg.AssetExecutionContext
    lake: Lake
    asset: str
    code_version: str
    settings: dict[str, Any]

    def events(self, make: Make) -> Iterator[Any]:
        partitions = self.context.partition_keys if self.context.has_partition_key_range else self._single()
        provenance = self._provenance()
        made: dict[str | None, Product] = {}
        try:
            refresh_catalog(self.lake)
            for partition in partitions:
                made[partition] = self._make(make, partition)
        except SlAssetsError as error:
            yield from self._partition_events(made, provenance)
            raise dg.Failure(str(error), allow_retries=False) from error
        except BaseException:
            # What was finished before the failure is in the lake: say so, then fail.
            yield from self._partition_events(made, provenance)
            raise
        if partitions == [None] or len(partitions) == 1:
            product = made[partitions[0]]
            yield dg.MaterializeResult(data_version=dg.DataVersion(product.version), metadata=product.metadata)
        else:
            # One result stamps all partitions alike; each partition's own event then stands last and counts.
            yield dg.MaterializeResult()
            yield from self._partition_events(made, provenance)
        for partition in partitions:
            self._step(partition).work.clear()

    def _single(self) -> list[str | None]:
        return [self.context.partition_key if self.context.has_partition_key else None]

    def _step(self, partition: str | None) -> Step:
        return Step(self.graph.name, self.asset, partition, self.lake, self.context.log.info)

    def _make(self, make: Make, partition: str | None) -> Product:
        step = self._step(partition)
        if (done := self._finished_earlier(step)) is not None:
            self.context.log.info(f"{self.asset} {partition or ''}: finished by an interrupted run, not made again")
            return done
        self.lake.reads.clear()
        start = time.monotonic()
        product = make(step)
        seconds = time.monotonic() - start
        self._write_lineage(partition, product, seconds)
        product.metadata.setdefault("seconds", round(seconds, 2))
        step.work.mark_done(
            {
                "code_version": self.code_version,
                "version": product.version,
                "engine": product.engine,
                "metadata": dg.serialize_value(_normalised(product.metadata)),
                "reads": [[place.experiment, place.table, place.condition, v] for place, v in self.lake.reads.items()],
            }
        )
        return product

    def _finished_earlier(self, step: Step) -> Product | None:
        """What a run wrote that was interrupted before its events were recorded, if nothing has changed since."""
        note = step.work.done()
        if note is None or note["code_version"] != self.code_version:
            return None
        reads = {Place(*place): version for *place, version in note["reads"]}
        if any(not self.lake.exists(place) or self.lake.version(place) != version for place, version in reads.items()):
            return None
        return Product(note["version"], dg.deserialize_value(note["metadata"], dict), note["engine"])

    def _provenance(self) -> dict[str, str]:
        """Tags that say which versions of the parents are read, by which Dagster later tells what is stale."""
        tags = {CODE_VERSION_TAG: self.code_version}
        for dep in self.context.assets_def.specs_by_key[self.graph.key(self.asset)].deps:
            latest = self.context.instance.fetch_materializations(dep.asset_key, limit=1).records
            version = extract_data_version_from_entry(latest[0].event_log_entry) if latest else None
            tags[get_input_data_version_tag(dep.asset_key)] = version.value if version else NULL_DATA_VERSION.value
            tags[get_input_event_pointer_tag(dep.asset_key)] = str(latest[0].storage_id) if latest else "NULL"
        return tags

    def _partition_events(
        self, made: dict[str | None, Product], provenance: dict[str, str]
    ) -> Iterator[dg.AssetMaterialization]:
        for partition, product in made.items():
            yield dg.AssetMaterialization(
                self.graph.key(self.asset),
                partition=partition,
                metadata=product.metadata,
                tags={**provenance, DATA_VERSION_TAG: product.version, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"},
            )

    def _write_lineage(self, partition: str | None, product: Product, seconds: float) -> None:
        parents = [
            {"asset": place.table, "partition": place.condition, "data_version": version}
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
            "config": json.dumps(self.settings, sort_keys=True),
            "seconds": seconds,
            "engine": product.engine,
        }
        folder = self.lake.root / f"experiment={self.graph.name}" / "lineage" / f"asset={self.asset}"
        content = _parquet(pl.DataFrame([row], schema=LINEAGE.schema))
        self.lake.write_file(folder / f"{self.context.run_id}-{partition or 'all'}.parquet", content)


def _parquet(frame: pl.DataFrame) -> bytes:
    import io

    data = io.BytesIO()
    frame.write_parquet(data)
    return data.getvalue()


def _normalised(metadata: dict[str, Any]) -> dict[str, Any]:
    from dagster._core.definitions.metadata import normalize_metadata

    return dict(normalize_metadata(metadata))
