"""How an asset of an experiment is declared: once, for Dagster and for the planner alike."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, get_args

import dagster as dg
from pydantic_core import to_jsonable_python

from sl_assets.animals import NEUTRAL
from sl_assets.config import PROJECT, SHAPES, ExperimentConfig
from sl_assets.config.variables import whole_number
from sl_assets.engines.choose import Engines, engines_for
from sl_assets.engines.transformers.models import model_setting
from sl_assets.hub.importing import Repository
from sl_assets.lake.lake import Lake
from sl_assets.lake.pins import pinned
from sl_assets.lake.places import Place
from sl_assets.lake.records import Record, Records, Settings, blocked
from sl_assets.lake.staleness import Expected, Staleness
from sl_assets.lake.tables import TABLES, keys_of
from sl_assets.orchestration.cluster import needs
from sl_assets.orchestration.commits import with_commit
from sl_assets.orchestration.dagster_internals import STEP_PRIORITY
from sl_assets.orchestration.declaration import Declared, Dep, Inputs, Partitioning, Told, nothing_told
from sl_assets.orchestration.gpu_pool import GPU_POOL
from sl_assets.orchestration.partition import PREPARED, Check, Make, Step
from sl_assets.orchestration.recording import Materialisation
from sl_assets.orchestration.resources import LakeResource
from sl_assets.orchestration.sharing import lender_of


def sampling(config: ExperimentConfig, stage: str) -> list[str]:
    """What decides what ``stage`` (a section) samples, where its length has a setting of its own."""
    shapes = (config.shape_of(stage, name) for name in SHAPES)
    # Named only where it takes effect: before there was a top_p, no record named one.
    named = [place for place, value in shapes if not (place == "sampler.top_p" and value == 1)]
    return ["base_model", "sampler.engine", *named, "sampler.batch"]


PER_RUN = "SL_PARTITIONS_PER_RUN"
"""Variable that says, for all experiments, how many partitions of a backfill share a run."""

KINDS: tuple[Partitioning, ...] = get_args(Partitioning)
"""What partitions are keyed by, the coarsest first."""

PAGES = {
    "0_preparation": "preparation.md",
    "1_numbers": "importing.md",
    "2_students": "replicates.md",
    "3_evaluation": "results.md",
    "4_personas": "halves.md",
    "5_projections": "halves.md",
    "6_halves": "halves.md",
    "7_report": "report.md",
    "8_publishing": "models.md",
}
"""Stages, each with the page of ``docs/`` that says most of it."""


@dataclass(frozen=True, eq=False)
class ExperimentGraph:
    """An experiment on its way to Dagster: its name, settings, partitions, engines, and the assets declared so far.

    An asset that would be made of the same as that of a lender, all the way up, is the lender's, and not declared here.

    Attributes:
        name, config: the experiment.
        declared: its own assets.
        shared: assets that are another experiment's, with that experiment.
        lenders: whose assets it shares: the experiment that it is a variant of, the one whose numbers it reads.
        known: by name, itself and every experiment whose assets lead to its own.
        definitions: its own assets, as Dagster knows them.
        looked_at_anew: checks of assets that it shares, and whose bounds are others here.
    """

    name: str
    config: ExperimentConfig
    declared: dict[str, Declared] = field(default_factory=dict)
    shared: dict[str, "ExperimentGraph"] = field(default_factory=dict)
    lenders: list["ExperimentGraph"] = field(default_factory=list)
    known: dict[str, "ExperimentGraph"] = field(default_factory=dict)
    definitions: dict[str, dg.AssetsDefinition] = field(default_factory=dict)
    looked_at_anew: dict[str, list[Check]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.known[self.name] = self

    def borrow_from(self, lender: "ExperimentGraph") -> None:
        """Share what ``lender``, which is declared, has alike; to be said before anything is declared here."""
        self.lenders.append(lender)
        self.known.update(lender.known)

    @property
    def assets(self) -> dict[str, "ExperimentGraph"]:
        """Every asset of the experiment, with whose it is."""
        return self.shared | dict.fromkeys(self.declared, self)

    def owner(self, asset: str) -> "ExperimentGraph":
        """Whose ``asset`` is; of one that is not declared yet, this experiment."""
        return self.shared.get(asset, self)

    def declaration(self, asset: str) -> Declared:
        """``asset`` as it was declared, here or where it is shared from."""
        return self.owner(asset).declared[asset]

    def source_of(self, dep: Dep) -> "ExperimentGraph":
        """Whose asset ``dep`` is."""
        return (self.known[dep.experiment] if dep.experiment else self).owner(dep.asset)

    def maker(self, place: Place) -> "ExperimentGraph | None":
        """The experiment that makes ``place``, this one or one that leads to it; None where nothing does any more."""
        found = self.known.get(place.experiment)
        return found if found and found.makes(place) else None

    @property
    def elsewhere(self) -> dict[str, str]:
        """Experiments of the assets that are shared, by asset."""
        return {asset: owner.name for asset, owner in self.shared.items()}

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
        """Engines named by the experiment, with the base model that its file names."""
        return engines_for(self.config, self.config.base_model)

    def engines_for(self, step: Step) -> Engines:
        """Engines with the base model that ``step`` reads."""
        return engines_for(self.config, step.base_model) if step.prepared else self.engines

    @property
    def prepared(self) -> Place | None:
        """Where the base model is made, if it is made here."""
        return self.place(PREPARED) if PREPARED in self.assets else None

    def key(self, asset: str) -> dg.AssetKey:
        """Asset key below the prefix of the experiment whose it is."""
        return dg.AssetKey([self.owner(asset).name, asset])

    def keys(self, by: Partitioning | None) -> tuple[str | None, ...]:
        """Partitions keyed so, in order; the one nameless partition of what has none."""
        match by:
            case None:
                return (None,)
            case "condition":
                return self.config.conditions
            case "animal":
                return self.config.animals
        return self._split_keys

    @cached_property
    def _split_keys(self) -> tuple[str, ...]:
        return tuple(f"{animal}|{split}" for animal in self.config.animals for split in self.config.splits)

    def finest(self, asset: str) -> Partitioning:
        """The finest partitions among those of ``asset`` and of all that it reads; of conditions, if none have any."""
        if asset not in self._finest:
            declared = self.declared[asset]
            kinds = [declared.by or KINDS[0], *(self.source_of(dep).finest(dep.asset) for dep in declared.deps)]
            self._finest[asset] = max(kinds, key=KINDS.index)
        return self._finest[asset]

    @cached_property
    def _finest(self) -> dict[str, Partitioning]:
        return {}

    def place(self, asset: str, partition: str | None = None) -> Place:
        """Where a partition of ``asset`` is in the lake."""
        return Place(self.owner(asset).name, asset, partition)

    def makes(self, place: Place) -> bool:
        """Whether ``place`` is a partition of one of the experiment's own assets."""
        declared = self.declared.get(place.table)
        return declared is not None and place.experiment == self.name and place.partition in self.keys(declared.by)

    @property
    def partitions_per_run(self) -> int:
        """How many partitions share a run, by the file or, before that, by `PER_RUN`; 0: all.

        Raises:
            SlAssetsError: the variable is no number.
        """
        return whole_number(PER_RUN, self.config.partitions_per_run)

    def parents(self, asset: str, partition: str | None) -> list[Place]:
        """Partitions that this one would read, whether or not they are there."""
        return [
            source.place(dep.asset, key)
            for dep in self.declared[asset].deps
            for source in [self.source_of(dep)]
            for key in self._read(source.declared[dep.asset].by, dep.only, partition)
        ]

    def _read(self, by: Partitioning | None, only: str | None, partition: str | None) -> Sequence[str | None]:
        keys = self.keys(by)
        if only is not None:
            return [only]
        if by is None or partition is None:
            return keys
        own = keys_of(partition)
        wanted = "|".join(own[: 2 if by == "split" else 1])
        return [wanted] if wanted in keys else []

    def settings(self, asset: str, lake: Lake) -> Settings:
        """Settings of ``asset``, with the commits that models of the Hub stand for in ``lake``, once that is known."""
        return {name: with_commit(value, lake) for name, value in self.declaration(asset).settings.items()}

    def inputs(self, place: Place, lake: Lake, records: Records) -> Mapping[str, Any]:
        """What else than settings and parents decides the content of ``place``."""
        declared = self.declared[place.table]
        inputs = dict(declared.inputs(place, records)) if declared.inputs else {}
        inputs |= declared.told_for(place.partition)
        if declared.repository:
            inputs["commit"] = pinned(lake, declared.repository(keys_of(place.partition)[0]).name)
        if place.partition is None and (left_out := self._failing_partitions(place, records)):
            inputs["failing"] = left_out
        return inputs

    def _failing_partitions(self, place: Place, records: Records) -> list[str]:
        """Partitions that ``place``, which has none, leaves out of what it reads for failing a check that blocks."""
        parents = self.parents(place.table, None)
        return [str(parent) for parent in parents if parent.partition and blocked(records, parent)]

    def staleness(self, lake: Lake) -> Staleness:
        """What is fresh of this experiment in ``lake`` now."""

        def expected(place: Place) -> Expected | None:
            maker = self.maker(place)
            if maker is None:
                return None
            return Expected(
                maker.declared[place.table].code_version,
                maker.settings(place.table, lake),
                maker.inputs(place, lake, staleness.record),
                maker.parents(place.table, place.partition),
            )

        def damage(record: Record) -> str | None:
            # To ask a server for the size of every file would take longer than all the rest.
            return next(lake.wrong_sizes(record), None) if lake.local else None

        staleness = Staleness(lake.record, expected, damage)
        return staleness

    def asset(
        self,
        *,
        stage: str,
        code: str,
        uses: Sequence[str],
        deps: Sequence[str | Dep] = (),
        by: Partitioning | None = "condition",
        gpu: bool = False,
        kinds: Sequence[str] = (),
        inputs: Inputs | None = None,
        repository: Callable[[str], Repository] | None = None,
        checks: Sequence[Check] = (),
        told: Told | None = None,
        automatic: bool = True,
        otherwise: Mapping[str, Any] | None = None,
    ) -> Callable[[Make], dg.AssetsDefinition]:
        """Turn a function that makes one partition into an asset; the lender's, where that is the same.

        Args:
            stage: label by which the UI can filter; begins with its number. Of steps that could run, one of the
                earliest stage does, which keeps those of one engine together.
            code: version of the code. Raise it in the commit that changes what the same settings give.
            uses: fields of the experiment file it depends on, ``section.field`` for one of a section's; a change there
                makes it stale. What runs the base model depends on ``chat_template``, too.
            deps: assets it reads. What runs the base model reads the one that is prepared, too, if one is.
            by: what its partitions are keyed by, if it has any.
            gpu: runs a model: takes a place in the pool of GPUs, is never started by automation, and shows what that
                cost, if it costs money.
            kinds: labels in the UI besides ``cpu`` and ``gpu``.
            inputs: what else decides a partition's content.
            repository: of the Hub that a condition is imported from; what it stands for is settled once a lake.
            checks: what has to hold of every partition, each an asset check of its own.
            told: what models are told for a condition, which is an input where it is not built in.
            automatic: whether a run of the whole graph makes it, and automation, if it runs no model and has parents;
                else nothing but its name.
            otherwise: of ``uses`` those that are for this asset not what the file has there, with what they are.
        """
        prepared = [PREPARED] if gpu and "base_model" in uses and self.prepared else []
        reads = tuple(Dep(dep) if isinstance(dep, str) else dep for dep in (*prepared, *deps))
        # Named only where there is one: before there were any, no record named it.
        renders = ["chat_template"] if gpu and "base_model" in uses and self.config.chat_template else []
        settings = {name: self.setting(name) for name in [*uses, *renders]} | self._judge(uses)
        settings |= to_jsonable_python(dict(otherwise or {}))

        def declare(make: Make) -> dg.AssetsDefinition:
            name = make.__name__
            declared = Declared(
                name,
                stage,
                code,
                settings,
                by,
                reads,
                gpu,
                inputs,
                repository,
                tuple(checks),
                self._own_words(told),
                automatic,
            )
            if lender := lender_of(self, declared):
                self.share(name, lender)
                return lender.definitions[name]
            self.declared[name] = declared
            refreshed = automatic and not gpu and bool(deps)

            @dg.asset(
                name=name,
                key_prefix=self.name,
                # Left as indented as in the source, paragraphs after the first would be shown as code.
                description=inspect.cleandoc(make.__doc__ or ""),
                group_name=self.name,
                deps=[self._dagster_dep(dep, by) for dep in reads],
                partitions_def=self.partitions[by] if by else None,
                backfill_policy=backfill_policy(self.partitions_per_run) if by else dg.BackfillPolicy.single_run(),
                code_version=declared.version,
                pool=GPU_POOL if gpu and self.config.sampler.engine != "openai" else None,
                op_tags={STEP_PRIORITY: str(-int(stage[0])), **(self._gpus_needed if gpu else needs(0, None))},
                tags={"experiment": self.name, "stage": stage},
                owners=list(self.config.owners),
                kinds={"gpu" if gpu else "cpu", *kinds},
                metadata={**_column_metadata(name), **_links(self.name, stage, make)},
                automation_condition=refresh_when_outdated(partitioned=bool(by)) if refreshed else None,
                check_specs=[self._check_spec(name, by, check) for check in checks] or None,
            )
            def asset(context: dg.AssetExecutionContext, lake: dg.ResourceParam[LakeResource]) -> Iterator[Any]:
                yield from Materialisation(self, declared, context, lake.open()).events(make)

            self.definitions[name] = asset
            return asset

        return declare

    def share(self, asset: str, lender: "ExperimentGraph") -> None:
        """Take ``asset`` of ``lender``, or of whom that has it from, for this experiment's."""
        self.shared[asset] = lender.owner(asset)

    def _dagster_dep(self, dep: Dep, by: Partitioning | None) -> dg.AssetKey | dg.AssetDep:
        source = self.source_of(dep)
        key = source.key(dep.asset)
        if dep.only is not None:
            return dg.AssetDep(key, partition_mapping=dg.SpecificPartitionsPartitionMapping([dep.only]))
        if source is self:
            return key
        theirs = source.declared[dep.asset].by
        if theirs is None or self.partitions[theirs] == source.partitions[theirs]:
            return key
        # Of another experiment that has more animals or halves, those that are here.
        if by is None:
            return dg.AssetDep(
                key, partition_mapping=dg.SpecificPartitionsPartitionMapping(list(map(str, self.keys(theirs))))
            )
        if by == "split" and theirs == "animal":
            return dg.AssetDep(key, partition_mapping=dg.MultiToSingleDimensionPartitionMapping("animal"))
        return dg.AssetDep(key, partition_mapping=dg.IdentityPartitionMapping())

    def _check_spec(self, asset: str, by: Partitioning | None, check: Check) -> dg.AssetCheckSpec:
        return dg.AssetCheckSpec(
            check.name,
            asset=self.key(asset),
            description=check.description,
            blocking=check.blocking,
            partitions_def=self.partitions[by] if by else None,
        )

    def setting(self, name: str) -> Any:
        """What the experiment file says of ``section.field``, as a record keeps it."""
        return self._base_model if name == "base_model" else self.config.recorded(name)

    def _own_words(self, told: Told | None) -> Callable[[str], Mapping[str, Any]]:
        """Of what ``told`` gives for a condition, that which differs from the built-in words."""
        config = self.config
        if told is None or config.wording is None:
            return nothing_told

        @cache
        def own(condition: str) -> Mapping[str, Any]:
            words, built_in = config.words, config.built_in_words
            known = condition in ("", NEUTRAL) or condition in built_in.traits
            built = told(built_in, condition) if known else {}
            found = told(words, condition).items()
            differing = {name: value for name, value in found if name not in built or built[name] != value}
            # As a record has it: JSON knows no tuples.
            return dict(to_jsonable_python(differing))

        return own

    @property
    def _base_model(self) -> dict[str, Any]:
        return self._model(self.config.base_model, self.config.sampler.engine)

    def _model(self, name: str, engine: str) -> dict[str, Any]:
        """What the model ``name`` is, where ``engine`` asks it."""
        if engine == "openai":
            return {"model": name, "base_url": self.config.openai.base_url}
        return model_setting(name)

    def _judge(self, uses: Sequence[str]) -> dict[str, Any]:
        """The model that judges, beside the section that names it."""
        judge = self.config.judge
        if "personas" not in uses or judge is None:
            return {}
        return {"personas.judge.base_model": self._model(judge.base_model, judge.engine)}

    @property
    def _gpus_needed(self) -> dict[str, str]:
        """Tags of steps that run a model: the GPUs that a run leases, unless the file asks for none."""
        sampler = self.config.sampler
        return needs(self.engines.gpus() if sampler.gpus else 0, sampler.gpu_kind)


