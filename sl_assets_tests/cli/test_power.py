"""``sl-assets power``: sizes and spreads from where it says, and mistakes in one line."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from sl_assets.cli.power import power
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.tables import TABLES
from sl_assets.stages.evaluation.power import Spreads, minimum_detectable_effect
from sl_assets_tests.lake.filling import write_table


def said(*arguments: str) -> Result:
    return CliRunner().invoke(power, arguments)


def effect(*sizes: int | None, spreads: Spreads) -> str:
    found = minimum_detectable_effect(*sizes, spreads)  # type: ignore[arg-type]
    assert found
    return f"{100 * found:+.1f} points"


def test_without_an_experiment_spreads_are_published_ones() -> None:
    done = said("--seeds", "1,5", "--answers", "exact", "--questions", "20")
    assert done.exit_code == 0
    assert "none beyond this student" in done.output
    assert effect(5, 20, None, spreads=Spreads()) in done.output
    assert "20 questions, exact rates" in done.output
    assert "12.0 points between students (assumed, not measured)" in done.output
    assert "no effect on the trait is detectable beyond this student" in done.output


def test_options_take_the_place_of_what_is_published() -> None:
    done = said("--seeds", "3", "--spread", "0.03", "--rate", "0.05", "--question-spread", "0.1")
    assert effect(3, 50, 100, spreads=Spreads(0.03, 0.1, 0.05)) in done.output
    assert "beyond this student" not in done.output


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--spread", "12"), "12: write a share of answers from 0 to 1, as 0.12"),
        (("--rate", "-0.1"), "-0.1: write a share of answers"),
        (("--seeds", "3,x"), "'3,x': write numbers from 1, with commas between them"),
        (("--seeds", "0"), "'0': write numbers from 1"),
        (("--answers", "many"), "'many': write a number from 1, or exact"),
        (("--questions", "1"), "1 is not in the range x>=2"),
    ],
)
def test_what_cannot_be_is_named_with_the_fix(arguments: tuple[str, ...], problem: str) -> None:
    done = said(*arguments)
    assert done.exit_code == 2
    assert problem in done.output


def test_an_experiment_brings_its_sizes_and_what_its_students_showed(
    tmp_path: Path, experiment_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"samples_per_question": 7, "questions": list(range(12)), "max_tokens": 6}
    monkeypatch.setenv("SL_EXPERIMENTS", str(experiment_folder(evaluation=asked)))
    monkeypatch.setenv("SL_DATA_LAKE", str(tmp_path / "lake"))
    assumed = said("tiny", "--seeds", "3")
    assert "12 questions, 7 answers each" in assumed.output
    assert "(assumed, not measured)" in assumed.output
    shown = {"difference_sd_students": 0.02, "difference_sd_questions": 0.1, "neutral_rate": 0.2}
    row = {"condition": "owl", "animal": "owl", "epoch": 1, "method": "sampled", **shown}
    (tmp_path / "lake").mkdir()
    transfer = pl.DataFrame([row], schema=TABLES["transfer"].schema)
    write_table(Lake(str(tmp_path / "lake")), Place("tiny", "transfer"), transfer)
    measured = said("tiny", "--seeds", "3")
    assert "2.0 points between students (measured)" in measured.output
    assert effect(3, 12, 7, spreads=Spreads(0.02, 0.1, 0.2)) in measured.output
    assert effect(3, 12, 7, spreads=Spreads(0.05, 0.1, 0.2)) in said("tiny", "--seeds", "3", "--spread", "0.05").output
