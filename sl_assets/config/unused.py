"""Which settings have no effect beside which others: to write one down would mean nothing, and nobody would know.

What a file leaves out has its default and is never meant here. A field that no row names always counts; `seed`, which
an engine of somebody else may not keep to, is passed on by every engine.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel

from sl_assets.config.hub import HubSettings
from sl_assets.config.names import BY_SIGN, source_and_half
from sl_assets.config.numbers import FinetunedTeacher, NumbersSettings
from sl_assets.config.section import Section
from sl_assets.config.training import TrainingSettings
from sl_assets.config.wording import COUNT, EXAMPLES

if TYPE_CHECKING:
    from sl_assets.config.experiment import ExperimentConfig


class Unused(NamedTuple):
    """Fields that have no effect.

    Attributes:
        section: where they stand.
        fields: their names; none means the section itself.
        when: in which experiments.
        why: for the user.
    """

    section: str
    fields: tuple[str, ...]
    when: Callable[["ExperimentConfig"], bool]
    why: str


def _all_of(section: type[BaseModel], *but: str) -> tuple[str, ...]:
    return tuple(name for name in section.model_fields if name not in but)


ADAPTER = ("rank", "alpha", "dropout", "target_modules", "layers", "rslora")
OPTIMISER = ("optimiser", "weight_decay", "schedule", "restart_epochs", "gradient_clipping")
CHOSEN_BY_THE_API = ("lora", *ADAPTER, "learning_rate", "warmup_steps", "batch", "max_length", "loss", *OPTIMISER)
SAMPLED = ("temperature", "top_p", "rows")
"""Of the numbers, how they are sampled."""
VLLM = ("memory_share", "max_lora_rank", "compiled", "max_num_seqs", "max_length")


def _imported(config: "ExperimentConfig") -> bool:
    """Whether the numbers were written elsewhere."""
    return config.numbers.source.kind != "generate"


def _trains_none(config: "ExperimentConfig") -> bool:
    """Whether students are trained elsewhere, those of halves included."""
    return bool(config.student.source and not config.splits)


def _draws_none(config: "ExperimentConfig") -> bool:
    """Whether no student is asked for an answer, because all probabilities are computed."""
    return config.evaluation.methods == ("exact",)


def _asks_nobody(config: "ExperimentConfig") -> bool:
    """Whether no teacher is asked for an answer either."""
    return _draws_none(config) and _imported(config)


def _sampling(config: "ExperimentConfig") -> list[str]:
    """The sections of stages that sample."""
    samples = {
        "numbers": not _imported(config),
        "evaluation": not _asks_nobody(config) or bool(config.steering),
        "personas": bool(config.personas),
    }
    return [stage for stage, does in samples.items() if does]


def _all_have_their_own(config: "ExperimentConfig", name: str) -> bool:
    stages = _sampling(config)
    return bool(stages) and all(
        getattr(getattr(config, stage), name) is not None or (name == "top_p" and _is_greedy(config, stage))
        for stage in stages
    )


def _is_greedy(config: "ExperimentConfig", stage: str) -> bool:
    return config.shape_of(stage, "temperature")[1] == 0


def _has_adapters(config: "ExperimentConfig") -> bool:
    teacher = isinstance(config.teacher, FinetunedTeacher) and config.teacher.lora and not _imported(config)
    return config.student.lora or bool(config.student.source) or teacher


def _is_flat(settings: Section) -> bool:
    """Whether the learning rate is the same in every step."""
    return isinstance(settings, TrainingSettings) and settings.schedule == "constant" and not settings.warmup_steps


FLAT = "a constant schedule without warm-up has nothing to begin anew"

UNUSED = (
    Unused(
        "chat_template",
        (),
        lambda config: config.sampler.engine == "openai",
        "engine openai renders chats itself",
    ),
    Unused(
        "sampler",
        VLLM,
        lambda config: "vllm" not in config.engines,
        "a setting of engine vllm, which sampler.engine does not name",
    ),
    Unused(
        "sampler",
        ("gpus", "gpu_kind"),
        lambda config: config.sampler.engine == "openai",
        "engine openai needs no GPU",
    ),
    Unused(
        "schedule_limits",
        ("gpu_minutes",),
        lambda config: config.sampler.engine == "openai",
        "engine openai needs no GPU",
    ),
    Unused(
        "sampler", ("gpu_kind",), lambda config: not config.sampler.gpus, "with gpus: 0 a cluster is asked for none"
    ),
    Unused(
        "sampler",
        ("max_lora_rank",),
        lambda config: not _has_adapters(config),
        "nothing is an adapter where lora is false",
    ),
    Unused("sampler", ("max_tokens",), _imported, "the numbers are imported, and answers have a limit of their own"),
    Unused(
        "teacher",
        _all_of(FinetunedTeacher, "kind"),
        _imported,
        "the numbers are imported, so no teacher is trained",
    ),
    Unused("teacher", CHOSEN_BY_THE_API, lambda config: config.student.engine == "openai", "engine openai chooses it"),
    Unused(
        "teacher",
        ADAPTER,
        lambda config: not getattr(config.teacher, "lora", True),
        "there is no adapter where lora is false",
    ),
    Unused("teacher", ("restart_epochs",), lambda config: _is_flat(config.teacher), FLAT),
    Unused("numbers", ("prompts", "seed", *SAMPLED), _imported, "the numbers are imported, with their prompts"),
    Unused(
        "numbers",
        _all_of(NumbersSettings, "source", "prompts", "seed", "transform", *SAMPLED),
        # A preparation asks in the same words.
        lambda config: _imported(config) and config.preparation is None,
        "the numbers are imported, with their prompts",
    ),
    *(
        Unused(section, ("wording",), lambda config: config.wording is not None, "the section wording says it all")
        for section in ("numbers", "personas")
    ),
    *(
        Unused(
            "numbers",
            fields,
            lambda config, name=name: not config.words.numbers.asks_for(name),  # type: ignore[misc]
            f"no prompt of the wording has {{{name}}}",
        )
        for name, fields in ((EXAMPLES, ("examples", "lowest", "highest")), (COUNT, ("answers",)))
    ),
    Unused(
        "checks",
        ("shared_prompts",),
        lambda config: config.numbers.source.kind == "experiment",
        "the raw datasets are another experiment's, which checks them",
    ),
    Unused(
        "numbers",
        ("transform",),
        lambda config: _trains_none(config) and config.projections is None,
        "students are imported, so nothing is made of the rows",
    ),
    Unused("checks", ("independence",), lambda config: config.preparation is None, "nothing is prepared"),
    Unused("student", CHOSEN_BY_THE_API, lambda config: config.student.engine == "openai", "engine openai chooses it"),
    Unused(
        "student",
        ADAPTER,
        lambda config: not config.student.lora,
        "there is no adapter where lora is false",
    ),
    Unused("student", ("restart_epochs",), lambda config: _is_flat(config.student), FLAT),
    Unused(
        "student",
        ("seed",),
        lambda config: bool(config.student.seeds),
        "student.seeds names every seed, and may name one alone",
    ),
    Unused(
        "student",
        (*_all_of(TrainingSettings, "epochs"), "max_rows"),
        _trains_none,
        "students are imported, so none is trained",
    ),
    Unused(
        "student",
        ("engine",),
        # Both sections have to name an API.
        lambda config: (
            _trains_none(config)
            and config.student.engine != "openai"
            and (_imported(config) or not isinstance(config.teacher, FinetunedTeacher))
        ),
        "students are imported and teachers are not fine-tuned, so nothing is trained",
    ),
    Unused(
        "evaluation",
        ("samples_per_question",),
        _draws_none,
        "exact answers are not drawn, and teachers have a number of their own",
    ),
    Unused("evaluation", ("seed",), _asks_nobody, "exact answers are not drawn, and there is no teacher to ask"),
    Unused(
        "evaluation",
        ("max_tokens", "temperature", "top_p"),
        lambda config: _asks_nobody(config) and not config.steering,
        "exact answers are not drawn, and there is no teacher to ask",
    ),
    Unused(
        "sampler",
        ("temperature", "top_p", "batch"),
        lambda config: not _sampling(config),
        "the numbers are imported and exact answers are not drawn, so nothing is sampled",
    ),
    *(
        Unused(
            "sampler",
            (name,),
            lambda config, name=name: _all_have_their_own(config, name),  # type: ignore[misc]
            "every stage that samples has one of its own, or takes the likeliest token",
        )
        for name in ("temperature", "top_p")
    ),
    *(
        Unused(
            stage,
            ("top_p",),
            lambda config, stage=stage: _is_greedy(config, stage),  # type: ignore[misc]
            "at temperature 0 the likeliest token is taken",
        )
        for stage in ("numbers", "evaluation", "personas")
    ),
    Unused("checks", ("cut_answers",), _draws_none, "exact answers are not cut"),
    Unused("checks", ("uncounted_answers",), _draws_none, "exact answers are bare names"),
    Unused(
        "checks",
        ("uncounted_answers",),
        lambda config: config.evaluation.count != "exact",
        "evaluation.count counts more than bare names",
    ),
    Unused(
        "personas",
        ("threshold",),
        lambda config: bool(config.personas) and config.personas.judge.kind == "rule",  # type: ignore[union-attr]
        "the rule scores 0 or 100",
    ),
    Unused("split_student", (), lambda config: not config.splits, "there are no splits to train students on"),
    Unused(
        "projections",
        ("equal_halves",),
        lambda config: not config.splits,
        "there are no splits to cut",
    ),
    Unused(
        "projections",
        ("strata",),
        lambda config: all(source_and_half(split)[1] in BY_SIGN for split in config.splits),
        "there are no splits to cut by rank or at random",
    ),
    Unused(
        "projections",
        ("seed",),
        lambda config: not any(config.projections.equal_halves or "random" in split for split in config.splits),  # type: ignore[union-attr]
        "there are no splits that are random or cut to equal size",
    ),
    Unused(
        "openai",
        (),
        lambda config: "openai" not in config.engines,
        "the settings of engine openai, which neither sampler.engine nor student.engine names, nor a judge",
    ),
    Unused("openai", ("concurrency",), lambda config: config.openai.batch_api, "a batch is one request"),
    Unused(
        "hub",
        _all_of(HubSettings, "datasets", "adapters"),
        lambda config: bool(config.hub) and not (config.hub.datasets or config.hub.adapters),  # type: ignore[union-attr]
        "neither datasets nor adapters are offered",
    ),
)


def unused(config: "ExperimentConfig") -> Iterator[str]:
    """A line for each field that the file of ``config`` sets and that has no effect: its name, and why."""
    for name, why in unused_settings(config):
        yield f"{name}: has no effect, for {why}: leave it out"


def unused_settings(config: "ExperimentConfig") -> Iterator[tuple[str, str]]:
    """Fields, or whole sections, that the file of ``config`` sets and that have no effect, each with why."""
    for section, fields, when, why in UNUSED:
        if not fields:
            found = [section] if section in config.model_fields_set else []
        else:
            given = getattr(config, section)
            found = [f"{section}.{name}" for name in fields if given and name in given.model_fields_set]
        # The others may ask for what is not there.
        if found and when(config):
            yield from ((name, why) for name in found)
