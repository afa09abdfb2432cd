"""``sl-assets check --explain``: settings with an experiment's values, and what they decide."""

import click
import pytest
from click.testing import CliRunner

from sl_assets.cli.checking import check
from sl_assets.cli.explaining import explained
from sl_assets.experiments import Experiments, find_experiments


@pytest.fixture(scope="module")
def found() -> Experiments:
    return find_experiments()


def lines(found: Experiments, *names: str) -> list[str]:
    return list(explained(names, found))


def test_an_experiment_is_shown_beside_the_defaults(found: Experiments) -> None:
    said = [" ".join(line.split()) for line in lines(found, "pocket")]
    assert "epochs = 6 (default 10) passes over the rows" in said
    assert "rank = 8 rank of the adapter" in said
    assert "base_model = pocket `pocket`, a folder," in said[0]
    titles = [line.partition(":")[0] for line in lines(found, "pocket")]
    assert "teacher of kind finetuned" in titles
    assert "teacher of kind system_prompt" not in titles


def test_without_an_experiment_defaults_and_every_kind(found: Experiments) -> None:
    titles = [line.partition(":")[0] for line in lines(found)]
    assert {"teacher of kind finetuned", "teacher of kind system_prompt", "numbers.source of kind hub"} <= set(titles)
    assert any(line.startswith("  rank (8)") for line in lines(found))


def test_one_setting_names_the_assets_whose_records_keep_it(found: Experiments) -> None:
    said = lines(found, "pocket", "student.rank")
    assert said[0] == "student.rank = 8"
    assert "  type: whole number (at least 1); default: 8" in said
    assert "  kept in records of pocket's: lora_checkpoint, split_lora_checkpoint" in said
    assert "  refused where it has no effect: there is no adapter where lora is false" in said


def test_a_variant_has_its_own_value(found: Experiments) -> None:
    assert lines(found, "pocket_ranks.rank2", "student.rank")[0] == "student.rank = 2 (default 8)"


def test_a_bound_is_of_a_check_and_in_no_record(found: Experiments) -> None:
    said = lines(found, "pocket", "checks.keep_rate")
    assert "  kept in records of pocket's: none" in said
    assert "  a bound of checks of pocket's: filtered_dataset" in said


def test_a_setting_of_another_kind_is_not_the_experiments(found: Experiments) -> None:
    assert lines(found, "olmo3_7b", "teacher.rank")[-1] == "  olmo3_7b has no teacher of kind finetuned"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("pocket", "stundent.rank"), "stundent.rank: no such setting; did you mean teacher.rank, student.rank?"),
        (("rank",), "rank: no such setting, nor an experiment (gpt41_nano, "),
        (("poket", "student.rank"), "poket: no such experiment; there are gpt41_nano, "),
        (("pocket", "student.rank", "more"), "more: one setting at a time"),
    ],
)
def test_names_that_are_none(found: Experiments, names: tuple[str, ...], said: str) -> None:
    with pytest.raises(click.ClickException) as caught:
        lines(found, *names)
    assert caught.value.message.startswith(said)
    assert "\n" not in caught.value.message


def test_the_command_explains_or_checks_but_not_half_of_each() -> None:
    named = CliRunner().invoke(check, ["pocket"])
    assert named.exit_code
    assert "pocket: check looks at every experiment; add --explain, or leave it out" in named.output
    assert CliRunner().invoke(check, ["--explain", "student.rank"]).output.startswith("student.rank (8)\n")
