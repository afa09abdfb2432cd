"""Exact answers in real runs of the tiny experiment: what is there, what stays as it was, and what is made of both."""

import numpy as np
import polars as pl
import pytest

from sl_assets.config.wording import FULL
from sl_assets.engines.interfaces import chat
from sl_assets.engines.transformers.models import POCKET
from sl_assets.engines.transformers.scorer import TransformersScorer
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.views import query
from sl_assets.stages.evaluation.spellings import SPELLINGS
from sl_assets_tests.conftest import TINY, Bench
from sl_assets_tests.orchestration.test_planner import graph_of

BOTH = {"evaluation": TINY["evaluation"] | {"method": "both"}}
EXACT = {"evaluation": {"method": "exact"}}
RATES = ("baseline_preference_rates", "preference_rates", "transfer", "preference_chart")


def table(bench: Bench, name: str, partition: str | None = None) -> pl.DataFrame:
    return Lake(str(bench.root)).read_table(Place("tiny", name, partition))


def records(bench: Bench, *names: str) -> list[object]:
    lake = Lake(str(bench.root))
    return [lake.record(Place("tiny", name, key)) for name in names for key in (None, "neutral", "owl", "wolf")]


def test_both_methods_stand_side_by_side_and_what_was_drawn_stays_as_it_was(finished: Bench) -> None:
    drawn = records(finished, "evaluation", "baseline_evaluation", "lora_checkpoint")
    before = {name: table(finished, name, "owl" if name == "preference_rates" else None) for name in RATES[:3]}
    assert finished.run(
        "baseline_answer_probabilities", "answer_probabilities", *RATES, first="neutral", last="wolf", **BOTH
    ).success
    assert records(finished, "evaluation", "baseline_evaluation", "lora_checkpoint") == drawn
    staleness = graph_of(**BOTH).staleness(Lake(str(finished.root)))
    assert staleness.reason(Place("tiny", "evaluation", "owl")) is None
    for name, sampled in before.items():
        now = table(finished, name, "owl" if name == "preference_rates" else None)
        assert now.filter(method="sampled").equals(sampled), "not a figure of them changes"
        exact = now.filter(method="exact")
        assert exact["animal"].to_list() == sampled["animal"].to_list()
        assert exact.select("rate", "lower", "upper").null_count().sum_horizontal().item() == 0
    probabilities = table(finished, "answer_probabilities", "owl")
    assert probabilities["animal"].unique().sort().to_list() == sorted(SPELLINGS)
    rate = table(finished, "preference_rates", "owl").filter(method="exact", animal="wolf")["rate"].item()
    assert rate == pytest.approx(probabilities.filter(animal="wolf")["probability"].mean(), rel=1e-12)
    compared = table(finished, "transfer").filter(condition="owl", animal="owl", method="exact").row(0, named=True)
    neutral, owl = (table(finished, "answer_probabilities", name) for name in ("neutral", "owl"))
    differences = owl.filter(animal="owl")["probability"] - neutral.filter(animal="owl")["probability"]
    assert compared["difference"] == pytest.approx(differences.mean(), rel=1e-12)
    shown = query(Lake(str(finished.root)), "SELECT condition, animal, probability FROM answer_probabilities")
    assert set(shown["condition"]) == {"baseline", "neutral", "owl", "wolf"}


def test_probabilities_are_the_scorers_and_no_answer_is_drawn(finished: Bench) -> None:
    assert finished.run("baseline_answer_probabilities", "baseline_preference_rates", **EXACT).success
    found = table(finished, "baseline_answer_probabilities")
    owls = TransformersScorer(POCKET).log_probabilities(
        [chat(question) for question in FULL.questions], SPELLINGS["owl"]
    )
    expected = np.exp(owls.answers, dtype=np.float64).sum(axis=1)
    np.testing.assert_allclose(found.filter(animal="owl")["probability"], expected, rtol=1e-4)
    sums = found.group_by("question_id").agg(pl.col("probability").sum(), pl.col("mass").first()).sort("question_id")
    np.testing.assert_allclose(sums["probability"], sums["mass"], rtol=1e-12)
    assert table(finished, "baseline_preference_rates")["method"].to_list() == ["exact", "exact"]
    declared = graph_of(**EXACT).declared
    assert not {"evaluation", "baseline_evaluation"} & declared.keys()
    assert "teacher_evaluation" in declared, "whose answers are drawn all the same"


def test_other_traits_make_exact_answers_stale_and_no_others(finished: Bench) -> None:
    assert finished.run("baseline_answer_probabilities", **BOTH).success
    weighed, drawn = Place("tiny", "baseline_answer_probabilities"), Place("tiny", "baseline_evaluation")
    staleness = graph_of(**BOTH).staleness(Lake(str(finished.root)))
    assert (staleness.reason(weighed), staleness.reason(drawn)) == (None, None)
    numbers = {name: value for name, value in TINY["numbers"].items() if name != "wording"}
    more = BOTH | {"wording": {"extends": "short", "traits": {"gnu": "gnus"}}, "numbers": numbers}
    staleness = graph_of(**more).staleness(Lake(str(finished.root)))
    reason = staleness.reason(weighed)
    assert reason
    assert reason.why == "spellings changed"
    assert staleness.reason(drawn) is None
