"""The command as a user types it, in a process of its own."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sl_assets.lake.lake import Lake, Place

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


def test_a_killed_run_goes_on_with_the_bytes_of_an_undisturbed_one(
    environment: dict[str, str], experiment_folder: Callable[..., Path], tmp_path: Path
) -> None:
    environment["SL_EXPERIMENTS"] = str(
        experiment_folder(
            animals=["owl"], sampler={"max_tokens": 24, "batch": 8}, numbers={"prompts": 320, "wording": "short"}
        )
    )
    arguments = ["run", "tiny", "--through", "filtered_dataset"]
    lake = tmp_path / "lake"
    chunks = lake / ".work" / "experiment=tiny" / "raw_dataset"
    with subprocess.Popen([*COMMAND, *arguments], env=environment, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while len(list(chunks.rglob("[!.]*.parquet"))) < 6:
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    kept = {path: path.stat().st_mtime_ns for path in chunks.rglob("[!.]*.parquet")}
    assert kept
    assert not Lake(str(lake)).exists(Place("tiny", "raw_dataset", "owl"))

    assert run(environment, *arguments).returncode == 0
    undisturbed = environment | {"SL_DATA_LAKE": str(tmp_path / "other"), "DAGSTER_HOME": str(tmp_path / "home2")}
    shutil.copytree(tmp_path / "home", tmp_path / "home2", ignore=shutil.ignore_patterns("[!d]*"))
    assert run(undisturbed, *arguments).returncode == 0
    for table in ("raw_dataset", "filtered_dataset", "rejections"):
        for condition in ("neutral", "owl"):
            file = Path(Place("tiny", table, condition).folder) / "data.parquet"
            assert (lake / file).read_bytes() == (tmp_path / "other" / file).read_bytes()

    again = run(environment, *arguments)
    assert [line.split()[-1] for line in again.stdout.splitlines()[:4]] == ["fresh"] * 4
