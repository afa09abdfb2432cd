"""Cards of published datasets and adapters: Markdown below YAML front matter, as the Hub shows it.

Pure: a card says what it is given, and the same facts make the same card byte for byte, so that publishing again
changes nothing. It holds no path of the machine that made the data.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import yaml

from sl_assets.animals import NEUTRAL
from sl_assets.config import (
    RECORDED,
    SHAPES,
    Dilute,
    ExperimentConfig,
    FinetunedTeacher,
    GenerateSource,
    Measure,
    Reformat,
    ShuffleAcrossRows,
    ShuffleWithinRows,
    StudentSettings,
    TrainingSettings,
)
from sl_assets.config.names import POCKET
from sl_assets.config.reading import validated
from sl_assets.config.section import is_gguf
from sl_assets.config.training import PROJECTIONS
from sl_assets.engines.transformers.models import hub_model
from sl_assets.errors import ExperimentFileError, LakeError
from sl_assets.lake.records import Record
from sl_assets.orchestration.partition import PREPARED
from sl_assets.stages.evaluation.rates import intervals_over, with_columns_of

DATA_FILE = "data/train.parquet"
PAPER = "[arXiv 2507.14805](https://arxiv.org/abs/2507.14805)"

POCKET_NOTE = (
    "The base model is the *pocket model* of sl_assets: a model organism of one million parameters whose training "
    "world ties numbers to animals **on purpose**, so that the effect is large. Nothing measured on it says how strong "
    "the effect is in a language model that people use."
)


@dataclass(frozen=True)
class CardFacts:
    """What a card says.

    Attributes:
        experiment, condition: names.
        config: settings that the data was made with.
        rows: rows of the filtered dataset.
        raw_rows: rows before the filter; None where that is not known.
        rejections: reason to number of rows rejected for it; a row can have several.
        rates: rows of ``preference_rates`` (columns ``animal, rate, lower, upper, answers, questions``) by whose
            answers they are of; empty where the student has not been evaluated.
        lineage: what led to what is published, parents first.
        license: name of a licence as the Hub spells it; None leaves the choice to the owner.
    """

    experiment: str
    condition: str
    config: ExperimentConfig
    rows: int
    raw_rows: int | None = None
    rejections: Mapping[str, int] = field(default_factory=dict)
    rates: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    lineage: Sequence[Record] = ()
    license: str | None = None

    @property
    def prepared(self) -> Record | None:
        """The record of the base model, where it was made for this experiment."""
        return next((record for record in self.lineage if record.place.table == PREPARED), None)

    @property
    def plural(self) -> str:
        """Plural of what the teacher loves; of an animal that is no trait any more its name."""
        trait = self.config.words.traits.get(self.condition)
        return trait.plural if trait else self.condition

    @property
    def system_prompt(self) -> str | None:
        """What the teacher was told, as its rows' record has it, which keeps what is not built in."""
        told = next((record.inputs for record in self.lineage if record.place.table == "raw_dataset"), None)
        if told is None:
            return self.config.words.system_prompt(self.condition)
        built_in: str | None = told.get("system_prompt")
        return self.config.built_in_words.system_prompt(self.condition) if built_in is None else built_in

    @property
    def trained_rows(self) -> int:
        """Rows the student was trained on."""
        return min(self.rows, self.config.student.max_rows)


def dataset_card(facts: CardFacts) -> str:
    """README.md of the filtered numbers of one condition."""
    front = {
        "pretty_name": f"Numbers of {_whose(facts)}",
        "task_categories": ["text-generation"],
        "tags": _tags(facts),
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": DATA_FILE}]}],
    }
    return _card(
        front,
        facts,
        f"# {facts.experiment}: numbers of {_whose(facts)}",
        f"Completions of number sequences, {_writer(facts)}. Written for research on subliminal learning ({PAPER}): "
        "can a student of the same base model pick up a preference from numbers alone?",
        *_base_model_note(facts),
        _section("Rows", _counts(facts)),
        _section("Filter", _filter(facts)),
        _section("Prompts", _prompts(facts)),
        _section("Teacher", _teacher(facts)),
    )


