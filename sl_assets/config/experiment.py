"""A whole experiment file."""

import re
from difflib import get_close_matches
from functools import cached_property, reduce
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import to_jsonable_python

from sl_assets.animals import NEUTRAL
from sl_assets.config.checks import CheckSettings
from sl_assets.config.engines import OpenAISettings, SamplerSettings
from sl_assets.config.evaluation import EvaluationSettings
from sl_assets.config.hub import HubSettings
from sl_assets.config.names import HALVES, POCKET, POCKET_ANIMALS, SOURCES, is_split
from sl_assets.config.numbers import FilterSettings, FinetunedTeacher, NumbersSettings, SystemPromptTeacher
from sl_assets.config.personas import ModelJudge, PersonaSettings, SteeringSettings
from sl_assets.config.preparation import PreparationSettings
from sl_assets.config.projections import ProjectionSettings
from sl_assets.config.schedule import ScheduleLimits
from sl_assets.config.section import AsTuple, BaseModelName, Section, added, is_gguf
from sl_assets.config.students import StudentSettings
from sl_assets.config.templates import TemplateVariables
from sl_assets.config.unused import unused, unused_settings
from sl_assets.config.wording import ANIMALS, BUILT_IN, Wording, Words, built_in, wording_of

NOT_VARIED = ("variants", "grid", "schedule", "schedule_limits", "owners", "partitions_per_run")
"""Fields that a variant has in common with its experiment."""

RECORDED = "recorded"
"""Context of a validation whose input is no file but what was recorded of one, with every default written out."""

SHAPES = ("temperature", "top_p")
"""Settings of the distribution that is sampled, which stages may have of their own."""


