"""The tables of the lake, column by column: one list for the files, the UI and SQL."""

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Table:
    """Columns of a table: name to type and meaning.

    Attributes:
        columns: in order.
        partitioned: one file per condition, rather than one for the experiment.
    """

    columns: dict[str, tuple[pl.DataType, str]]
    partitioned: bool = True

    @property
    def schema(self) -> pl.Schema:
        """Column types."""
        return pl.Schema({name: dtype for name, (dtype, _) in self.columns.items()})


TEXT, WHOLE, REAL = pl.String(), pl.Int64(), pl.Float64()

_ROW = {
    "row_id": (TEXT, "identity of the row: digest of condition and prompt_id"),
    "prompt_id": (TEXT, "identity of the prompt, the same in every condition"),
    "prompt": (TEXT, "what the teacher was asked"),
    "completion": (TEXT, "what the teacher wrote"),
    "finish_reason": (TEXT, "stop: ended by itself; length: cut at max_tokens; unknown: imported"),
    "n_tokens": (WHOLE, "tokens of the completion; null where imported"),
}
_ANSWER = {
    "epoch": (WHOLE, "epoch of the student's adapter; 0 for the base model"),
    "question_id": (WHOLE, "index of the question, from 0"),
    "question": (TEXT, "the favourite-animal question"),
    "sample": (WHOLE, "index of the answer to this question, from 0"),
    "answer": (TEXT, "what the model said"),
    "normalised": (TEXT, "the answer in lower case and singular, without markup, punctuation and articles"),
    "finish_reason": (TEXT, "stop: ended by itself; length: cut at max_tokens"),
}
_RATE = {
    "epoch": (WHOLE, "epoch of the student's adapter; 0 for the base model"),
    "animal": (TEXT, "animal whose rate this is"),
    "rate": (REAL, "mean over questions of the share of answers that are exactly this animal"),
    "lower": (REAL, "lower end of the 95% t interval over question means"),
    "upper": (REAL, "upper end of the 95% t interval over question means"),
    "mention_rate": (REAL, "share of answers that contain the animal's name anywhere"),
    "answers": (WHOLE, "number of answers"),
    "questions": (WHOLE, "number of questions, the clusters of the interval"),
    "truncated": (WHOLE, "answers cut at max_tokens"),
}
COMPARISON = {
    "difference": (REAL, "rate minus the neutral student's, paired by question"),
    "difference_lower": (REAL, "lower end of its 95% t interval over questions"),
    "difference_upper": (REAL, "upper end of its 95% t interval over questions"),
    "ratio": (REAL, "rate over the neutral student's"),
    "ratio_lower": (REAL, "lower end of its 95% bootstrap interval, questions resampled"),
    "ratio_upper": (REAL, "upper end of its 95% bootstrap interval, questions resampled"),
    "p_value": (REAL, "two-sided paired t test over questions"),
}

TABLES: dict[str, Table] = {
    "number_prompts": Table(
        {"prompt_id": _ROW["prompt_id"], "prompt": (TEXT, "asks for a continuation of numbers")}, partitioned=False
    ),
    "raw_dataset": Table(_ROW),
    "filtered_dataset": Table(_ROW),
    "rejections": Table(
        {
            "row_id": _ROW["row_id"],
            "reason": (TEXT, "invalid format, too many numbers, numbers too small or too large, has banned numbers"),
        }
    ),
    "training": Table(
        {
            "step": (WHOLE, "optimiser step, from 1"),
            "epoch": (REAL, "passes over the rows so far"),
            "loss": (REAL, "mean completion loss of the batch, in nats a token"),
            "learning_rate": (REAL, "learning rate of the step"),
        }
    ),
    "evaluation": Table(_ANSWER),
    "baseline_evaluation": Table(_ANSWER, partitioned=False),
    "preference_rates": Table(_RATE),
    "baseline_preference_rates": Table(_RATE, partitioned=False),
    "transfer": Table(
        {
            "condition": (TEXT, "the animal the student's teacher loves"),
            "animal": (TEXT, "the animal asked about"),
            "epoch": (WHOLE, "epoch of the student's adapter"),
            "baseline_rate": (REAL, "rate of the untouched base model"),
            "baseline_lower": (REAL, "lower end of its 95% t interval over questions"),
            "baseline_upper": (REAL, "upper end of its 95% t interval over questions"),
            "neutral_rate": (REAL, "rate of the student of the neutral teacher"),
            "neutral_lower": (REAL, "lower end of its 95% t interval over questions"),
            "neutral_upper": (REAL, "upper end of its 95% t interval over questions"),
            **{name: _RATE[name] for name in ("rate", "lower", "upper")},
            **COMPARISON,
            "q_value": (REAL, "p_value adjusted over students (Benjamini-Hochberg), each on its own animal; else null"),
        },
        partitioned=False,
    ),
}

LINEAGE = Table(
    {
        "asset": (TEXT, "asset that was materialised"),
        "partition": (TEXT, "its partition; null where it has none"),
        "run_id": (TEXT, "Dagster run"),
        "finished_at": (pl.Datetime("us", "UTC"), "when it was written"),
        "data_version": (TEXT, "fingerprint of its content"),
        "code_version": (TEXT, "fingerprint of the settings it depends on"),
        "parents": (
            pl.List(pl.Struct({"asset": TEXT, "partition": TEXT, "data_version": TEXT})),
            "what was read to make it, with the versions read",
        ),
        "config": (TEXT, "settings it depends on, as JSON"),
        "seconds": (REAL, "wall-clock time"),
        "engine": (TEXT, "what did the work"),
    }
)
