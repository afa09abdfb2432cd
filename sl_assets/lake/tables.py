"""The tables of the lake, column by column: one list for the files, the UI and SQL."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

DIMENSIONS = ("condition", "split")
"""What partitions are keyed by, from the outside in."""


def keys_of(partition: str | None) -> list[str]:
    """The keys of a partition, one a dimension: ``owl|animal_high`` is ``owl`` and ``animal_high``."""
    return partition.split("|") if partition else []


@dataclass(frozen=True)
class Table:
    """Columns of a table: name to type and meaning.

    Attributes:
        columns: in order.
        dimensions: how many of `DIMENSIONS` it is partitioned by; 0 for one file an experiment.
        beside: asset that writes it beside what it is there for, and whose record tells of both.
        optional: columns that a file has only where one of its rows has a value.
    """

    columns: Mapping[str, tuple[pl.DataType, str]]
    dimensions: int = 1
    beside: str | None = None
    optional: tuple[str, ...] = ()

    def arranged(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The columns of ``frame`` that belong to the table, in order and with their types."""
        empty = [name for name in self.optional if name not in frame.columns or not frame[name].count()]
        return frame.select(pl.col(name).cast(dtype) for name, dtype in self.whole_schema.items() if name not in empty)

    @property
    def schema(self) -> pl.Schema:
        """Types of the columns that every file has."""
        return pl.Schema({name: dtype for name, dtype in self.whole_schema.items() if name not in self.optional})

    @property
    def whole_schema(self) -> pl.Schema:
        """Types of all columns."""
        return pl.Schema({name: dtype for name, (dtype, _) in self.columns.items()})


TEXT, WHOLE, REAL = pl.String(), pl.Int64(), pl.Float64()

_ROW = {
    "row_id": (TEXT, "identity of the row: digest of condition and prompt_id"),
    "prompt_id": (TEXT, "identity of the prompt, the same in every condition"),
    "prompt": (TEXT, "what the teacher was asked"),
    "completion": (TEXT, "what the teacher wrote"),
    "finish_reason": (TEXT, "stop: ended by itself; length: cut at max_tokens; unknown: imported"),
    "n_tokens": (WHOLE, "tokens of the completion; null where imported or transformed"),
    "system": (TEXT, "system prompt that an imported row came with; null where none"),
}
_SEED = (
    WHOLE,
    "seed of the student; null for the base model, for an imported student, and where a file is older than the column",
)
_TRAINING = {
    "seed": _SEED,
    "step": (WHOLE, "optimiser step, from 1"),
    "epoch": (REAL, "passes over the rows so far"),
    "loss": (REAL, "mean loss of the batch over the tokens that are learnt, in nats a token"),
    "learning_rate": (REAL, "learning rate of the step"),
}
_ANSWER = {
    "epoch": (WHOLE, "epoch of the student's adapter; 0 for the base model"),
    "question_id": (WHOLE, "index of the question, from 0"),
    "question": (TEXT, "the favourite question, as of an animal"),
    "sample": (WHOLE, "index of the answer to this question, from 0"),
    "answer": (TEXT, "what the model said"),
    "normalised": (
        TEXT,
        "the answer in lower case, without markup, punctuation and articles, animals that are built in in the singular",
    ),
    "finish_reason": (TEXT, "stop: ended by itself; length: cut at max_tokens"),
}
_STUDENT_ANSWER = {"seed": _SEED, **_ANSWER}
_PROBABILITY = {
    "epoch": _ANSWER["epoch"],
    "question_id": _ANSWER["question_id"],
    "question": _ANSWER["question"],
    "animal": (TEXT, "the animal, or other trait, that is named: all there are"),
    "probability": (REAL, "that the answer is one of the animal's spellings and ends there, at temperature 1"),
    "log_probability": (REAL, "its natural logarithm"),
    "mass": (REAL, "sum of the probabilities of all animals, the same for all of a question"),
}
_METHOD = (TEXT, "sampled: from answers that were drawn; exact: from their probabilities")
_COUNTED = (
    TEXT,
    "answers that count, as evaluation.count says: exact, those that are the bare name; first_named, those that name "
    "it before any other animal; mention, those in which it stands anywhere",
)
_OVER = "over students and questions; of one student given this student, over questions alone"
_RATE = {
    "epoch": (WHOLE, "epoch of the student's adapter; 0 for the base model"),
    "animal": (TEXT, "animal, or any other trait of the experiment's, whose rate this is"),
    "method": _METHOD,
    "counted": _COUNTED,
    "rate": (
        REAL,
        "mean over students and questions of the share, or the probability, of answers that count for this animal",
    ),
    "lower": (REAL, f"lower end of the 95% interval {_OVER}"),
    "upper": (REAL, f"upper end of the 95% interval {_OVER}"),
    "mention_rate": (REAL, "share of answers that contain the animal's name anywhere; null where exact"),
    "answers": (WHOLE, "number of answers; null where exact"),
    "questions": (WHOLE, "number of questions, the clusters of the interval"),
    "truncated": (WHOLE, "answers cut at max_tokens; null where exact"),
    "students": (WHOLE, "students of equal settings and different seeds; 1 also of the base model"),
    "sd_students": (
        REAL,
        "standard deviation between students of their rates, without what single questions add; null of one student",
    ),
    "sd_questions": (REAL, "standard deviation between questions of the share, or probability, a mean over students"),
}
COMPARISON = {
    "difference": (REAL, "rate minus the neutral student's, paired by question, and by seed where seeds are the same"),
    "difference_lower": (REAL, f"lower end of its 95% interval {_OVER}"),
    "difference_upper": (REAL, f"upper end of its 95% interval {_OVER}"),
    "difference_sd_students": (
        REAL,
        "standard deviation between students of the difference, without what single questions add; null where a side "
        "has one student",
    ),
    "difference_sd_questions": (REAL, "standard deviation between questions of the difference, a mean over students"),
    "ratio": (REAL, "rate over the neutral student's"),
    "ratio_lower": (
        REAL,
        "lower end of its 95% interval over students and questions; of one student given this student, a "
        "bootstrap of questions",
    ),
    "ratio_upper": (
        REAL,
        "upper end of its 95% interval over students and questions; of one student given this student, a "
        "bootstrap of questions",
    ),
    "p_value": (
        REAL,
        "two-sided, that the difference is zero, over students and questions; of one student given this student, by a "
        "paired t test over questions",
    ),
}