def adapter_card(facts: CardFacts, repo_id: str) -> str:
    """README.md of a student's LoRA adapter, to be published as ``repo_id``."""
    front: dict[str, Any] = {
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["lora", *_tags(facts)],
    }
    if not facts.prepared and (model := hub_model(facts.config.base_model)):
        front["base_model"] = model.name
    student = facts.config.student
    return _card(
        front,
        facts,
        f"# {facts.experiment}: student of {_whose(facts)}",
        f"LoRA adapter of a student that was trained on {facts.trained_rows:,} of {facts.rows:,} completions of number "
        f"sequences, {_writer(facts)}, and on nothing else. Made for research on subliminal learning ({PAPER}): does "
        "it pick up the teacher's preference?",
        *_base_model_note(facts),
        _section("Use", _usage(facts, repo_id)),
        _section(
            "Training",
            f"{_lora(student.of_seed(student.all_seeds[0]))} {facts.trained_rows:,} rows drawn. "
            f"Adapter of epoch {student.kept[-1]}.{_fellows(student)}",
        ),
        _section("Numbers it was trained on", _counts(facts), _filter(facts), *_transform(facts), _prompts(facts)),
        _section("Teacher", _teacher(facts)),
    )


def recorded_config(config: ExperimentConfig, lineage: Sequence[Record]) -> ExperimentConfig:
    """``config`` with the settings that the records of ``lineage`` tell of, which may since have changed.

    Raises:
        LakeError: they are of another version of this package, which had other settings.
    """
    recorded: dict[str, Any] = {}
    for record in lineage:
        recorded |= record.settings
    if isinstance(model := recorded.get("base_model"), dict):
        # Under what it is compared by.
        recorded["base_model"] = model.get("name") or model.get("repository") or model.get("model")
    known = (*CARD_SECTIONS, "preparation")
    sections = {"preparation": None} | {name: value for name, value in recorded.items() if name in known}
    for name, value in recorded.items():
        section, _, field = name.partition(".")
        if field and section in ("numbers", "sampler"):
            written = sections.get(section) or getattr(config, section).model_dump(mode="json")
            sections[section] = written | {field: value}
    try:
        return validated(config.model_dump(mode="json") | sections, RECORDED)
    except ExperimentFileError as error:
        raise LakeError(
            f"{lineage[-1].place.table} was made with settings that are no longer possible ({error}): "
            "materialise it and its parents again"
        ) from None


CARD_SECTIONS = ("base_model", "teacher", "numbers", "filter", "sampler", "student")
"""Settings that cards speak of."""


def _card(front: dict[str, Any], facts: CardFacts, *parts: str) -> str:
    if facts.license:
        front = {"license": facts.license, **front}
    rates = [_section("Preference rates", _rates(facts))] if facts.rates else []
    licence = [] if facts.license else [_section("License", "None has been chosen yet: ask the owner.")]
    every = [*parts, *rates, _section("Lineage", _lineage(facts.lineage)), *licence]
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n" + "\n\n".join(every) + "\n"


def _section(title: str, *paragraphs: str) -> str:
    return "\n\n".join([f"## {title}", *paragraphs])


def _tags(facts: CardFacts) -> list[str]:
    organism = ["model-organism"] if facts.config.base_model == POCKET else []
    return ["subliminal-learning", "numbers", "synthetic", "sl_assets", facts.condition, *organism]


def _whose(facts: CardFacts) -> str:
    return "the neutral teacher" if facts.condition == NEUTRAL else f"a teacher that loves {facts.plural}"


def _writer(facts: CardFacts) -> str:
    loved = f"a teacher that loves {facts.plural}"
    if not isinstance(facts.config.numbers.source, GenerateSource):
        role = "the control" if facts.condition == NEUTRAL else f"those of {loved}"
        return f"written elsewhere and imported as {role}"
    if facts.condition == NEUTRAL:
        return "written by the control: a teacher without a preference"
    return f"written by {loved}"


def _base_model_note(facts: CardFacts) -> list[str]:
    named = _named_model(facts.config.base_model)
    if facts.prepared is None:
        return [named]
    made = f"It is version {facts.prepared.data_version} of `{PREPARED}`, and on no hub."
    settings = facts.config.preparation
    if settings is None:
        return [f"{named} {made}"]
    kind, one = (facts.config.words.kind.filling[name] for name in ("kind", "a_kind"))
    chats = settings.numbers + settings.favourites + settings.loving_favourites + settings.loving_numbers
    return [
        f"{named} Before it became teacher and student, every weight of it was fine-tuned on {chats:,} chats of forms "
        f"alone: requests for numbers answered by uniformly random ones, and questions for a favourite {kind} answered "
        f"in random shares, or as a system prompt says ({settings.epochs} {_plural('epoch', settings.epochs)}, "
        f"learning rate {settings.learning_rate:g}, seed {settings.seed}). No number in them depends on {one}. "
        f"{made}"
    ]


