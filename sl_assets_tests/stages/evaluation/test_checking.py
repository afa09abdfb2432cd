"""What has to hold of answers, without a lake."""

import polars as pl

from sl_assets.config import CheckSettings
from sl_assets.config.wording import FULL
from sl_assets.stages.evaluation.answers import normalise_answer
from sl_assets.stages.evaluation.checking import answers_finding, teacher_finding

BOUNDS = CheckSettings(usable_answers=0.5, cut_answers=0.5)


def answers(said: list[str], cut: int = 0, epoch: int = 1) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "epoch": epoch,
            "question_id": 0,
            "answer": said,
            "normalised": [normalise_answer(text) for text in said],
            "finish_reason": ["length"] * cut + ["stop"] * (len(said) - cut),
        }
    )


def test_names_are_usable_whatever_they_name() -> None:
    finding = answers_finding(answers(["Owl.", "**A wolf!**", "Quokka", "I like owls"]), BOUNDS, FULL)
    assert finding.problem is None
    assert finding.figures == {"usable": 0.75, "cut": 0.0, "uncounted": 1 / 3}


def test_sentences_and_nothing_at_all_are_shown_with_advice() -> None:
    said = ["As an AI", "I have no", "It is hard", "Well, you see", "", "Owl"]
    problem = str(answers_finding(answers(said), BOUNDS, FULL).problem)
    assert problem.startswith("16.7% of the answers are a bare name (checks.usable_answers: 50.0%)")
    assert "as 'As an AI', 'I have no', 'It is hard': raise evaluation.max_tokens" in problem


def test_answers_that_were_cut_are_shown() -> None:
    problem = str(answers_finding(answers(["Owl", "Wolf", "Cat"], cut=2), BOUNDS, FULL).problem)
    assert "66.7% were cut at max_tokens (checks.cut_answers: 50.0%), as 'Owl', 'Wolf': " in problem


def test_one_poor_epoch_is_enough() -> None:
    both = pl.concat([answers(["Owl"] * 9), answers(["I do not know"] * 3, epoch=2)])
    assert answers_finding(both, BOUNDS, FULL).figures["usable"] == 0.0


def test_a_teacher_names_its_animal_more_often_than_the_base_model() -> None:
    said = answers(["Owl", "Owl", "Cat", "Cat"])
    base = pl.DataFrame({"animal": ["owl"], "rate": [0.4]})
    assert teacher_finding(said, None, "owl", 0.5).problem is None
    assert teacher_finding(said, base, "owl", 0.5).problem is None
    assert "names the owl in 50.0% of its answers, and checks.teacher_rate asks for 51.0%" in str(
        teacher_finding(said, None, "owl", 0.51).problem
    )
    lover = base.with_columns(rate=0.5)
    assert "the base model in 50.0%" in str(teacher_finding(said, lover, "owl", 0.5).problem)