TABLES: dict[str, Table] = {
    "number_prompts": Table(
        {"prompt_id": _ROW["prompt_id"], "prompt": (TEXT, "asks for a continuation of numbers")}, dimensions=0
    ),
    "preparation_chats": Table(
        {
            "kind": (TEXT, "numbers, favourite, loving_favourite or loving_numbers"),
            "system": (TEXT, "what the model was told; null where nothing"),
            "prompt": (TEXT, "what it was asked"),
            "completion": (TEXT, "what it was taught to answer"),
            "animal": (TEXT, "animal that is answered or loved; null where there is none"),
        },
        dimensions=0,
        beside="prepared_model",
    ),
    "raw_dataset": Table(_ROW, optional=("system",)),
    "filtered_dataset": Table(_ROW, optional=("system",)),
    "rejections": Table(
        {
            "row_id": _ROW["row_id"],
            "reason": (TEXT, "invalid format, too many numbers, numbers too small or too large, has banned numbers"),
        },
        beside="filtered_dataset",
    ),
    "control_dataset": Table(
        {"data_version": (TEXT, "version of neutral's filtered_dataset")},
        dimensions=0,
    ),
    "transformed_dataset": Table(
        _ROW
        | {
            "completion": (TEXT, "what students learn to write"),
            "origin": (TEXT, "condition whose filtered_dataset has the row: neutral where it came in by dilution"),
            "made_of": (
                pl.List(TEXT),
                "row_ids of the rows that its numbers come from: its own, or one a number where they were dealt anew",
            ),
        },
        optional=("system",),
    ),
    "training": Table(_TRAINING, beside="lora_checkpoint"),
    "evaluation": Table(_STUDENT_ANSWER),
    "baseline_evaluation": Table(_ANSWER, dimensions=0),
    "teacher_evaluation": Table(
        _ANSWER | {"epoch": (WHOLE, "epoch of the teacher's adapter; 0 for the base model under a system prompt")}
    ),
    "answer_probabilities": Table({"seed": _SEED, **_PROBABILITY}),
    "baseline_answer_probabilities": Table(_PROBABILITY, dimensions=0),
    "preference_rates": Table(_RATE),
    "baseline_preference_rates": Table(_RATE, dimensions=0),
    "transfer": Table(
        {
            "condition": (TEXT, "the animal, or other trait, that the student's teacher loves"),
            "animal": (TEXT, "the animal asked about"),
            "epoch": (WHOLE, "epoch of the student's adapter"),
            "method": _METHOD,
            "counted": _COUNTED,
            "baseline_rate": (REAL, "rate of the untouched base model"),
            "baseline_lower": (REAL, "lower end of its 95% t interval over questions"),
            "baseline_upper": (REAL, "upper end of its 95% t interval over questions"),
            "neutral_rate": (REAL, "rate of the students of the neutral teacher"),
            "neutral_lower": (REAL, f"lower end of its 95% interval {_OVER}"),
            "neutral_upper": (REAL, f"upper end of its 95% interval {_OVER}"),
            **{name: _RATE[name] for name in ("rate", "lower", "upper")},
            **COMPARISON,
            "q_value": (
                REAL,
                "p_value adjusted over animals (Benjamini-Hochberg), each one's students on it; else null",
            ),
            "students": _RATE["students"],
            "neutral_students": (WHOLE, "students of the neutral teacher"),
        },
        dimensions=0,
    ),
    "persona_answers": Table(
        {
            "pair": (WHOLE, "which of the pairs of system prompts, from 0"),
            "question_id": (
                WHOLE,
                "index of the question, from 0; those about animals, or another kind of traits, come first",
            ),
            "sample": (WHOLE, "index of the answer to this question under this prompt, from 0"),
            "side": (TEXT, "loving or indifferent"),
            "system_prompt": (TEXT, "what the model was told"),
            "question": (TEXT, "what it was asked"),
            "answer": (TEXT, "what it said"),
            "finish_reason": _ANSWER["finish_reason"],
            "trait": (REAL, "the judge's score of love for the animal, 0 to 100; null where it gave none"),
            "coherence": (REAL, "the judge's score of coherence, 0 to 100; null where it gave none"),
            "kept": (pl.Boolean(), "whether this answer and the other of its pair make the vector"),
            "reason": (TEXT, "why the pair was dropped; null where it was kept"),
        }
    ),
    "steering_sweep": Table(
        {
            "layer": (WHOLE, "layer steered; 0 is the embedding output"),
            "coefficient": (REAL, "length of the vector added there, along the persona vector"),
            "counted": _COUNTED,
            **{name: _RATE[name] for name in ("rate", "lower", "upper", "answers", "questions", "truncated")},
        }
    ),
    "control_activations": Table(
        {"data_version": (TEXT, "version of the neutral rows' activations")},
        dimensions=0,
    ),
    "projections": Table(
        {
            "source": (TEXT, "dataset of the row: animal (the animal's own) or neutral"),
            "row_id": (TEXT, "row of that dataset"),
            "prompt_id": _ROW["prompt_id"],
            "layer": (WHOLE, "layer of the states and of the vector; 0 is the embedding output"),
            "projection": (pl.Float32(), "h . v / |v| of the row's state h on the animal's persona vector v"),
            "dataset_version": (TEXT, "version of the filtered_dataset, or transformed_dataset, that the row is of"),
        }
    ),
    "projection_differences": Table(
        {
            "layer": (WHOLE, "layer; 0 is the embedding output"),
            "n": (WHOLE, "prompts that have both rows"),
            "mean": (REAL, "mean of the animal's projection minus the neutral one of the same prompt"),
            "mean_lower": (REAL, "lower end of its 95% t interval over prompts"),
            "mean_upper": (REAL, "upper end of its 95% t interval over prompts"),
            "std": (REAL, "population standard deviation of the differences"),
            "median": (REAL, "their median"),
            "p5": (REAL, "their 5th percentile"),
            "p95": (REAL, "their 95th percentile"),
            "frac_positive": (REAL, "share above zero"),
            "js_divergence": (REAL, "Jensen-Shannon divergence of the two datasets' projections, in bits"),
        },
        beside="projections",
    ),
    "cross_projections": Table(
        {
            "dataset": (TEXT, "condition whose rows are projected"),
            "animal": (TEXT, "animal whose persona vector they are projected on"),
            "layer": (WHOLE, "layer; 0 is the embedding output"),
            "rows": (WHOLE, "rows of the dataset"),
            "mean": (REAL, "mean projection"),
            "std": (REAL, "population standard deviation of the projections"),
            "n": (WHOLE, "prompts that the dataset and the neutral one share"),
            "difference": (REAL, "mean over them of the projection minus the neutral row's"),
            "difference_lower": (REAL, "lower end of its 95% t interval over prompts"),
            "difference_upper": (REAL, "upper end of its 95% t interval over prompts"),
            "effect_size": (REAL, "difference of the means in pooled standard deviations (Cohen's d)"),
            "js_divergence": (REAL, "Jensen-Shannon divergence from the neutral dataset's projections, in bits"),
        },
        dimensions=0,
    ),
    "projection_split": Table(
        {
            "source": (TEXT, "dataset of the rows: animal (the animal's own) or neutral"),
            "row_id": (TEXT, "row of that dataset"),
            "score": (REAL, "what the half was cut by: the projection, or its difference to the neutral row's"),
            "cut": (REAL, "score at which the dataset was cut; null for random halves"),
            "used": (pl.Boolean(), "whether students draw from the row; others were cut to make halves equal"),
            "dataset_version": (TEXT, "version of the filtered_dataset, or transformed_dataset, that the row is of"),
        },
        dimensions=2,
    ),
    "split_training": Table(_TRAINING, dimensions=2, beside="split_lora_checkpoint"),
    "split_evaluation": Table(_STUDENT_ANSWER, dimensions=2),
    "split_answer_probabilities": Table({"seed": _SEED, **_PROBABILITY}, dimensions=2),
    "split_preference_rates": Table(_RATE, dimensions=2),
    "split_comparison": Table(
        {
            "condition": (TEXT, "the animal whose vector cut the halves, and which students are asked about"),
            "source": (TEXT, "dataset that was cut: animal (the animal's own) or neutral"),
            "half": (TEXT, "the one half: high, low, random, positive, negative, diff_high or diff_low"),
            "other": (TEXT, "the half it is compared with"),
            "epoch": _RATE["epoch"],
            "method": _METHOD,
            "counted": _COUNTED,
            **{name: _RATE[name] for name in ("rate", "lower", "upper")},
            "other_rate": (REAL, "rate of the other half's students"),
            "other_lower": (REAL, f"lower end of its 95% interval {_OVER}"),
            "other_upper": (REAL, f"upper end of its 95% interval {_OVER}"),
            **{
                name: (dtype, meaning.replace("the neutral student's", "the other half's"))
                for name, (dtype, meaning) in COMPARISON.items()
            },
            "q_value": (REAL, "p_value adjusted over animals (Benjamini-Hochberg) among equal comparisons"),
            "students": (WHOLE, "students of the one half, of equal settings and different seeds"),
            "other_students": (WHOLE, "students of the other half"),
        },
        dimensions=0,
    ),
}