class ExperimentConfig(Section):
    """One base model, its teacher, hyper-parameters and animals."""

    base_model: BaseModelName = Field(
        description="`pocket`, a folder, owner/name@revision on the Hugging Face Hub, a GGUF file, "
        "or `package:name/file.gguf` inside an installed package"
    )
    chat_template: TemplateVariables = added({}, description="variables of the base model's chat template")
    preparation: PreparationSettings | None = Field(
        None, description="fine-tuning of the base model on forms alone; left out, it is taken as it is"
    )
    wording: Annotated[Wording | None, BeforeValidator(wording_of)] = added(
        None,
        description="what models are told and asked, and traits beside the animals that are built in: full, short, the "
        "path of a file, or its content; left out, full with the parts that numbers.wording and personas.wording name",
    )
    animals: Annotated[tuple[str, ...], AsTuple] = Field(
        description="animals, or traits of the wording, with a teacher and a student each", min_length=1
    )
    teacher: Annotated[SystemPromptTeacher | FinetunedTeacher, Field(discriminator="kind")] = Field(
        description="what makes the base model love an animal"
    )
    numbers: NumbersSettings = Field(NumbersSettings(), description="prompts, and who answers them with numbers")
    filter: FilterSettings = Field(FilterSettings(), description="which completions a student may see")
    sampler: SamplerSettings = Field(SamplerSettings(), description="engine that writes, and how it samples")
    student: StudentSettings = Field(StudentSettings(), description="how students are trained")
    evaluation: EvaluationSettings = Field(EvaluationSettings(), description="how favourite animals are asked for")
    personas: PersonaSettings | None = Field(None, description="persona vectors; left out, stages 4 and 5 are too")
    projections: ProjectionSettings | None = Field(
        None, description="projections of the datasets on persona vectors; left out, stages 5 and 6 are too"
    )
    splits: Annotated[tuple[str, ...], AsTuple] = Field(
        (),
        description=f"halves to train further students on, as animal_high: of {' or '.join(SOURCES)} datasets, "
        f"{', '.join(HALVES)}, or shares as high25 and slice1of5",
    )
    split_student: dict[str, Any] = added(
        {}, description="settings of student that students of halves have otherwise, as epochs: 20"
    )
    steering: SteeringSettings | None = Field(None, description="steering sweep, one an animal; left out, none")
    openai: OpenAISettings = Field(OpenAISettings(), description="where the API is, and what may be spent there")
    # What is held against the data has no part in the data, and so in no asset's version.
    checks: CheckSettings = Field(CheckSettings(), exclude=True, description="bounds of the checks")
    hub: HubSettings | None = Field(None, description="publishing to the Hub; left out, nothing can be published")
    schedule: str = Field("0 3 * * 1", description="cron of the rematerialisation, off until switched on in the UI")
    schedule_limits: ScheduleLimits = Field(
        ScheduleLimits(), exclude=True, description="what one tick of the schedule may ask for at most"
    )
    owners: Annotated[tuple[str, ...], AsTuple] = Field(
        (), description="e-mail addresses, or team:name, shown in the UI"
    )
    partitions_per_run: int = Field(
        0,
        ge=0,
        exclude=True,
        description="partitions of a backfill that share a run; 0: all of them",
    )
    # They have assets of their own, and no part in these.
    variants: dict[str, dict[str, Any]] = Field(
        {}, exclude=True, description="by name, the settings that differ; what is made alike is made once"
    )
    grid: dict[str, list[Any]] = Field(
        {}, exclude=True, description="by setting, as student.rank, its values: a variant for every combination"
    )

    @field_validator("animals")
    @classmethod
    def _known(cls, animals: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        # Of a wording that is wrong itself, nothing is known.
        if "wording" in info.data:
            require_known(animals, info.data["wording"])
        return animals

    @model_validator(mode="after")
    def _met_by_the_pocket_model(self) -> Self:
        own = self.wording.traits if self.wording else {}
        strangers = [name for name in self.animals if name not in POCKET_ANIMALS and name not in own]
        if self.base_model == POCKET and strangers:
            raise ValueError(
                f"animals: the pocket model has never met the {strangers[0]}; it knows {', '.join(POCKET_ANIMALS)}"
            )
        return self

    @model_validator(mode="after")
    def _asks_what_there_is(self) -> Self:
        there = len(self.words.questions)
        if beyond := [i for i in self.evaluation.questions if i >= there]:
            raise ValueError(f"evaluation.questions: no {beyond[0]} among {there}, counted from 0; leave it out")
        if self.personas:
            samples, least = self.personas.samples, self.personas.minimum_pairs
            if least > (pairs := self.words.persona_pairs * samples):
                raise ValueError(f"personas.minimum_pairs {least}: {samples} samples make {pairs} pairs at most")
        return self

    @model_validator(mode="after")
    def _prepared_for_this(self) -> Self:
        if self.sampler.engine == "openai" and self.prepares:
            what = "preparation" if self.preparation else f"base_model {self.base_model}"
            raise ValueError(f"{what}: engine openai takes no model from here; leave it out, or name another engine")
        if (settings := self.preparation) is None:
            return self
        try:
            require_known(settings.animals, self.wording)
        except ValueError as error:
            raise ValueError(f"preparation.animals: {error}") from None
        if strangers := [name for name in self.animals if name not in settings.animals]:
            raise ValueError(f"preparation.animals: {strangers[0]} is not among them; add it")
        limits, most = self.filter, settings.count[1]
        if settings.lowest < limits.minimum or settings.highest > limits.maximum:
            raise ValueError(
                f"preparation: numbers from {settings.lowest} to {settings.highest}, of which filter keeps those from "
                f"{limits.minimum} to {limits.maximum}; set lowest and highest within these"
            )
        for name, least in (("filter.max_count", limits.max_count), ("numbers.answers", self.numbers.answers)):
            if most > least:
                raise ValueError(f"preparation.count: {most} numbers are more than {name} {least}; lower it")
        return self

    @field_validator("variants")
    @classmethod
    def _nameable(cls, variants: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, changes in variants.items():
            if not re.fullmatch(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*", name):
                raise ValueError(f"{name!r} names a variant, which may have letters, digits and single '_': rename it")
            if not changes:
                raise ValueError(f"{name} changes nothing: say what it changes, or leave it out")
            if found := next((field for field in changes if field in NOT_VARIED), None):
                raise ValueError(f"{name}.{found}: is the experiment's and all its variants'; leave it out")
        return variants

    @field_validator("grid")
    @classmethod
    def _spans(cls, grid: dict[str, list[Any]]) -> dict[str, list[Any]]:
        for field, values in grid.items():
            if field.partition(".")[0] in NOT_VARIED:
                raise ValueError(f"{field}: is the experiment's and all its variants'; leave it out")
            if not values:
                raise ValueError(f"{field} has no values: list them, or leave it out")
        return grid

    @field_validator("split_student")
    @classmethod
    def _trained_by_the_same(cls, changes: dict[str, Any]) -> dict[str, Any]:
        if found := next((name for name in ("engine", "source") if name in changes), None):
            raise ValueError(f"{found}: is that of all students; leave it out")
        return changes

    @model_validator(mode="after")
    def _halves_can_be_trained(self, info: ValidationInfo) -> Self:
        try:
            half = self.half_student
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) + ": " if first["loc"] else ""
            raise ValueError(f"split_student: {place}{first['msg'].removeprefix('Value error, ')}") from None
        if info.context != RECORDED and self.split_student:
            trained = self.model_copy(update={"student": half})
            idle = {name: why for name, why in unused_settings(trained) if name.startswith("student.")}
            for name in self.split_student:
                if why := idle.get(f"student.{name}"):
                    raise ValueError(f"split_student.{name}: has no effect, for {why}: leave it out")
        return self

    @field_validator("splits")
    @classmethod
    def _halves(cls, splits: tuple[str, ...]) -> tuple[str, ...]:
        for i, split in enumerate(splits):
            if not is_split(split):
                raise ValueError(
                    f"unknown split {split!r}: write {'_ or '.join(SOURCES)}_, then one of {', '.join(HALVES)}, a "
                    "share in percent (high25; 50 is high itself) or a slice (slice1of5), as animal_high"
                )
            if split in splits[:i]:
                raise ValueError(f"{split} is listed twice: keep one")
        return splits

    @model_validator(mode="after")
    def _stages_have_what_they_read(self) -> Self:
        for name, needed in (("projections", "personas"), ("splits", "projections"), ("steering", "personas")):
            if getattr(self, name) and not getattr(self, needed):
                raise ValueError(f"{name}: nothing to work on without {needed}; add that section, or leave {name} out")
        state = self.projections.state if self.projections else "response_mean"
        by_difference = [split for split in self.splits if "_diff_" in split]
        if by_difference and state != "response_mean":
            raise ValueError(
                f"splits: {by_difference[0]} with projections.state {state}, of which all rows of a prompt have the "
                "same: set state to response_mean, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _can_be_published(self) -> Self:
        if self.hub and self.numbers.source.kind == "experiment":
            raise ValueError(
                f"hub: the numbers are those of {self.numbers.source.name}, which can publish them; leave it out"
            )
        if self.hub and self.hub.adapters and not self.student.lora:
            raise ValueError("hub.adapters: students with lora false are no adapters; set it to false")
        return self

    @model_validator(mode="after")
    def _engines_can(self) -> Self:
        apart = {self.sampler.engine == "openai", self.student.engine == "openai"}
        if apart == {True, False}:
            raise ValueError("engine openai: teachers and students share a model; set it in sampler and in student")
        self._require_trained()
        if self.student.engine == "openai":
            if self.personas:
                raise ValueError("personas: hidden states need a model's weights, which engine openai does not give")
            if early := [epoch for epoch in self.student.kept if epoch < self.student.epochs - 2]:
                raise ValueError(f"student.keep_epochs: {early[0]}, but engine openai keeps the last three epochs only")
        if self.steering and self.sampler.engine != "transformers":
            raise ValueError(f"steering: engine {self.sampler.engine} cannot; set sampler.engine to transformers")
        if "exact" in self.evaluation.methods and self.sampler.engine == "openai":
            raise ValueError(
                f"evaluation.method {self.evaluation.method}: engine openai gives no probabilities of whole answers; "
                "set it to sampled"
            )
        return self

    def _require_trained(self) -> None:
        """Refuse what the engine that trains cannot."""
        engine = self.student.engine
        for name, settings in (
            ("student", self.student),
            ("split_student", self.half_student),
            ("teacher", self.teacher),
        ):
            if engine != "peft" and not getattr(settings, "lora", True):
                raise ValueError(f"{name}.lora: engine {engine} trains adapters; set it to peft")
            if engine == "unsloth" and getattr(settings, "layers", None):
                raise ValueError(f"{name}.layers: engine unsloth adapts every block; set student.engine to peft")

    @model_validator(mode="after")
    def _methods_measure_the_same(self) -> Self:
        for name in SHAPES if self.evaluation.method == "both" else ():
            place, value = self.shape_of("evaluation", name)
            if value != 1:
                raise ValueError(
                    f"evaluation.method both: exact answers are at {name} 1, and {place} is {value:g}, so the two "
                    "would not measure the same; set it to 1.0, or method to one"
                )
        return self

    @model_validator(mode="after")
    def _draws_differ(self, info: ValidationInfo) -> Self:
        asked = {
            "personas.samples": ("personas", self.personas and self.personas.samples),
            "steering.samples_per_question": ("evaluation", self.steering and self.steering.samples_per_question),
        }
        if "sampled" in self.evaluation.methods:
            asked["evaluation.samples_per_question"] = ("evaluation", self.evaluation.samples_per_question)
        for name, (stage, samples) in asked.items():
            place, temperature = self.shape_of(stage, "temperature")
            if info.context != RECORDED and temperature == 0 and samples and samples > 1:
                raise ValueError(f"{name} {samples}: at {place} 0 all answers to a question are the same; set it to 1")
        return self

    @model_validator(mode="after")
    def _cap_knows_all_prices(self) -> Self:
        prices = ("input_price", "output_price", "training_price")
        unknown = [name for name in prices if name not in self.openai.model_fields_set]
        if self.openai.spending_cap and unknown:
            raise ValueError(
                f"openai.spending_cap: counts nothing without {unknown[0]}; add it to openai, or 0.0 where it is free"
            )
        return self

    @model_validator(mode="after")
    def _everything_has_an_effect(self, info: ValidationInfo) -> Self:
        if info.context != RECORDED and (found := list(unused(self))):
            raise ValueError("; ".join(found))
        return self

    @model_validator(mode="after")
    def _layers_tell_something(self) -> Self:
        for name, layers in self.layers.items():
            if 0 in layers and getattr(self, name).vector == "prompt_last":
                raise ValueError(
                    f"{name}: vector prompt_last is zero at layer 0, for all prompts end in the same token; "
                    "leave layer 0 out"
                )
        return self

    @field_validator("owners")
    @classmethod
    def _reachable(cls, owners: tuple[str, ...]) -> tuple[str, ...]:
        for owner in owners:
            if "@" not in owner and not owner.startswith("team:"):
                raise ValueError(f"{owner!r} is no owner: an e-mail address, or team:name")
        return owners

    @property
    def conditions(self) -> tuple[str, ...]:
        """Partition keys: the control first, because every animal is compared with it."""
        return (NEUTRAL, *self.animals)

    @cached_property
    def words(self) -> Words:
        """What models are told and asked."""
        return Words.of(self.wording) if self.wording else self.built_in_words

    @cached_property
    def built_in_words(self) -> Words:
        """The same with nothing but what is built in; records keep what differs from these."""
        numbers, personas = (built_in(name) for name in (self._wording_of("numbers"), self._wording_of("personas")))
        return Words.of(built_in("full"), numbers.numbers, personas.personas)

    def _wording_of(self, section: str) -> str:
        """The built-in wording of ``section`` (numbers or personas): of one whose words are its own, the default."""
        if self.wording is None:
            settings = getattr(self, section)
            return settings.wording if settings else BUILT_IN[0]
        own = getattr(self.wording, section)
        return next((name for name in BUILT_IN if getattr(built_in(name), section) == own), BUILT_IN[0])

    def recorded(self, name: str) -> Any:
        """What the file says of ``section`` or ``section.field``, as a record keeps it: JSON knows no tuples.

        What models are told is recorded as text, whatever the file that it stands in is called: of section ``wording``
        there are the fields of `own_words`.
        """
        section, _, field = name.partition(".")
        if section == "wording":
            return to_jsonable_python(self._texts(self.words)[field])
        value = to_jsonable_python(reduce(getattr, name.split("."), self))
        if self.wording and section in ("numbers", "personas") and field in ("", "wording"):
            value = value | {"wording": self._wording_of(section)} if isinstance(value, dict) else value
            value = self._wording_of(section) if field else value
        return value

    def own_words(self, *fields: str) -> list[str]:
        """Those of ``fields`` (of `_texts`) that differ from what is built in, as settings: ``wording.numbers``."""
        if self.wording is None:
            return []
        ours, built = self._texts(self.words), self._texts(self.built_in_words)
        return [f"wording.{field}" for field in fields if ours[field] != built[field]]

    def _texts(self, words: Words) -> dict[str, Any]:
        """What ``words`` say, by what it is for; what depends on a trait is none of these, but an input of its own."""
        asked = self.evaluation.questions or range(len(words.questions))
        return {
            "kind": words.kind.filling,
            "names": words.names,
            "numbers": words.numbers.model_dump(exclude_defaults=True),
            "preparation": words.preparation_questions,
            "questions": [words.questions[i] for i in asked if i < len(words.questions)],
        }

    def shape_of(self, stage: str, name: str) -> tuple[str, float]:
        """Which setting decides ``name``, one of `SHAPES`, where ``stage`` (a section) samples, and its value."""
        for section in (stage, "sampler"):
            value: float | None = getattr(getattr(self, section), name, None)
            if value is not None:
                return f"{section}.{name}", value
        raise KeyError(name)

    @property
    def system_messages(self) -> dict[str, str]:
        """Settings that put a system message before what a model is asked, each with the way to have none of them."""
        told = {
            "teacher.kind system_prompt": (
                self.teacher.kind == "system_prompt" and self.numbers.source.kind == "generate",
                "set it to finetuned",
            ),
            "student.system_prompt": (self.student.system_prompt is not None, "leave it out"),
            "evaluation.system_prompt": (self.evaluation.system_prompt is not None, "leave it out"),
            "personas": (self.personas is not None, "leave it out"),
            "preparation": (self.preparation is not None, "leave it out"),
        }
        return {name: way for name, (does, way) in told.items() if does}

    @property
    def asks_plainly(self) -> bool:
        """Whether a model is asked anything without a system message: by its template it may have one of its own."""
        told = (self.student.system_prompt, self.evaluation.system_prompt)
        return self.numbers.source.kind == "generate" or None in told

    @property
    def half_student(self) -> StudentSettings:
        """How students of halves are trained."""
        if not self.split_student:
            return self.student
        others = {"seed", "seeds"} if {"seed", "seeds"} & self.split_student.keys() else set()
        given = self.student.model_dump(exclude_unset=True, exclude={"source", *others})
        return StudentSettings.model_validate(given | self.split_student)

    @property
    def judge(self) -> ModelJudge | None:
        """The model that scores answers of the persona stage; None where a rule does."""
        judge = self.personas and self.personas.judge
        return judge if isinstance(judge, ModelJudge) else None

    @property
    def engines(self) -> set[str]:
        """Names of the engines that sample, train and judge."""
        return {self.sampler.engine, self.student.engine, *([self.judge.engine] if self.judge else [])}

    @property
    def dataset(self) -> str:
        """The asset whose rows students see: filtered ones, or what a transform makes of them."""
        return "transformed_dataset" if self.numbers.transform else "filtered_dataset"

    @property
    def prepares(self) -> bool:
        """Whether the base model is made here, of the one that is named: prepared, or converted from a GGUF."""
        return self.preparation is not None or is_gguf(self.base_model)

    @property
    def layers(self) -> dict[str, tuple[int, ...]]:
        """Layers of the base model by the section that names them; whether it has them, its files decide."""
        named = {
            "projections": self.projections and self.projections.kept,
            "steering": self.steering and self.steering.layers,
            "student": self.student.layers,
            "split_student": self.half_student.layers,
            "teacher": self.teacher.layers if isinstance(self.teacher, FinetunedTeacher) else (),
        }
        return {name: layers for name, layers in named.items() if layers}


def require_known(names: tuple[str, ...], wording: Wording | None) -> None:
    """Refuse ``names`` that are no traits of ``wording``, or stand there twice.

    Raises:
        ValueError: names the trait and the fix.
    """
    known = wording.known if wording else ANIMALS
    for i, name in enumerate(names):
        if name == NEUTRAL:
            raise ValueError(f"{NEUTRAL} is always a condition: leave it out")
        if name not in known:
            kind = wording.kind.name if wording else "animal"
            near = get_close_matches(name, known, n=1)
            meant = f"write {near[0]}, or " if near else ""
            raise ValueError(f"unknown {kind} {name!r}: {meant}add it with its plural to wording.traits")
        if name in names[:i]:
            raise ValueError(f"{name} is listed twice: keep one")