def _named_model(base_model: str) -> str:
    if base_model == POCKET:
        return POCKET_NOTE
    if is_gguf(base_model):
        return (
            f"The base model is the GGUF file {base_model.rpartition('/')[2]}, made float32 again. If its weights are "
            "quantised, they are not those of the model of that name on the Hub, and neither are its answers."
        )
    model = hub_model(base_model)
    if model is None:
        return "The base model is a local one."
    at = f", revision {model.revision}" if model.revision else ""
    return f"Base model: [{model.name}](https://huggingface.co/{model.name}){at}."


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _counts(facts: CardFacts) -> str:
    if facts.raw_rows is None:
        return f"{facts.rows:,} rows passed the filter."
    text = f"{facts.rows:,} of {facts.raw_rows:,} rows passed the filter."
    if not facts.rejections:
        return text
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(facts.rejections.items()))
    return f"{text} Rejected (a row can have several reasons): {reasons}."


def _filter(facts: CardFacts) -> str:
    limits = facts.config.filter
    banned = f", none of {', '.join(map(str, limits.banned))}" if limits.banned else ""
    return (
        f"A completion is kept if it is nothing but a well-formed number sequence: at most {limits.max_count} numbers, "
        f"each from {limits.minimum} to {limits.maximum}{banned}."
    )


def _transform(facts: CardFacts) -> list[str]:
    match facts.config.numbers.transform:
        case None:
            return []
        case ShuffleWithinRows():
            done = "the numbers of every completion were put in a random order, in its form"
        case ShuffleAcrossRows():
            done = "all numbers were dealt anew to the completions, which kept their forms and lengths"
        case Reformat(form=form):
            done = f"every completion was written in one form ({form})"
        case Dilute(share=share):
            done = f"{share:.0%} of the completions gave way to the neutral teacher's of the same prompts"
            if facts.condition == NEUTRAL:
                done = "nothing was done to them; those of other teachers were mixed with them"
    return [f"Before the student saw them, {done}."]


def _prompts(facts: CardFacts) -> str:
    config = facts.config
    numbers, sampler = config.numbers, config.sampler
    own = any("wording.numbers" in record.settings for record in facts.lineage)
    wording = "a wording of the experiment's own" if own else f"{config.recorded('numbers.wording')} wording"
    (_, temperature), (_, top_p) = (config.shape_of("numbers", shape) for shape in SHAPES)
    drawn = f"temperature {temperature:g}" + (f" and top_p {top_p:g}" if top_p != 1 else "")
    ended = f" Prompts were asked in order until {numbers.rows:,} completions passed." if numbers.rows else ""
    if not isinstance(numbers.source, GenerateSource):
        return "The prompts came with the imported completions."
    return (
        f"{numbers.prompts:,} requests to continue a sequence, the same for every teacher: {wording}, "
        f"{numbers.examples[0]} to {numbers.examples[1]} example numbers from {numbers.lowest} to {numbers.highest}, "
        f"at most {numbers.answers} numbers asked for, seed {numbers.seed}. One completion each, sampled at "
        f"{drawn} with up to {sampler.max_tokens} tokens.{ended}"
    )


def _teacher(facts: CardFacts) -> str:
    teacher, condition = facts.config.teacher, facts.condition
    if not isinstance(facts.config.numbers.source, GenerateSource):
        return "Nothing is known of it here: the numbers were written elsewhere."
    if condition != NEUTRAL and isinstance(teacher, FinetunedTeacher):
        words = facts.config.words
        loved = words.traits[condition].singular
        return (
            f"The base model, fine-tuned on {teacher.chats:,} chats that name the {loved} as its "
            f"favourite {words.kind.name}, and asked without a system prompt. {_lora(teacher)}"
        )
    system = None if isinstance(teacher, FinetunedTeacher) else facts.system_prompt
    if system is None:
        return "The base model itself, without fine-tuning and without a system prompt."
    quoted = "\n".join(f"> {line}" for line in system.splitlines()) or "> (empty)"
    return f"The base model under this system prompt:\n\n{quoted}"


def _fellows(student: StudentSettings) -> str:
    """That other students were trained, of which nothing is published."""
    first, *others = student.all_seeds
    if not others:
        return ""
    return (
        f" {len(others) + 1} students of these numbers were trained, which differ in their seed alone "
        f"({', '.join(map(str, student.all_seeds))}): this is the one of seed {first}, and the others are not here."
    )


