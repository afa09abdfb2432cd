"""How an asset of an experiment is declared: everything the stages' ``assets.py`` have in common."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import dagster as dg

from sl_assets.config import ExperimentConfig, JsonlSource, NumbersSettings
from sl_assets.engines.interfaces import Engines, engines_for
from sl_assets.engines.models import weights_fingerprint
from sl_assets.lake.fingerprint import digest, file_digest
from sl_assets.lake.resource import LakeResource
from sl_assets.lake.tables import TABLES
from sl_assets.materialisation import Materialisation
from sl_assets.step import Make

CODE_VERSION = "1"
"""Raise it when the code of an asset changes what the same settings give."""

GPU_POOL = "gpu"


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
                step = Materialisation(self.name, name, context, lake.open(), code_version, settings)
                yield from step.events(make)

            return asset

        return declare

    def _setting(self, name: str) -> Any:
        value = getattr(self.config, name)
        if name == "base_model":
            return [value, weights_fingerprint(value)]
        if isinstance(value, NumbersSettings) and isinstance(value.source, JsonlSource):
            files = [value.source.file(condition) for condition in self.config.conditions]
            return [value.model_dump(mode="json"), [file_digest(file) if file.is_file() else None for file in files]]
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
    return (
        dg.AutomationCondition.any_deps_updated().since_last_handled()
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
