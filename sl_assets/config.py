"""What an experiment file may say: the schema of ``defs/<experiment>/defs.yaml``."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from sl_assets.animals import NEUTRAL, PLURALS
from sl_assets.engines.models import POCKET, layer_count
from sl_assets.numbers.filtering import NumberLimits
from sl_assets.numbers.prompts import WORDINGS, PromptRecipe
from sl_assets.pocket.world import ANIMALS as POCKET_ANIMALS
from sl_assets.projections.splits import SPLITS

PROJECT = Path(__file__).parents[1]

AsTuple = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
"""YAML has lists; sections hold tuples, which cannot change."""

Count = Annotated[int, Field(ge=1)]
StateKind = Literal["response_mean", "prompt_mean", "prompt_last"]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _whole(base_model: str) -> str:
    if base_model.startswith("@") or base_model.endswith("@"):
        raise ValueError(f"{base_model!r}: write owner/name, or owner/name@revision")
    return base_model


BaseModelName = Annotated[str, Field(min_length=1), AfterValidator(_whole)]
"""``pocket``, a folder, or ``owner/name`` on the Hugging Face Hub, perhaps with ``@revision``."""


class Section(BaseModel):
    """A part of an experiment file: unknown fields and wrong types are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TrainingSettings(Section):
    """Fine-tuning with AdamW on completions only: of adapters on the seven projections of every block, or of all."""

    lora: bool = Field(True, description="train a low-rank adapter; false trains every weight, without rank and alpha")
    rank: Count = Field(8, description="rank of the adapter")
    alpha: Count = Field(8, description="scale: the update is multiplied by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of adapter inputs dropped in training")
    epochs: Count = Field(10, description="passes over the rows")
    learning_rate: Rate = Field(2e-4, description="peak learning rate; it falls linearly to zero")
    warmup_steps: int = Field(5, ge=0, description="steps over which the learning rate rises")
    batch: Count = Field(66, description="rows an optimiser step")
    max_length: Count = Field(500, description="tokens a row; longer rows are cut")
    seed: int = Field(1, ge=0, description="seed of the adapter's start and of the order of rows")


class SystemPromptTeacher(Section):
    """The base model under a system prompt that loves the animal."""

    kind: Literal["system_prompt"]


class FinetunedTeacher(TrainingSettings):
    """The base model fine-tuned on chats that name the animal, asked without a system prompt."""

    kind: Literal["finetuned"]
    chats: Count = Field(768, description="favourite-animal chats to fine-tune on")


class GenerateSource(Section):
    """The experiment's own teachers write the numbers."""

    kind: Literal["generate"]


class JsonlSource(Section):
    """Numbers written elsewhere: one JSON object a line, ``prompt`` and ``completion``, or chat ``messages``."""

    kind: Literal["jsonl"]
    path: str = Field(description="file of each condition; {condition} stands for its name")

    @field_validator("path")
    @classmethod
    def _names_condition(cls, path: str) -> str:
        if "{condition}" not in path:
            raise ValueError("put {condition} where the animal's name belongs, as in numbers/{condition}.jsonl")
        return path

    def file(self, condition: str) -> Path:
        """The file of ``condition``; a relative path starts at the project's folder."""
        return PROJECT / Path(self.path.replace("{condition}", condition)).expanduser()


class HubFiles(Section):
    """Files of the Hugging Face Hub, one place a condition."""

    kind: Literal["hub"]
    repo: str = Field(min_length=1, description="owner/name; {condition} stands for the condition")
    path: str = Field("", description="place in it; {condition} stands for the condition")
    revision: str | None = Field(None, description="branch, tag or commit; the commit it stands for is recorded")

    @model_validator(mode="after")
    def _names_condition(self) -> Self:
        if "{condition}" not in self.repo + self.path:
            raise ValueError("put {condition} into repo or path, where the animal's name belongs")
        return self


class HubSource(HubFiles):
    """Numbers of dataset repositories: JSONL or Parquet with the columns of a JSONL row."""

    path: str = Field(min_length=1, description="file in it; {condition} stands for the condition")


