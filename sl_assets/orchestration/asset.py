"""How an asset of an experiment is declared: everything the stages' ``assets.py`` have in common."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, Literal

import dagster as dg
from dagster._core.storage.tags import PRIORITY_TAG

from sl_assets.config import ExperimentConfig, JsonlSource, ModelJudge, NumbersSettings, PersonaSettings
from sl_assets.engines.choose import Engines, engines_for
from sl_assets.engines.transformers.models import weights_fingerprint
from sl_assets.lake.fingerprint import digest, file_digest
from sl_assets.lake.tables import TABLES
from sl_assets.orchestration.partition import Check, Make
from sl_assets.orchestration.recording import Materialisation, no_budget
from sl_assets.orchestration.resources import LakeResource

CODE_VERSION = "1"
"""Raise it when the code of an asset changes what the same settings give."""

GPU_POOL = "gpu"

SAMPLING = ("base_model", "sampler.engine", "sampler.temperature", "sampler.batch")
"""What decides answers whose length has a setting of its own."""

Partitioning = Literal["condition", "animal", "split"]


@dataclass(frozen=True)
class ExperimentGraph:
    """An experiment on its way to Dagster: its name, settings, partitions and engines."""

    name: str
    config: ExperimentConfig

    @cached_property
    def partitions(self) -> dict[Partitioning, dg.PartitionsDefinition]:
        """Partitions by what they are keyed by; ``split`` means animal and split."""
        animals = dg.StaticPartitionsDefinition(list(self.config.animals))
        by: dict[Partitioning, dg.PartitionsDefinition] = {
            "condition": dg.StaticPartitionsDefinition(list(self.config.conditions)),
            "animal": animals,
        }
        if self.config.splits:
            splits = dg.StaticPartitionsDefinition(list(self.config.splits))
            by["split"] = dg.MultiPartitionsDefinition({"animal": animals, "split": splits})
        return by

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
        deps: Sequence[str | dg.AssetDep] = (),
        by: Partitioning | None = "condition",
        gpu: bool = False,
        kinds: Sequence[str] = (),
        check: Check | None = None,
    ) -> Callable[[Make], dg.AssetsDefinition]:
        """Turn a function that makes one partition into an asset.

        Args:
            stage: label by which the UI can filter; begins with its number. Of steps that could run, one of the
                earliest stage does, which keeps those of one engine together.
            uses: fields of the experiment file it depends on, ``section.field`` for one of a section's; a change there
                makes it stale.
            deps: assets it reads.
            by: what its partitions are keyed by, if it has any.
            gpu: runs a model: takes the ``gpu`` pool, is never started by automation, and shows what that cost, if
                it costs money.
            kinds: labels in the UI besides ``cpu`` and ``gpu``.
            check: says of a partition what is wrong with it, if anything; an asset check of that name.
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
                deps=[self.key(dep) if isinstance(dep, str) else dep for dep in deps],
                partitions_def=self.partitions[by] if by else None,
                backfill_policy=dg.BackfillPolicy.single_run(),
                code_version=code_version,
                pool=GPU_POOL if gpu else None,
                op_tags={PRIORITY_TAG: str(-int(stage[0]))} | (self._gpu_request if gpu else {}),
                tags={"experiment": self.name, "stage": stage},
                owners=list(self.config.owners),
                kinds={"gpu" if gpu else "cpu", *kinds},
                metadata=_column_metadata(name),
                automation_condition=None if gpu or not deps else refresh_when_inputs_change(partitioned=bool(by)),
                check_specs=[_check_spec(self.key(name), check)] if check else None,
            )
            def asset(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[Any]:
                # Of an experiment's assets, those that run models may cost money.
                budget = self.engines.budget if gpu else no_budget
                step = Materialisation(self.name, name, context, lake.open(), code_version, settings, budget)
                yield from step.events(make, check)

            return asset

        return declare

    def _setting(self, name: str) -> Any:
        value: Any = reduce(getattr, name.split("."), self.config)
        if name == "base_model":
            return [value, weights_fingerprint(value)]
        if isinstance(value, PersonaSettings) and isinstance(value.judge, ModelJudge):
            return [value.model_dump(mode="json"), weights_fingerprint(value.judge.base_model)]
        if isinstance(value, NumbersSettings) and isinstance(value.source, JsonlSource):
            files = [value.source.file(condition) for condition in self.config.conditions]
            return [value.model_dump(mode="json"), [file_digest(file) if file.is_file() else None for file in files]]
        return value.model_dump(mode="json") if hasattr(value, "model_dump") else value

    @property
    def _gpu_request(self) -> dict[str, Any]:
        """Op tags that Kubernetes and Ray launchers act on."""
        count = self.config.sampler.gpus
        if not count:
            return {}
        limits = {"container_config": {"resources": {"limits": {"nvidia.com/gpu": count}}}}
        return {"dagster-k8s/config": limits, "dagster-ray/config": {"num_gpus": count}}


def refresh_when_inputs_change(partitioned: bool) -> dg.AutomationCondition[Any]:
    """Like ``eager``; but what has no partitions is content with those that exist: charts wait for no animal."""
    condition = (
        dg.AutomationCondition.any_deps_updated().since_last_handled()
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.in_progress()
    )
    return (condition & ~dg.AutomationCondition.any_deps_missing() if partitioned else condition).with_label(
        "inputs changed"
    )


def _check_spec(asset: dg.AssetKey, check: Check) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(check.__name__, asset=asset, description=(check.__doc__ or "").strip())


def _column_metadata(name: str) -> dict[str, Any]:
    if name not in TABLES:
        return {}
    columns = TABLES[name].columns.items()
    return {
        "dagster/column_schema": dg.TableSchema(
            [dg.TableColumn(column, str(dtype), description=meaning) for column, (dtype, meaning) in columns]
        )
    }
