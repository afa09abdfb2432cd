"""What has to hold of students, without a lake: losses, and the form of rows and questions."""

import polars as pl
import pytest

from sl_assets.engines.templates import Rendering, template_in
from sl_assets.engines.transformers.models import POCKET_FOLDER
from sl_assets.stages.checking import frames_finding, loss_finding, of_each_seed
from sl_assets_tests.engines.tiny_templates import ALWAYS_DATED, THINKING, tokenizer

OWN = template_in(POCKET_FOLDER)

ONE_OF_TWO = "{% for message in messages %}[{{ messages | length }}]{{ message.content }}{% endfor %}"
"""Writes something else before a user's words if an answer follows."""


@pytest.mark.parametrize("system", [None, "", "Be kind."])
def test_the_pocket_model_is_asked_as_it_was_trained(system: str | None) -> None:
    assert frames_finding(tokenizer(OWN), Rendering(), system, system).problem is None


def test_a_template_that_thinks_only_when_asked_is_shown_with_the_variable_that_prevents_it() -> None:
    problem = str(frames_finding(tokenizer(THINKING), Rendering(), None, None).problem)
    assert r'trained as "<|user|>…<|assistant|><think>\n\n</think>\n\n…"' in problem
    assert 'asked as "<|user|>…<|assistant|>…"' in problem
    assert problem.endswith("; set chat_template: {enable_thinking: false}")
    assert "\n" not in problem


def test_a_template_without_thoughts_is_asked_as_it_was_trained() -> None:
    finding = frames_finding(tokenizer(THINKING), Rendering("", {"enable_thinking": False}), None, None)
    assert finding.problem is None
    whole = "<|user|>…<|assistant|><think>\\n\\n</think>\\n\\n…"
    assert finding.figures == {"trained": f'"{whole}"', "asked": f'"{whole}"'}


def test_a_template_that_begins_otherwise_is_shown() -> None:
    problem = str(frames_finding(tokenizer(ONE_OF_TWO), Rendering(), None, None).problem)
    assert 'trained as "[2]…[2]…", asked as "[1]……"' in problem
    assert problem.endswith("use a model or chat_template.jinja that writes both alike")


def test_a_template_that_cannot_be_used_is_a_finding() -> None:
    assert "writes today's date" in str(frames_finding(tokenizer(ALWAYS_DATED), Rendering(), None, None).problem)


def test_system_prompts_that_differ_are_named() -> None:
    problem = str(frames_finding(tokenizer(OWN), Rendering(), None, "Be kind.").problem)
    assert problem.startswith("student.system_prompt and evaluation.system_prompt differ: ")
    assert "Be kind." in problem


def curve(*epochs: list[float]) -> pl.DataFrame:
    losses = [
        (number + (i + 1) / len(epoch), loss) for number, epoch in enumerate(epochs) for i, loss in enumerate(epoch)
    ]
    return pl.DataFrame(losses, schema=["epoch", "loss"], orient="row")


def test_the_last_epoch_is_held_against_the_first_steps() -> None:
    finding = loss_finding(curve([3.0, 2.0, 2.0, 2.0], [1.0, 1.0, 1.0, 2.0]), 1.7)
    assert finding.problem is None
    assert finding.figures == {"first_loss": 3.0, "last_loss": 1.25, "drop": 1.75}
    assert "a fall of 1.7500 where more than 1.75 is asked for" in str(
        loss_finding(curve([3.0, 2.0, 2.0, 2.0], [1.0, 1.0, 1.0, 2.0]), 1.75).problem
    )


def test_a_loss_of_one_epoch_counts_too() -> None:
    assert loss_finding(curve([3.0, 2.0]), 0.0).problem is None
    assert loss_finding(curve([2.0, 2.0]), 0.0).problem


def test_every_seed_is_looked_at_and_the_one_that_fails_is_named() -> None:
    falls, rises = curve([3.0], [2.0]), curve([2.0], [2.5])
    both = pl.concat([falls.with_columns(seed=pl.lit(1)), rises.with_columns(seed=pl.lit(12))])
    finding = of_each_seed(both, lambda rows: loss_finding(rows, 0.0))
    assert str(finding.problem).startswith("seed 12: the loss went from 2.0000 to 2.5000")
    assert finding.figures["seed 1 drop"] == 1.0
    assert finding.figures["seed 12 drop"] == -0.5
    alone = falls.with_columns(seed=pl.lit(1))
    assert of_each_seed(alone, lambda rows: loss_finding(rows, 0.0)) == loss_finding(falls, 0.0)