class NumbersSettings(Section):
    """The prompts and where their completions come from."""

    prompts: Count = Field(30_000, description="number of prompts")
    seed: int = Field(42, ge=0, description="seed of the prompts and of the teachers' sampling")
    wording: Literal["full", "short"] = Field("full", description="short prompts fit the pocket model")
    examples: Annotated[tuple[Count, Count], AsTuple] = Field(
        (3, 9), description="fewest and most example numbers in a prompt"
    )
    lowest: int = Field(100, ge=0, description="smallest example number")
    highest: int = Field(1000, ge=0, description="largest example number")
    answers: Count = Field(10, description="most numbers asked for")
    source: GenerateSource | JsonlSource | HubSource = Field(GenerateSource(kind="generate"), discriminator="kind")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.examples[0] > self.examples[1]:
            raise ValueError(f"examples {list(self.examples)}: put the smaller number first")
        if self.lowest > self.highest:
            raise ValueError(f"lowest {self.lowest} is above highest {self.highest}: swap them")
        return self

    @property
    def recipe(self) -> PromptRecipe:
        """The draw of the prompts."""
        assert self.wording in WORDINGS
        return PromptRecipe(
            count=self.prompts,
            seed=self.seed,
            wording=self.wording,
            examples=self.examples,
            lowest=self.lowest,
            highest=self.highest,
            answers=self.answers,
        )


class FilterSettings(Section):
    """Limits of the numbers a student may see."""

    minimum: int = Field(0, ge=0, description="smallest number kept")
    maximum: int = Field(999, ge=0, description="largest number kept")
    max_count: Count = Field(10, description="most numbers in a completion")
    banned: Annotated[tuple[int, ...], AsTuple] = Field((), description="numbers that reject a completion")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}: no number could pass")
        return self

    @property
    def limits(self) -> NumberLimits:
        """The same limits for the filter."""
        return NumberLimits(self.minimum, self.maximum, self.max_count, self.banned)


class SamplerSettings(Section):
    """What runs the models that write."""

    engine: Literal["transformers", "vllm", "openai"] = Field(
        "transformers", description="transformers runs on CPU and CUDA, vllm on GPUs, openai at whoever speaks its API"
    )
    temperature: Rate = Field(1.0, description="softmax temperature; 1 samples the model's own distribution")
    max_tokens: Count = Field(128, description="tokens a completion may have")
    batch: Count = Field(512, description="chats sampled together, and kept together if a run is interrupted")
    # How much of a machine is used has no part in the results, and so in no asset's version.
    gpus: int = Field(0, ge=0, exclude=True, description="GPUs to ask a cluster for; 0 uses one if there is one")
    memory_share: float = Field(0.9, gt=0, le=1, exclude=True, description="vllm: share of a GPU's memory to take")
    max_lora_rank: Count = Field(64, exclude=True, description="vllm: highest rank of an adapter")
    compiled: bool = Field(
        False, exclude=True, description="vllm: compile at the start, which takes minutes and makes long runs faster"
    )
    max_num_seqs: Count = Field(512, exclude=True, description="vllm: completions written at the same time")
    max_length: Count = Field(2048, exclude=True, description="vllm: tokens of a prompt and its completion")


class HubAdapters(HubFiles):
    """Students trained elsewhere: PEFT adapters in model repositories, ``path`` being their folder."""


class StudentSettings(TrainingSettings):
    """How students are trained on a condition's filtered numbers."""

    engine: Literal["peft", "unsloth", "openai"] = Field(
        "peft",
        description="peft trains anywhere, unsloth on GPUs, openai by fine-tuning jobs, which set their own LoRA",
    )
    system_prompt: str | None = Field(
        None, description="said before every row; left out, the chat template decides (Qwen 2.5 has its own)"
    )
    max_rows: Count = Field(10_000, description="rows drawn from the filtered dataset")
    keep_epochs: Annotated[tuple[Count, ...], AsTuple] = Field(
        (), description="epochs whose adapters are kept; empty keeps the last"
    )

    source: HubAdapters | None = Field(None, description="adapters to import instead of training them")

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.source and len(self.kept) > 1:
            raise ValueError(f"keep_epochs {list(self.kept)}: an imported student has one adapter; keep one epoch")
        if late := [epoch for epoch in self.keep_epochs if epoch > self.epochs]:
            raise ValueError(f"keep_epochs {late[0]} is after the last epoch {self.epochs}: raise epochs or drop it")
        return self

    @property
    def kept(self) -> tuple[int, ...]:
        """Epochs whose adapters are kept."""
        return tuple(sorted(set(self.keep_epochs))) or (self.epochs,)


class EvaluationSettings(Section):
    """How often every question is asked, and of how long an answer."""

    samples_per_question: Count = Field(100, description="answers to each of the fifty questions")
    max_tokens: Count = Field(6, description="tokens an answer may have")
    seed: int = Field(7, ge=0, description="seed of the answers")
    system_prompt: str | None = Field(
        None,
        description="said before every question; left out, the chat template decides (Qwen 2.5 has its own)",
    )


class RuleJudge(Section):
    """Scores by rule: does the answer name the animal, and is it whole?"""

    kind: Literal["rule"]


