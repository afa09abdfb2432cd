"""What every view of the result store is about, and what each of its columns means: comments in the database."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import polars as pl

from sl_assets.lake.tables import COMPARISON, LINEAGE, SPENDING, TABLES

Columns = Mapping[str, tuple[pl.DataType, str]]
"""As a `Table` has them: type and meaning by name."""

COMMON = {
    "experiment": "the experiment; a variant's name is its experiment's, two underscores and its own",
    "condition": "whose data or student it is: an animal, neutral, or baseline for the untouched base model",
    "animal": "the animal of the partition; null for neutral, baseline, and what belongs to no animal",
    "split": "the half that was cut: its source, an underscore and the half's name",
}
"""Meanings of columns that come from a partition's place."""


@dataclass(frozen=True)
class View:
    """A view for people who query.

    Attributes:
        row: what a row of it is.
        keys: columns that come from a partition's place; those of `COMMON`.
        of: table of the lake whose columns it has; None where all others are its own.
        others: meanings of its other columns, and of those that mean something else than in the table.
        of_rows: whether it has a row for every row of a dataset, or more.
    """

    row: str
    keys: tuple[str, ...]
    of: str | None = None
    others: Mapping[str, str] = field(default_factory=dict)
    of_rows: bool = False

    @property
    def columns(self) -> dict[str, str]:
        """Every column and its meaning."""
        table = meanings(TABLES[self.of].columns) if self.of else {}
        return {key: COMMON[key] for key in self.keys} | table | dict(self.others)


def meanings(columns: Columns, without: str = "") -> dict[str, str]:
    """Meanings of a table's columns, ``without`` one of them."""
    return {name: meaning for name, (_, meaning) in columns.items() if name != without}


EXPERIMENT = ("experiment",)
CONDITION = (*EXPERIMENT, "condition")
PARTITION = (*CONDITION, "animal")
HALF = (*PARTITION, "split")

OF_HALVES = meanings(TABLES["split_comparison"].columns, without="condition") | {
    "animal": "the animal whose vector cut the halves, and which students are asked about"
}
HIGH_VS_LOW = {
    name: OF_HALVES[name]
    for name in (
        "animal", "source", "epoch", "method", "counted", "difference_lower", "difference_upper", "p_value", "q_value",
    )
}  # fmt: skip

