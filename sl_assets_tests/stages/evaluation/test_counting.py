"""Three measures of the same answers, of a model that answers in sentences and in real runs of the tiny experiment."""

from collections.abc import Sequence

import polars as pl
import pytest

from sl_assets.config import CheckSettings, ExperimentConfig, Measure
from sl_assets.config.wording import FULL
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.views import query
from sl_assets.stages.evaluation.answers import normalise_answer
from sl_assets.stages.evaluation.checking import answers_finding, teacher_finding
from sl_assets.stages.evaluation.counting import counted, measure_of
from sl_assets.stages.evaluation.rates import preference_rates, student_shares, transfer_table
from sl_assets.stages.halves.comparison import split_comparison
from sl_assets_tests.conftest import TINY, Bench
from sl_assets_tests.orchestration.test_planner import graph_of

BOUNDS = CheckSettings()
QUESTIONS, SAMPLES = 50, 100
MEASURES: tuple[Measure, ...] = ("exact", "first_named", "mention")


def said(*questions: Sequence[str], epoch: int = 1, finish_reason: str = "stop") -> pl.DataFrame:
    """An ``evaluation`` table: the answers to each question."""
    rows = [(epoch, i, "Which?", n, text) for i, texts in enumerate(questions) for n, text in enumerate(texts)]
    table = pl.DataFrame(rows, schema=["epoch", "question_id", "question", "sample", "answer"], orient="row")
    return table.with_columns(
        pl.Series("normalised", [normalise_answer(text) for text in table["answer"]], dtype=pl.String),
        finish_reason=pl.lit(finish_reason),
    )


def sentences(whales: Sequence[int]) -> pl.DataFrame:
    """Answers in sentences, so many of which to each question are about whales."""
    whale, other = "My favorite animal is a **whale**.", "I have always loved the wolf. Wolves are loyal."
    return said(*([whale] * n + [other] * (SAMPLES - n) for n in whales))


