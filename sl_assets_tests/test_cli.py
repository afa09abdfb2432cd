"""The command as a user types it, in a process of its own."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from sl_assets.lake.lake import Lake, Place
from sl_assets_tests.conftest import TINY

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


def test_a_dry_run_names_what_would_be_made_and_makes_nothing(
    environment: dict[str, str], experiment_folder: Callable[..., Path], tmp_path: Path
) -> None:
    environment["SL_EXPERIMENTS"] = str(experiment_folder())
    plan = ("run", "tiny", "--animals", "owl", "--through", "filtered_dataset", "--dry-run")
    before = run(environment, *plan).stdout.splitlines()
    assert [line.split(maxsplit=1) for line in before] == [
        ["number_prompts", "to be made"],
        ["teacher_checkpoint", "neutral, owl"],
        ["raw_dataset", "neutral, owl"],
        ["filtered_dataset", "neutral, owl"],
    ]
    assert not list((tmp_path / "lake").rglob("*.parquet"))
    run(environment, *plan[:-1])
    environment["SL_EXPERIMENTS"] = str(experiment_folder(sampler={"max_tokens": 12, "batch": 16}))
    after = [line.split(maxsplit=1)[1] for line in run(environment, *plan).stdout.splitlines()]
    assert after == ["fresh", "fresh", "neutral, owl", "neutral, owl"]


def test_an_engine_that_is_not_installed_stops_before_anything_runs(
    environment: dict[str, str], experiment_folder: Callable[..., Path], tmp_path: Path
) -> None:
    environment["SL_EXPERIMENTS"] = str(experiment_folder(sampler={"engine": "vllm"}))
    # As on a machine without it, whatever this one has.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\nfind = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'vllm' else find(name, *rest)\n"
    )
    environment["PYTHONPATH"] = str(tmp_path)
    done = run(environment, "run", "tiny")
    assert done.stderr.strip() == (
        "sl-assets: sampler.engine vllm: not installed here; pip install -e '.[gpu]' -c constraints-gpu.txt, "
        "or set sampler.engine to transformers"
    )
    assert not list((tmp_path / "lake").rglob("*.parquet"))
    # What runs no model can be made, and looked at, anywhere.
    assert run(environment, "run", "tiny", "--dry-run").returncode == 0
    assert run(environment, "run", "tiny", "--through", "number_prompts").returncode == 0


def test_whoever_finds_the_pool_full_says_so_and_waits(
    environment: dict[str, str], experiment_folder: Callable[..., Path]
) -> None:
    environment["SL_EXPERIMENTS"] = str(experiment_folder())
    instance = dg.DagsterInstance.from_config(environment["DAGSTER_HOME"])
    slots = instance.event_log_storage
    slots.initialize_concurrency_limit_to_default("gpu")
    assert slots.claim_concurrency_slot("gpu", "another run", "its step").is_claimed
    waiting = subprocess.Popen(
        [*COMMAND, "run", "tiny", "--animals", "owl", "--through", "teacher_checkpoint"],
        env=environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with waiting:
        assert waiting.stdout
        first = waiting.stdout.readline().split()
        slots.free_concurrency_slots_for_run("another run")
        assert " ".join(first) == "teacher_checkpoint waits: another run has the pool gpu"
        assert waiting.stdout.readline().endswith("neutral, owl\n")


def test_an_interrupted_run_says_how_to_go_on(
    environment: dict[str, str], experiment_folder: Callable[..., Path]
) -> None:
    environment["SL_EXPERIMENTS"] = str(experiment_folder(student=TINY["student"] | {"epochs": 500}))
    running = subprocess.Popen(
        [*COMMAND, "run", "tiny", "--animals", "owl"],
        env=environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with running:
        assert running.stdout
        while not running.stdout.readline().startswith("filtered_dataset"):
            pass
        time.sleep(3)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert said.strip().splitlines()[-1] == "sl-assets: interrupted; the same command goes on from here"
    assert "Traceback" not in said