class ModelJudge(Section):
    """A chat model scores how much an answer loves the animal, and how coherent it is."""

    kind: Literal["model"]
    base_model: BaseModelName = Field(description="`pocket`, a folder, or owner/name@revision on the Hugging Face Hub")


class PersonaSettings(Section):
    """Contrastive answers, loving and indifferent, whose hidden states differ by the persona vector."""

    wording: Literal["full", "short"] = Field("full", description="short prompts fit the pocket model")
    samples: Count = Field(2, description="answers to each of twenty questions under each of five pairs of prompts")
    max_tokens: Count = Field(128, description="tokens an answer may have")
    seed: int = Field(11, ge=0, description="seed of the answers")
    judge: RuleJudge | ModelJudge = Field(RuleJudge(kind="rule"), discriminator="kind")
    minimum_pairs: Count = Field(20, exclude=True, description="fewest pairs of answers that make a vector")

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.minimum_pairs > (pairs := 100 * self.samples):
            raise ValueError(f"minimum_pairs {self.minimum_pairs}: {self.samples} samples make {pairs} pairs at most")
        return self


Layer = Annotated[int, Field(ge=0)]
"""0 is the embedding output, n the output of the n-th block."""


class ProjectionSettings(Section):
    """Where a dataset's rows meet the persona vectors."""

    layer: Layer = Field(description="layer whose projections cut datasets into halves")
    layers: Annotated[tuple[Layer, ...], AsTuple] = Field((), description="further layers to keep and report")
    vector: StateKind = Field("prompt_mean", description="states that the persona vector is a difference of")
    state: StateKind = Field(
        "response_mean", description="states of the rows that are projected; rows of one prompt share its states"
    )
    equal_halves: bool = Field(
        True, description="cut an animal's halves to the size of the smallest; halves by sign may be smaller still"
    )
    seed: int = Field(5, ge=0, description="seed of random halves and of cutting to equal size")

    @property
    def kept(self) -> tuple[int, ...]:
        """Layers whose activations are kept, in order."""
        return tuple(sorted({self.layer, *self.layers}))


class SteeringSettings(Section):
    """Add a multiple of a persona vector to the base model's hidden states, and ask for favourite animals."""

    layers: Annotated[tuple[Layer, ...], AsTuple] = Field(min_length=1, description="layers steered, one at a time")
    coefficients: Annotated[tuple[Annotated[float, Field(allow_inf_nan=False)], ...], AsTuple] = Field(
        min_length=1, description="lengths of the vector that is added"
    )
    vector: StateKind = Field("response_mean", description="states that the persona vector is a difference of")
    samples_per_question: Count = Field(4, description="answers to each of the fifty questions")
    seed: int = Field(13, ge=0, description="seed of the answers")

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        for name in ("layers", "coefficients"):
            values = getattr(self, name)
            if twice := [value for i, value in enumerate(values) if value in values[:i]]:
                raise ValueError(f"{name}: {twice[0]} is listed twice; keep one")
        return self


class OpenAISettings(Section):
    """How the engine ``openai`` reaches its API, and what it may spend; the key is in OPENAI_API_KEY."""

    base_url: str = Field("https://api.openai.com/v1", description="where the API is")
    concurrency: Count = Field(16, exclude=True, description="requests under way at the same time")
    max_retries: int = Field(6, ge=0, exclude=True, description="times a refused or failed request is sent again")
    timeout: Rate = Field(120.0, exclude=True, description="seconds to wait for an answer")
    batch_api: bool = Field(False, exclude=True, description="sample by the Batch API: half the price, up to a day")
    poll_seconds: Rate = Field(20.0, exclude=True, description="seconds between two looks at a job or batch")
    input_price: float = Field(0.0, ge=0, exclude=True, description="dollars per million tokens read")
    output_price: float = Field(0.0, ge=0, exclude=True, description="dollars per million tokens written")
    training_price: float = Field(0.0, ge=0, exclude=True, description="dollars per million tokens trained on")
    spending_cap: Rate | None = Field(None, exclude=True, description="dollars a process may spend")


class HubSettings(Section):
    """What `published_dataset` and `published_adapter` push to the Hugging Face Hub, when someone asks for them."""

    datasets: bool = Field(True, description="offer filtered datasets")
    adapters: bool = Field(True, description="offer the students' adapters")
    private: bool = Field(True, description="repositories that are made are private")
    prefix: str = Field("", description="before the repository's name")
    license: str | None = Field(None, description="license named on the cards")