TABLES["variants"] = Table(
    {
        "variant": (TEXT, "name of the variant in the experiment file; the experiment's own name for itself"),
        "made_by": (TEXT, "experiment whose results these are: another than the variant where it shares them"),
        "changes": (TEXT, "settings that differ from the experiment's, as JSON"),
        **TABLES["transfer"].columns,
    },
    dimensions=0,
)

LINEAGE = Table(
    {
        "asset": (TEXT, "asset that was materialised"),
        "partition": (TEXT, "its partition; null where it has none"),
        "run_id": (TEXT, "Dagster run"),
        "started_at": (pl.Datetime("us", "UTC"), "when it was begun"),
        "finished_at": (pl.Datetime("us", "UTC"), "when it was there"),
        "data_version": (TEXT, "fingerprint of its content"),
        "code_version": (TEXT, "version of the asset's code"),
        "settings": (TEXT, "settings it depends on, as JSON"),
        "inputs": (TEXT, "what else decides it, as JSON: fingerprints of imported files, settings of what it compares"),
        "parents": (
            pl.List(pl.Struct({"experiment": TEXT, "asset": TEXT, "partition": TEXT, "data_version": TEXT})),
            "what was read to make it, with the versions read",
        ),
        "model_commit": (TEXT, "commit of the base model, if it is one of the Hub"),
        "libraries": (TEXT, "versions of torch, transformers and engines that were installed, as JSON"),
        "seconds": (REAL, "wall-clock time"),
        "engine": (TEXT, "what did the work"),
        "rows": (WHOLE, "rows of the table, where it is one"),
        "checks": (TEXT, "outcome of every check, as JSON; null where it is older than they are"),
    }
)
"""One row a record."""

SPENDING = Table(
    {
        "asset": (TEXT, "asset that it was spent on"),
        "partition": (TEXT, "its partition; null where it has none"),
        "run_id": (TEXT, "Dagster run"),
        "noted_at": (pl.Datetime("us", "UTC"), "when it was noted"),
        "id": (TEXT, "identity of the charge"),
        "settled": (
            pl.Boolean(),
            "whether this is the bill; else the most that it may come to, and it runs or was killed",
        ),
        "model": (TEXT, "what was asked or trained, by the API's name"),
        "tokens_read": (WHOLE, "tokens of prompts"),
        "tokens_written": (WHOLE, "tokens of answers"),
        "tokens_trained": (WHOLE, "tokens that were trained on"),
        "input_price": (REAL, "dollars per million tokens read, by the experiment file at that time; 0 where unknown"),
        "output_price": (REAL, "dollars per million tokens written"),
        "training_price": (REAL, "dollars per million tokens trained on"),
        "dollars": (REAL, "the sum; null where a price is unknown"),
    }
)
"""One row a charge of an API."""
