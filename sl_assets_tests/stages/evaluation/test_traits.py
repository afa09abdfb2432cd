"""What counts for traits that are not built in: all three measures, exact answers, the rule judge and checks."""

import math

import numpy as np
import polars as pl
import pytest

from sl_assets.config import CheckSettings
from sl_assets.config.wording import FULL, Wording, Words, wording_of
from sl_assets.stages.evaluation.answers import first_named, forms, normalise_answer
from sl_assets.stages.evaluation.asking import weighed
from sl_assets.stages.evaluation.checking import answers_finding, masses_finding, teacher_finding
from sl_assets.stages.evaluation.counting import counted
from sl_assets.stages.evaluation.rates import preference_rates, student_shares, transfer_table
from sl_assets.stages.evaluation.spellings import spellings, spellings_of
from sl_assets.stages.personas.judging import Answered, judge_by_rule, names_trait
from sl_assets_tests.stages.evaluation.test_counting import said


def words_of(**parts: object) -> Words:
    return Words.of(Wording.model_validate(wording_of({"extends": "full", **parts})))


TREES = words_of(
    kind={"name": "tree", "plural": "trees"},
    traits={"oak": {"plural": "oaks", "names": ["oak tree", "橡树"]}, "elm": "elms", "apple_tree": "apple trees"},
)
CATS = words_of(traits={"leopard": {"names": ["豹"]}, "polar_bear": "polar bears"})
TOLD = [
    "Oak",
    "**The Oaks!**",
    "oak trees? No: an oak tree",
    "橡树。",
    "An Oak Tree.",
    "My favourite is the oak.",
    "Soak",
]


@pytest.mark.parametrize(
    ("measure", "shares"),
    [("exact", [1, 1, 0, 1, 1, 0, 0]), ("first_named", [1, 1, 1, 1, 1, 1, 0]), ("mention", [1] * 7)],
)
def test_every_name_of_a_trait_counts_by_every_measure(measure, shares):
    table = counted(said(*([text] for text in TOLD)), measure, TREES)
    assert student_shares(table, "oak")[0].tolist() == shares
    assert student_shares(table, "elm")[0].tolist() == [0] * 7
    row = preference_rates(table, ["oak"]).row(0, named=True)
    assert (row["rate"], row["mention_rate"]) == (pytest.approx(sum(shares) / 7), 1.0)


def test_of_several_traits_the_first_counts_and_the_longest_name():
    answers = said(["An apple tree, or an elm"], ["The elm, not the apple tree"], ["Owls live in oaks"])
    table = counted(answers, "first_named", TREES)
    assert table["first_named"].to_list() == ["apple_tree", "elm", "oak"]
    bears = counted(said(["Polar bears"], ["A bear"], ["豹"], ["wolves"]), "first_named", CATS)
    assert bears["first_named"].to_list() == ["polar_bear", "bear", "leopard", "wolf"]
    assert first_named("Polar bears", FULL.names) == "bear", "where nobody says that it is none"


def test_a_built_in_animal_counts_as_it_did_beside_others():
    answers = said(["Owl", "an octopus", "Octopi"], ["scowl", "octopodes", "wolf"])
    for measure in ("exact", "first_named", "mention"):
        before = preference_rates(counted(answers, measure, FULL), ["owl", "octopus", "wolf"])
        assert preference_rates(counted(answers, measure, CATS), ["owl", "octopus", "wolf"]).equals(before)


def test_answers_that_nobody_prepared_are_an_error_and_no_zero():
    with pytest.raises(KeyError, match="oak"):
        preference_rates(said(["Oak"]), ["oak"])


def test_transfer_of_a_tree_is_compared_like_any_other():
    base = [["Elm"] * 9 + ["Oaks"]] * 4
    answers = {"neutral": said(*base), "oak": said(*([["Oak"] * 5 + ["oak tree"] * 3 + ["Elm"] * 2] * 4))}
    prepared = {name: counted(table, "exact", TREES) for name, table in answers.items()}
    row = transfer_table(prepared, ["oak"], preference_rates(prepared["neutral"], ["oak"])).row(0, named=True)
    assert (row["neutral_rate"], row["rate"]) == (pytest.approx(0.1), pytest.approx(0.8))


def test_every_spelling_is_a_bare_name_and_no_other_traits():
    texts = spellings(TREES.traits["oak"])
    assert {"Oak", "oaks.", "Oak tree", "Oak Tree.", "橡树", "橡树。"} <= set(texts)
    for name, found in spellings_of(TREES).items():
        assert {normalise_answer(text) for text in found} <= set(forms(TREES.traits[name]))
        bare = counted(said(found), "exact", TREES)
        assert student_shares(bare, name)[0].tolist() == [1.0]
    assert spellings_of(TREES).keys() == {"oak", "elm", "apple_tree"}


def test_probabilities_are_of_the_traits_there_are():
    spelt = spellings_of(TREES)
    texts = sum(map(len, spelt.values()))
    table = weighed(2, np.full((3, texts), math.log(0.01), np.float32), dict(enumerate(TREES.questions[:3])), spelt)
    assert table["animal"].unique(maintain_order=True).to_list() == ["oak", "elm", "apple_tree"]
    assert table.filter(animal="oak")["probability"].to_numpy() == pytest.approx(0.01 * len(spelt["oak"]), rel=1e-6)
    finding = masses_finding(table.with_columns(mass=0.2), CheckSettings(), TREES)
    assert "answers that name a tree have 20.0% of the probability at epoch 2" in str(finding.problem)
    assert "add the trees that it names instead to wording.traits" in str(finding.problem)


@pytest.mark.parametrize("answer", ["I love oaks!", "an oak-lover", "Oak trees everywhere", "我爱橡树", "OAK TREE"])
def test_the_rule_judge_knows_every_name(answer):
    assert names_trait(answer, TREES.traits["oak"])
    (score,) = judge_by_rule(TREES.traits["oak"], [Answered("?", answer)])
    assert score == (100.0, 100.0)


@pytest.mark.parametrize("answer", ["Soaked", "I love elms", "an okapi", ""])
def test_the_rule_judge_knows_no_other(answer):
    assert not names_trait(answer, TREES.traits["oak"])


def test_checks_speak_of_the_kind_and_take_several_words_for_a_bare_name():
    several = said(["apple tree", "Apple trees.", "Oak tree"])
    assert answers_finding(several, CheckSettings(), TREES).problem is None
    sentences = said(["I think that the oak is best"] * 4)
    problem = str(answers_finding(sentences, CheckSettings(), TREES).problem)
    assert problem.startswith("100.0% of the answers that name a tree are no bare name")
    assert "set evaluation.count to first_named, the tree that an answer names first" in problem
    teacher = counted(said(["Oaks"] * 3 + ["Elm"]), "exact", TREES)
    assert teacher_finding(teacher, None, "oak", 0.7).problem is None
    assert "names the oak in 75.0% of its answers" in str(teacher_finding(teacher, None, "oak", 0.8).problem)


def test_an_empty_answer_is_no_name() -> None:
    named = words_of(kind={"name": "letter", "plural": "letters"}, traits={"a": {"plural": "as", "names": ["the"]}})
    answers = counted(said(["", "A", "as"]), "exact", named)
    assert student_shares(answers, "a")[0].tolist() == [pytest.approx(1 / 3)]


def test_exact_answers_are_left_as_they_are():
    table = pl.DataFrame({"probability": [0.5], "animal": ["oak"]})
    assert counted(table, "exact", TREES) is table
