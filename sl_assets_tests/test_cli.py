"""The command as a user types it, in a process of its own."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sl_assets.lake.lake import Lake, Place

PROMPTS = Place("tiny", "number_prompts")
COMMAND = [sys.executable, "-m", "sl_assets"]


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "pockt"], "no experiment 'pockt'; there are gpt41_nano, olmo3_7b, pocket, qwen25_7b"),
        (["run", "pocket", "--animals", "owll"], "--animals owll: not an animal of pocket"),
        (["run", "pocket", "--through", "chart"], "--through chart: no such asset; pocket has"),
        (["sql", "SELECT * FROM nothing"], "SQL: Catalog Error"),
    ],
)
def test_a_mistake_is_one_line(environment: dict[str, str], arguments: list[str], message: str) -> None:
    done = run(environment, *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_broken_experiment_file_is_one_line(
    environment: dict[str, str], experiment_folder: Callable[..., Path]
) -> None:
    folder = experiment_folder(filter={"max_cuont": 3})
    done = run(environment | {"SL_EXPERIMENTS": str(folder)}, "check")
    assert done.returncode == 1
    assert done.stderr.strip().count("\n") == 0
    assert (
        "tiny/defs.yaml: attributes.filter.max_cuont = 3: unknown field; known here: banned, max_count" in done.stderr
    )


def test_a_missing_file_to_import_stops_before_anything_runs(
    environment: dict[str, str], experiment_folder: Callable[..., Path], tmp_path: Path
) -> None:
    source = {"kind": "jsonl", "path": str(tmp_path / "{condition}.jsonl")}
    environment["SL_EXPERIMENTS"] = str(experiment_folder(numbers={"source": source}))
    for command in (["check"], ["run", "tiny", "--animals", "owl wolf"]):
        done = run(environment, *command)
        assert done.returncode == 1
        assert f"tiny: {tmp_path}/neutral.jsonl: no such file" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "lake").exists()


def test_an_unwritable_lake_is_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(
        environment | {"SL_DATA_LAKE": str(tmp_path / "file" / "lake")}, "run", "pocket", "--through", "number_prompts"
    )
    assert done.returncode == 1
    assert "pocket/number_prompts: cannot write" in done.stderr
    assert "set SL_DATA_LAKE to another place" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_what_is_there_is_not_made_again(environment: dict[str, str], experiment_folder: Callable[..., Path]) -> None:
    environment["SL_EXPERIMENTS"] = str(experiment_folder())
    first, again = (run(environment, "run", "tiny", "--through", "number_prompts").stdout.split() for _ in range(2))
    assert (first[0], first[2]) == ("number_prompts", "s")
    assert again[:2] == ["number_prompts", "fresh"]
    # Dagster's records are of one lake; what lies in another may be older.
    lake = Lake(environment["SL_DATA_LAKE"])
    lake.write_table(PROMPTS, lake.read_table(PROMPTS)[:1])
    elsewhere = run(environment, "run", "tiny", "--through", "number_prompts").stdout.split()
    assert (elsewhere[0], elsewhere[2]) == ("number_prompts", "s")
    assert lake.read_table(PROMPTS).height > 1