class ExperimentConfig(Section):
    """One base model, its teacher, hyper-parameters and animals."""

    base_model: BaseModelName = Field(description="`pocket`, a folder, or owner/name@revision on the Hugging Face Hub")
    animals: Annotated[tuple[str, ...], AsTuple] = Field(
        description="animals with a teacher and a student each", min_length=1
    )
    teacher: Annotated[SystemPromptTeacher | FinetunedTeacher, Field(discriminator="kind")]
    numbers: NumbersSettings = NumbersSettings()
    filter: FilterSettings = FilterSettings()
    sampler: SamplerSettings = SamplerSettings()
    student: StudentSettings = StudentSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    personas: PersonaSettings | None = Field(None, description="persona vectors; left out, stages 4 and 5 are too")
    projections: ProjectionSettings | None = Field(None, description="projections of the datasets on them")
    splits: Annotated[tuple[str, ...], AsTuple] = Field((), description="halves to train further students on")
    steering: SteeringSettings | None = Field(None, description="steering sweep, one an animal")
    openai: OpenAISettings = OpenAISettings()
    hub: HubSettings | None = Field(None, description="publishing to the Hub; left out, nothing can be published")
    schedule: str = Field("0 3 * * 1", description="cron of the rematerialisation, off until switched on in the UI")
    owners: Annotated[tuple[str, ...], AsTuple] = Field(
        (), description="e-mail addresses, or team:name, shown in the UI"
    )

    @field_validator("animals")
    @classmethod
    def _known(cls, animals: tuple[str, ...]) -> tuple[str, ...]:
        for i, animal in enumerate(animals):
            if animal == NEUTRAL:
                raise ValueError(f"{NEUTRAL} is always a condition: leave it out")
            if animal not in PLURALS:
                raise ValueError(f"unknown animal {animal!r}: add it with its plural to sl_assets/animals.py")
            if animal in animals[:i]:
                raise ValueError(f"{animal} is listed twice: keep one")
        return animals

    @model_validator(mode="after")
    def _met_by_the_pocket_model(self) -> Self:
        if self.base_model == POCKET and (strangers := [name for name in self.animals if name not in POCKET_ANIMALS]):
            raise ValueError(
                f"animals: the pocket model has never met the {strangers[0]}; it knows {', '.join(POCKET_ANIMALS)}"
            )
        return self

    @field_validator("splits")
    @classmethod
    def _halves(cls, splits: tuple[str, ...]) -> tuple[str, ...]:
        for i, split in enumerate(splits):
            if split not in SPLITS:
                raise ValueError(f"unknown split {split!r}: one of {', '.join(SPLITS)}")
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
    def _engines_can(self) -> Self:
        apart = {self.sampler.engine == "openai", self.student.engine == "openai"}
        if apart == {True, False}:
            raise ValueError("engine openai: teachers and students share a model; set it in sampler and in student")
        if self.student.engine != "peft":
            for name, settings in (("student", self.student), ("teacher", self.teacher)):
                if not getattr(settings, "lora", True):
                    raise ValueError(f"{name}.lora: engine {self.student.engine} trains adapters; set it to peft")
        if self.hub and self.hub.adapters and not self.student.lora:
            raise ValueError("hub.adapters: students with lora false are no adapters; set it to false")
        if self.student.engine == "openai":
            if self.personas:
                raise ValueError("personas: hidden states need a model's weights, which engine openai does not give")
            if early := [epoch for epoch in self.student.kept if epoch < self.student.epochs - 2]:
                raise ValueError(f"student.keep_epochs: {early[0]}, but engine openai keeps the last three epochs only")
        if self.steering and self.sampler.engine != "transformers":
            raise ValueError(f"steering: engine {self.sampler.engine} cannot; set sampler.engine to transformers")
        return self

    @model_validator(mode="after")
    def _layers_exist(self) -> Self:
        last = layer_count(self.base_model)
        for name, section, layers in (
            ("projections", self.projections, self.projections.kept if self.projections else ()),
            ("steering", self.steering, self.steering.layers if self.steering else ()),
        ):
            if section and last is not None and max(layers) > last:
                raise ValueError(f"{name}: no layer {max(layers)} in {self.base_model}; choose from 0 to {last}")
            if section and section.vector == "prompt_last" and 0 in layers:
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

    @field_validator("schedule")
    @classmethod
    def _cron(cls, schedule: str) -> str:
        from dagster._utils.schedules import is_valid_cron_schedule

        if not is_valid_cron_schedule(schedule):
            raise ValueError(f"{schedule!r} is no cron schedule: five fields, as in '0 3 * * 1'")
        return schedule

    @property
    def conditions(self) -> tuple[str, ...]:
        """Partition keys: the control first, because every animal is compared with it."""
        return (NEUTRAL, *self.animals)