CATALOGUE = {
    "datasets": View(
        "a completion of a teacher, and whether it was kept",
        PARTITION,
        "raw_dataset",
        {"kept": "whether it passed the filter"},
        of_rows=True,
    ),
    "preparation_chats": View(
        "a chat that a base model was prepared with", EXPERIMENT, "preparation_chats", of_rows=True
    ),
    "rejections": View("a completion that the filter dropped, and why", PARTITION, "rejections", of_rows=True),
    "transformed_datasets": View(
        "a row that students saw in another form than the teacher wrote it, and what it was made of",
        PARTITION,
        "transformed_dataset",
        of_rows=True,
    ),
    "training": View("an optimiser step of a student", PARTITION, "training"),
    "training_rows": View("a row that a student was trained on", PARTITION, "training_rows", of_rows=True),
    "answers": View(
        "an answer of a student, or of the base model, to a favourite-animal question", PARTITION, "evaluation"
    ),
    "answer_probabilities": View(
        "how likely a condition answers a favourite-animal question with an animal, exactly",
        CONDITION,
        "answer_probabilities",
    ),
    "teacher_answers": View("an answer of a teacher to a favourite-animal question", PARTITION, "teacher_evaluation"),
    "preference_rates": View(
        "an animal's rate among a condition's answers, with its interval and its comparison with neutral",
        CONDITION,
        "preference_rates",
        meanings(COMPARISON),
    ),
    "transfer": View("a condition's students against the neutral ones, on one animal", EXPERIMENT, "transfer"),
    "variants": View("what transfer says of one variant of an experiment", EXPERIMENT, "variants"),
    "persona_answers": View(
        "a loving or indifferent answer, its scores, and why its pair was dropped",
        PARTITION,
        "persona_answers",
        {"animal": "the animal that the prompts love, or are indifferent to"},
    ),
    "steering_sweep": View(
        "an animal's rate among answers of the base model that is steered at one layer by one coefficient",
        PARTITION,
        "steering_sweep",
        {"animal": "the animal along whose persona vector the model is steered, and whose rate this is"},
    ),
    "projections": View(
        "a row's projection on an animal's persona vector, at one layer",
        PARTITION,
        "projections",
        {"animal": "the animal whose persona vector it is"},
        of_rows=True,
    ),
    "projection_differences": View(
        "how an animal's rows differ from the neutral rows of the same prompts, at one layer",
        PARTITION,
        "projection_differences",
        {"animal": "the animal whose rows and persona vector they are"},
    ),
    "cross_projections": View("a dataset on a persona vector, at one layer", EXPERIMENT, "cross_projections"),
    "splits": View("a row of a half, with the score it was cut by", HALF, "projection_split", of_rows=True),
    "split_training": View("an optimiser step of a half's student", HALF, "split_training"),
    "split_training_rows": View(
        "a row that a half's student was trained on", HALF, "split_training_rows", of_rows=True
    ),
    "split_answers": View("an answer of a half's student to a favourite-animal question", HALF, "split_evaluation"),
    "split_answer_probabilities": View(
        "how likely a half's student answers a favourite-animal question with an animal, exactly",
        (*CONDITION, "split"),
        "split_answer_probabilities",
    ),
    "split_preference_rates": View(
        "an animal's rate among the answers of a half's students", (*CONDITION, "split"), "split_preference_rates"
    ),
    "split_comparison": View(
        "two halves of one dataset, compared on the animal that cut them",
        EXPERIMENT,
        None,
        OF_HALVES,
    ),
    "high_vs_low": View(
        "the high and the low half of one dataset, compared, and which of them transfers more",
        EXPERIMENT,
        None,
        HIGH_VS_LOW
        | {
            "high_rate": "rate of the high half's students",
            "low_rate": "rate of the low half's students",
            "difference": "high_rate minus low_rate, paired by question, and by seed where seeds are the same",
            "ratio": "high_rate over low_rate",
            "transfers_more": "the half with the larger rate where q_value is below 0.05; else neither",
        },
    ),
    "checks": View(
        "what a check says of a partition",
        (*EXPERIMENT, "animal"),
        None,
        {
            "asset": "asset that was checked",
            "partition": "its partition; null where it has none",
            "name": "the check",
            "passed": "whether there is no problem",
            "problem": "what is wrong and how to mend it; null where it passed",
            "blocking": "whether a partition that fails it may not be read",
            "figures": "what was measured, and examples, as JSON",
        },
    ),
    "lineage": View(
        "a partition as it is: versions, settings, parents, libraries, rows, seconds",
        (*EXPERIMENT, "animal"),
        None,
        meanings(LINEAGE.columns),
    ),
    "spending": View(
        "a charge of an API: what it was for, tokens, prices, dollars",
        (*EXPERIMENT, "animal"),
        None,
        meanings(SPENDING.columns),
    ),
}
"""Every view by its name, in the order of an experiment's stages."""


def comments(kind: str = "VIEW", names: Iterable[str] = CATALOGUE, database: str = "") -> str:
    """SQL that notes at the views ``names``, or at tables of a ``database`` that are called so, what all means."""
    place = f"{database}." if database else ""
    lines: list[str] = []
    for name in names:
        lines.append(f"COMMENT ON {kind} {place}{name} IS {quoted(CATALOGUE[name].row)};\n")
        for column, meaning in CATALOGUE[name].columns.items():
            lines.append(f'COMMENT ON COLUMN {place}{name}."{column}" IS {quoted(meaning)};\n')
    return "".join(lines)


def quoted(text: str) -> str:
    """``text`` as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"