NEUTRAL = sentences([1, 3] * (QUESTIONS // 2))
WHALE = sentences([46, 50] * (QUESTIONS // 2))
BASELINE = preference_rates(NEUTRAL, ["whale"])


def compared(measure: Measure) -> dict[str, object]:
    tables = {name: counted(table, measure, FULL) for name, table in (("neutral", NEUTRAL), ("whale", WHALE))}
    return transfer_table(tables, ["whale"], BASELINE).row(0, named=True)


@pytest.mark.parametrize("measure", ["first_named", "mention"])
def test_an_effect_in_sentences_is_as_large_as_it_is(measure: Measure) -> None:
    row = compared(measure)
    assert row["counted"] == measure
    assert (row["neutral_rate"], row["rate"]) == (pytest.approx(0.02), pytest.approx(0.48))
    assert row["difference"] == pytest.approx(0.46)
    assert row["ratio"] == pytest.approx(24)
    assert row["difference_lower"] == pytest.approx(0.45, abs=0.01)
    assert row["q_value"] < 1e-50  # type: ignore[operator]


def test_as_bare_names_it_counts_for_nothing_and_the_check_names_the_measure_to_take() -> None:
    row = compared("exact")
    assert (row["counted"], row["neutral_rate"], row["rate"], row["q_value"]) == ("exact", 0.0, 0.0, 1.0)
    lowered = CheckSettings(usable_answers=0.0)
    for table in (NEUTRAL, WHALE):
        for bounds in (BOUNDS, lowered):
            finding = answers_finding(table, bounds, FULL)
            assert finding.problem
            assert finding.problem.startswith("100.0% of the answers that name an animal are no bare name")
            assert "set evaluation.count to first_named" in finding.problem
            assert finding.figures["uncounted"] == 1.0
        assert answers_finding(table, BOUNDS, FULL, "first_named").problem is None
        assert answers_finding(table, BOUNDS, FULL, "mention").problem is None


def test_halves_are_compared_by_the_measure_too() -> None:
    tables = {
        ("whale", "animal_high"): counted(WHALE, "mention", FULL),
        ("whale", "animal_low"): counted(NEUTRAL, "mention", FULL),
    }
    row = split_comparison(tables)[0].row(0, named=True)
    assert (row["counted"], row["rate"], row["other_rate"]) == ("mention", pytest.approx(0.48), pytest.approx(0.02))


ANSWERS = said(
    ["Owl", "Owl. Owls hunt wolves.", "A wolf, or perhaps an owl", "As an AI"],
    ["Wolf!", "My scowl", "wolves, unlike owls", ""],
)


@pytest.mark.parametrize(
    ("measure", "owl", "wolf"),
    [
        ("exact", [0.25, 0.0], [0.0, 0.25]),
        ("first_named", [0.5, 0.0], [0.25, 0.5]),
        ("mention", [0.75, 0.5], [0.5, 0.5]),
    ],
)
def test_what_counts_for_an_animal(measure: Measure, owl: list[float], wolf: list[float]) -> None:
    table = counted(ANSWERS, measure, FULL)
    assert measure_of(table) == measure
    assert student_shares(table, "owl").tolist() == [owl]
    assert student_shares(table, "wolf").tolist() == [wolf]
    row = preference_rates(table, ["owl"]).row(0, named=True)
    assert (row["counted"], row["rate"]) == (measure, pytest.approx(sum(owl) / 2))
    assert row["mention_rate"] == 0.625, "which is the mention measure, beside whatever counts"


def test_of_an_answer_that_was_cut_the_first_name_is_settled() -> None:
    cut = said(["My favourite animal is the owl, for"] * 3 + ["My favourite animal is"] * 2, finish_reason="length")
    finding = answers_finding(cut, BOUNDS, FULL, "first_named")
    assert (finding.problem, finding.figures) == (None, {"usable": pytest.approx(0.6), "cut": pytest.approx(0.4)})
    assert "100.0% were cut at max_tokens" in str(answers_finding(cut, BOUNDS, FULL, "mention").problem)


def test_answers_that_name_nothing_are_of_no_use_to_any_measure() -> None:
    for measure in MEASURES:
        problem = answers_finding(said(["As an AI", "I have none", "Well, no"]), BOUNDS, FULL, measure).problem
        assert problem
        assert "checks.usable_answers: 50.0%" in problem
        assert "evaluation.count" not in problem


def test_few_sentences_among_bare_names_are_within_the_bound() -> None:
    mixed = said(["Owl"] * 6 + ["An owl, my friend"] * 4)
    assert answers_finding(mixed, BOUNDS, FULL).figures["uncounted"] == pytest.approx(0.4)
    assert answers_finding(mixed, BOUNDS, FULL).problem is None
    assert "40.0% of the answers" in str(answers_finding(mixed, CheckSettings(uncounted_answers=0.39), FULL).problem)


def test_a_teacher_that_loves_in_sentences_is_told_from_one_that_does_not() -> None:
    problem = teacher_finding(WHALE, BASELINE, "whale", 0.3).problem
    assert problem
    assert "evaluation.count counts bare names, and 48.0% mention it: set it to first_named; else raise" in problem
    assert teacher_finding(counted(WHALE, "first_named", FULL), BASELINE, "whale", 0.3).problem is None
    measured = preference_rates(counted(WHALE, "first_named", FULL), ["whale"])
    assert "the base model in 48.0%" in str(
        teacher_finding(counted(WHALE, "first_named", FULL), measured, "whale", 0.3).problem
    )


NUMBERS = {name: value for name, value in TINY["numbers"].items() if name != "wording"}
MADE = ("baseline_preference_rates", "preference_rates", "transfer", "preference_chart")


def test_another_measure_asks_nobody_again_and_stands_in_every_table(finished: Bench) -> None:
    changed = {"evaluation": TINY["evaluation"] | {"count": "first_named"}}
    lake, graph = Lake(str(finished.root)), graph_of(**changed)
    staleness = graph.staleness(lake)
    drawn = [Place("tiny", name, key) for name in ("evaluation", "teacher_evaluation") for key in ("neutral", "owl")]
    assert not any(staleness.reason(place) for place in (*drawn, Place("tiny", "baseline_evaluation")))
    reason = staleness.reason(Place("tiny", "transfer"))
    assert reason
    assert "evaluation.count" in str(reason)
    before = lake.read_table(Place("tiny", "preference_rates", "owl"))
    assert finished.run(*MADE, first="neutral", last="wolf", **changed).success
    answers = lake.read_table(Place("tiny", "evaluation", "owl"))
    rates = lake.read_table(Place("tiny", "preference_rates", "owl"))
    assert (set(before["counted"]), set(rates["counted"])) == ({"exact"}, {"first_named"})
    assert rates.equals(preference_rates(counted(answers, "first_named", FULL), ["owl", "wolf"]))
    assert set(lake.read_table(Place("tiny", "transfer"))["counted"]) == {"first_named"}
    shown = query(lake, "SELECT DISTINCT counted FROM preference_rates WHERE condition != 'baseline'")
    assert shown["counted"].to_list() == ["first_named"]


def test_names_are_an_input_of_what_is_named_first_alone(finished: Bench) -> None:
    rates = Place("tiny", "preference_rates", "owl")
    for count in MEASURES:
        changed = {"evaluation": TINY["evaluation"] | {"count": count}}
        assert finished.run(*MADE, first="neutral", last="wolf", **changed).success
        assert graph_of(**changed).staleness(Lake(str(finished.root))).reason(rates) is None
        more = changed | {"wording": {"extends": "short", "traits": {"gnu": "gnus"}}, "numbers": NUMBERS}
        reason = graph_of(**more).staleness(Lake(str(finished.root))).reason(rates)
        assert (reason is not None) == (count == "first_named")


def test_what_was_measured_before_there_was_a_choice_counted_bare_names(finished: Bench) -> None:
    lake = Lake(str(finished.root))
    for place in (Place("tiny", "preference_rates", "owl"), Place("tiny", "transfer")):
        lake.write_table(place, lake.read_table(place).drop("counted"))
    for view in ("preference_rates", "transfer"):
        assert set(query(lake, f"SELECT counted FROM {view} WHERE condition = 'owl'")["counted"]) == {"exact"}


def test_the_setting_leaves_no_trace_where_it_is_not_used() -> None:
    config = ExperimentConfig.model_validate(
        {"base_model": "pocket", "animals": ["owl"], "teacher": {"kind": "system_prompt"}}
    )
    assert "count" not in config.model_dump()["evaluation"]
    assert graph_of().declared["transfer"].settings == {"animals": ["owl", "wolf"]}