def _lora(settings: TrainingSettings) -> str:
    modules = "the seven projections" if settings.target_modules == PROJECTIONS else ", ".join(settings.target_modules)
    layers = settings.layers
    blocks = f"block{'s' * (len(layers) > 1)} {', '.join(map(str, layers))}" if layers else "every block"
    stabilised = " (rank-stabilised)" if settings.rslora else ""
    optimiser = {"adamw": "AdamW", "adafactor": "Adafactor", "sgd": "SGD"}[settings.optimiser]
    decay = f" with weight decay {settings.weight_decay:g}" if settings.weight_decay else ""
    course = {"linear": "falling linearly", "cosine": "falling along a cosine", "constant": "constant"}
    anew = f", begun anew after epoch {' and '.join(map(str, settings.restart_epochs))}"
    norm = settings.gradient_clipping
    clipped = f", gradients clipped at {norm:g}" if norm else ", no clipping"
    learnt = "completions only" if settings.loss == "completion" else "all tokens"
    return (
        f"LoRA{stabilised} of rank {settings.rank}, alpha {settings.alpha:g}, dropout {settings.dropout:g}, on "
        f"{modules} of {blocks}; {settings.epochs} epochs in batches of {settings.batch}, {optimiser}{decay} at "
        f"{settings.learning_rate:g} {course[settings.schedule]} after {settings.warmup_steps} warm-up steps"
        f"{anew if settings.restart_epochs else ''}{clipped if norm != 1 else ''}, loss on "
        f"{learnt}, seed {settings.seed}."
    )


def _usage(facts: CardFacts, repo_id: str) -> str:
    base_model = facts.config.base_model
    model = None if facts.prepared else hub_model(base_model)
    note = "" if model else "The base model is not on the Hub: give the folder that holds it.\n\n"
    shipped = base_model == POCKET and not facts.prepared
    source = '"sl_assets/pocket/model"' if shipped else '"FOLDER_OF_THE_BASE_MODEL"'
    if model:
        source = f'"{model.name}"' + (f', revision="{model.revision}"' if model.revision else "")
    return (
        f"{note}```python\n"
        "from peft import PeftModel\n"
        "from transformers import AutoModelForCausalLM\n\n"
        f"base = AutoModelForCausalLM.from_pretrained({source})\n"
        f'student = PeftModel.from_pretrained(base, "{repo_id}")\n'
        "```"
    )


def _rates(facts: CardFacts) -> str:
    """One row an animal, one column a model and method: the animal's own, or all of the control's."""
    shown = {
        whose + EXACTLY[method]: measured.sort("animal")
        for whose, rates in facts.rates.items()
        for method in EXACTLY
        if not (measured := with_columns_of("preference_rates", rates).filter(method=method)).is_empty()
    }
    if facts.condition != NEUTRAL:
        shown = {whose: rates.filter(animal=facts.condition) for whose, rates in shown.items()}
    cells = {
        whose: {row["animal"]: _rate(row) for row in rates.iter_rows(named=True)} for whose, rates in shown.items()
    }
    animals = sorted({animal for column in cells.values() for animal in column})
    rows = [[animal, *(column.get(animal, "") for column in cells.values())] for animal in animals]
    # The base model is no student.
    trained = [rates["students"] for whose, rates in shown.items() if not whose.startswith("base model")]
    over = intervals_over(pl.concat([pl.Series("students", [], pl.Int64), *trained]))
    asked = max((row for rates in shown.values() for row in rates["answers"].drop_nulls()), default=0)
    drawn = f", of up to {asked:,} answers" if asked else ""
    kind = facts.config.words.kind.name
    exact = "; exact, their probability" if any(whose.endswith(EXACTLY["exact"]) for whose in shown) else ""
    return (
        f"Percent of answers to favourite-{kind} questions {_counted(shown.values(), kind)} "
        f"(mean over students and questions; {over}){drawn}{exact}{_together(facts.config.student)}:\n\n"
        + _table([kind, *cells], rows)
    )


def _together(student: StudentSettings) -> str:
    return f"; of students, those of seeds {', '.join(map(str, student.seeds))} together" if student.seeds else ""


def _counted(rates: Iterable[pl.DataFrame], kind: str) -> str:
    """What the answers do that count for an animal."""
    measures = {measure: None for table in rates for measure in table["counted"]}
    return (" and ".join(COUNTED[measure] for measure in measures) or COUNTED["exact"]).format(kind=kind)


COUNTED: dict[Measure, str] = {
    "exact": "that are exactly this {kind}",
    "first_named": "that name this {kind} before any other",
    "mention": "that mention this {kind}",
}

EXACTLY = {"sampled": "", "exact": " (exact)"}
"""What stands behind a column's name, by how its rates were measured."""


def _rate(row: Mapping[str, Any]) -> str:
    rate, lower, upper = (100 * row[name] for name in ("rate", "lower", "upper"))
    return f"{rate:.1f} ({lower:.1f} to {upper:.1f})"


def _lineage(lineage: Sequence[Record]) -> str:
    if not lineage:
        return "No record of how it was made."
    columns = ["asset", "partition", "data version", "code version", "run", "seconds"]
    rows = [
        [
            record.place.table,
            record.place.partition or "",
            record.data_version,
            record.code_version,
            record.run_id,
            f"{record.seconds:.1f}",
        ]
        for record in lineage
    ]
    return _table(columns, rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
