"""Every query of examples/queries.sql runs as it stands, and answers what its title asks."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from sl_assets.config import PROJECT
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.result_text import beginning_of
from sl_assets.lake.session import session
from sl_assets.lake.spending import FOLDER
from sl_assets.lake.tables import SPENDING
from sl_assets_tests.conftest import SPLIT_ASSETS, rewrite

QUERIES = PROJECT / "examples" / "queries.sql"
TITLES = [
    "1. How large is the effect", "2. Which animals transfer", "3. Do rows with high", "4. How many completions",
    "5. What failed its checks?", "6. How many hours and dollars", "7. Whose answers were cut off",
    "8. Where do measures", "9. Which rows are in a half?", "10. What was a rate made of", "11. What was made of",
]  # fmt: skip
OWL = {"experiment": "tiny", "condition": "owl"}


@pytest.fixture(scope="module")
def lake(halved_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The tiny experiment with its halves; two answers of the owl's student cut off, its exact rate high, a charge."""
    root = tmp_path_factory.mktemp("queries") / "lake"
    shutil.copytree(halved_once / "lake", root)
    lake = Lake(str(root))
    answers = lake.read_table(place := Place("tiny", "evaluation", "owl"))
    cut = pl.when(pl.int_range(pl.len()) < 2).then(pl.lit("length")).otherwise(pl.col("finish_reason"))
    rewrite(lake, place, answers.with_columns(finish_reason=cut))
    rates = lake.read_table(place := Place("tiny", "preference_rates", "owl"))
    exact = rates.with_columns(method=pl.lit("exact"), rate=pl.lit(0.9), lower=pl.lit(0.85), upper=pl.lit(0.95))
    rewrite(lake, place, pl.concat([rates, exact.filter(pl.col("animal") == "owl")]))
    charge = dict.fromkeys(SPENDING.columns) | {
        "asset": "raw_dataset", "id": "1", "settled": True, "tokens_read": 5, "dollars": 0.25, "tokens_written": 0,
        "tokens_trained": 0, "noted_at": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
    }  # fmt: skip
    lake.write_file(lake.root / FOLDER / "experiment=tiny" / "one.jsonl", json.dumps(charge).encode() + b"\n")
    return lake


@pytest.fixture(scope="module")
def found(lake: Lake) -> dict[str, pl.DataFrame]:
    """Results by number."""
    with session(lake) as opened:
        statements = opened.statements(QUERIES.read_text())
        return {
            statement.title.partition(".")[0]: beginning_of(opened.result(statement), 1_000)[0]
            for statement in statements
        }


def test_every_statement_has_its_question(lake: Lake) -> None:
    with session(lake) as opened:
        titles = [statement.title for statement in opened.statements(QUERIES.read_text())]
    assert [title[: len(wanted)] for title, wanted in zip(titles, TITLES, strict=True)] == TITLES


def test_effects_are_those_of_transfer(lake: Lake, found: dict[str, pl.DataFrame]) -> None:
    own = lake.read_table(Place("tiny", "transfer")).filter(pl.col("condition") == pl.col("animal"))
    shown = found["1"].select("animal", "difference").sort("animal")
    assert shown.rows() == own.select("animal", "difference").sort("animal").rows()
    assert found["1"]["difference"].is_sorted(descending=True)


def test_verdicts_follow_from_the_adjusted_p_values(found: dict[str, pl.DataFrame]) -> None:
    assert set(found["2"]["animal"]) == {"owl", "wolf"}
    for row in found["2"].iter_rows(named=True):
        told_apart = "transfers" if row["difference"] > 0 else "falls"
        assert row["verdict"] == (told_apart if row["q_value"] < 0.05 else "not told apart")
        assert row["rank_of_own"] in (1, 2)


def test_halves_are_compared_high_against_low(lake: Lake, found: dict[str, pl.DataFrame]) -> None:
    compared = lake.read_table(Place("tiny", "split_comparison"))
    high = compared.filter(pl.col("half") == "high", pl.col("other") == "low")
    assert found["3"].select("animal", "high_rate").rows() == high.select("condition", "rate").sort("condition").rows()


def test_completions_are_kept_or_dropped_for_a_reason(lake: Lake, found: dict[str, pl.DataFrame]) -> None:
    for condition in ("neutral", "owl", "wolf"):
        rows = found["4"].filter(pl.col("condition") == condition)
        kept = lake.read_table(Place("tiny", "filtered_dataset", condition)).height
        assert rows.filter(pl.col("outcome") == "kept")["completions"].to_list() == [kept]
        assert rows["completions"].sum() == lake.read_table(Place("tiny", "raw_dataset", condition)).height
        assert rows["share"].sum() == pytest.approx(1)
    assert "not filtered" not in found["4"]["outcome"].to_list()