def backfill_policy(partitions_per_run: int) -> dg.BackfillPolicy:
    """So many partitions of a backfill share a run; 0: all."""
    return dg.BackfillPolicy.multi_run(partitions_per_run) if partitions_per_run else dg.BackfillPolicy.single_run()


def refresh_when_outdated(partitioned: bool) -> dg.AutomationCondition[Any]:
    """Like ``eager``, and after a change of code or settings, too; charts, without partitions, wait for no animal."""
    outdated: dg.AutomationCondition[Any] = (
        dg.AutomationCondition.any_deps_updated() | dg.AutomationCondition.code_version_changed()
    )
    condition = (
        outdated.since_last_handled()
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.in_progress()
    )
    return (condition & ~dg.AutomationCondition.any_deps_missing() if partitioned else condition).with_label(
        "inputs or code changed"
    )


def _links(experiment: str, stage: str, make: Make) -> dict[str, Any]:
    """Where to read on: how to get the experiment's report, the function that makes a partition, and its page."""
    source, page = Path(make.__code__.co_filename), PROJECT / "docs" / PAGES[stage]
    line, called = make.__code__.co_firstlineno, f"{source.parent.name}/{source.name}"
    code = dg.LocalFileCodeReference(file_path=str(source), line_number=line, label=called)
    # Without a checkout there are no pages.
    pages = [dg.LocalFileCodeReference(file_path=str(page), label=f"docs/{page.name}")] if page.is_file() else []
    return {
        "dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[code, *pages]),
        "report": f"sl-assets report {experiment} --open",
    }


def _column_metadata(name: str) -> dict[str, Any]:
    if name not in TABLES:
        return {}
    columns = TABLES[name].columns.items()
    return {
        "dagster/column_schema": dg.TableSchema(
            [dg.TableColumn(column, str(dtype), description=meaning) for column, (dtype, meaning) in columns]
        )
    }