def test_failed_checks_are_listed_with_what_they_do(lake: Lake, found: dict[str, pl.DataFrame]) -> None:
    # The tiny experiment's teachers are hardly trained.
    teachers = found["5"].filter(pl.col("asset") == "teacher_evaluation")
    assert set(teachers.select("partition", "name", "effect").rows()) <= {
        (animal, "names_its_animal", "warns") for animal in ("owl", "wolf")
    }
    failing = [
        (record.place.table, record.place.partition, name)
        for asset in ("teacher_evaluation", "evaluation", "raw_dataset", "filtered_dataset", "lora_checkpoint")
        for condition in ("neutral", "owl", "wolf")
        if (record := lake.record(Place("tiny", asset, condition)))
        for name, outcome in (record.checks or {}).items()
        if outcome.problem
    ]
    assert set(failing) <= set(found["5"].select("asset", "partition", "name").rows())
    assert failing


def test_hours_are_summed_by_asset_and_charges_stand_beside(lake: Lake, found: dict[str, pl.DataFrame]) -> None:
    rows = {row["asset"]: row for row in found["6"].iter_rows(named=True)}
    records = [lake.record(Place("tiny", "lora_checkpoint", condition)) for condition in ("neutral", "owl", "wolf")]
    seconds = sum(record.seconds for record in records if record)
    assert rows["lora_checkpoint"]["hours"] == pytest.approx(seconds / 3600)
    assert rows["lora_checkpoint"]["hours_of_models"] == rows["lora_checkpoint"]["hours"]
    assert rows["transfer"]["hours_of_models"] == 0
    assert (rows["raw_dataset"]["dollars"], rows["transfer"]["dollars"]) == (0.25, None)


def test_cut_answers_are_counted_by_student(found: dict[str, pl.DataFrame]) -> None:
    first = found["7"].row(0, named=True)
    assert {name: first[name] for name in OWL} == OWL
    assert (first["split"], first["answers"], first["truncated"], first["share"]) == (None, 100, 3, 0.03)
    assert found["7"].filter(pl.col("split") == "animal_high")["answers"].to_list() == [100, 100]


def test_measures_disagree_where_intervals_do_not_meet(found: dict[str, pl.DataFrame]) -> None:
    (row,) = found["8"].filter(pl.col("exact_differs")).rows(named=True)
    assert (row["condition"], row["animal"], row["exact_rate"]) == ("owl", "owl", 0.9)
    others = found["8"].filter(~pl.col("exact_differs"))
    assert (others["mention_rate"] - others["sampled_rate"] > 0.05).all()


def test_rows_of_halves_come_with_their_text(lake: Lake, found: dict[str, pl.DataFrame]) -> None:
    texts = {row["row_id"]: row for row in lake.read_table(Place("tiny", "filtered_dataset", "owl")).to_dicts()}
    rows = found["9"].filter(pl.col("animal") == "owl", pl.col("split") == "animal_high").to_dicts()
    assert len(rows) == 3
    for row in rows:
        assert (row["prompt"], row["completion"]) == tuple(
            texts[row["row_id"]][name] for name in ("prompt", "completion")
        )
        assert row["score"] >= row["cut"]
    assert found["9"].select("animal", "split").n_unique() == 4


def test_a_rate_is_followed_back_to_its_prompts(lake: Lake, found: dict[str, pl.DataFrame]) -> None:
    chain = found["10"]
    assert chain["step"].is_sorted()
    assert chain["asset"].to_list()[0] == "preference_rates"
    assert {"evaluation", "lora_checkpoint", "filtered_dataset", "raw_dataset", "number_prompts"} <= set(chain["asset"])
    # The owl's answers were written anew after its rates had been computed of them.
    whose = chain["partition"].to_list()[0]
    assert chain.filter(~pl.col("as_it_was"))["asset"].to_list() == (["evaluation"] if whose == "owl" else [])


def test_what_has_read_what_is_no_more_is_named(found: dict[str, pl.DataFrame]) -> None:
    rows = found["11"].select("asset", "partition", "has_read", "has_read_partition", "why").rows()
    assert ("preference_rates", "owl", "evaluation", "owl", "changed") in rows
    assert ("transfer", None, "evaluation", "owl", "changed") in rows
    assert {asset for asset, *_ in rows}.isdisjoint({"raw_dataset", "lora_checkpoint", *SPLIT_ASSETS})
