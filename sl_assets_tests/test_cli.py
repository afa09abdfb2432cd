"""The command as a user types it, in a process of its own."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import dagster as dg
import pytest

from sl_assets.config import PROJECT
from sl_assets.engines.cards import lease, release
from sl_assets.lake.lake import Lake
from sl_assets.lake.pins import pin, pinned
from sl_assets.lake.places import Place
from sl_assets_tests.cli.command import COMMAND, forked
from sl_assets_tests.cli.command import run as run_anew
from sl_assets_tests.cli.command import run_forked as run
from sl_assets_tests.conftest import imported_numbers
from sl_assets_tests.dagster_ui import wait_until

PROMPTS = Place("tiny", "number_prompts")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "pockt"], "no experiment 'pockt'; there are gpt41_nano, olmo3_7b, pocket, pocket_ranks"),
        (["run", "pocket", "--animals", "owll"], "--animals owll: not an animal of pocket"),
        (["run", "pocket", "--through", "chart"], "--through chart: no such asset; pocket has"),
        (["run", "pocket", "--animals", ""], "--animals '': names none; leave it out for all of pocket's"),
        (["run", "pocket", "--animals", " , "], "--animals ' , ': names none"),
        (["run", "pocket", "--through", ","], "--through ',': names no asset; leave it out for the whole graph"),
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
        assert f"{tmp_path}/neutral.jsonl: no such file" in done.stderr
        assert len(done.stderr.strip().splitlines()) == (3 if command == ["check"] else 1)
    assert not any((tmp_path / "lake").iterdir())


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
    # Dagster knows that it was made, but not where.
    environment["SL_DATA_LAKE"] += "_of_another"
    elsewhere = run(environment, "run", "tiny", "--through", "number_prompts").stdout.split()
    assert (elsewhere[0], elsewhere[2]) == ("number_prompts", "s")
    assert Lake(environment["SL_DATA_LAKE"]).read_table(PROMPTS).height > 1


def test_a_full_lake_is_told_to_a_new_dagster_home_and_nothing_is_made(
    environment: dict[str, str], experiment_folder: Callable[..., Path], tmp_path: Path
) -> None:
    environment["SL_EXPERIMENTS"] = str(experiment_folder())
    command = ("run", "tiny", "--animals", "owl", "--through", "filtered_dataset")
    run(environment, *command)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copyfile(PROJECT / "dagster.yaml", other / "dagster.yaml")
    environment["DAGSTER_HOME"] = str(other)
    lines = run(environment, *command).stdout.partition("\ndone")[0].splitlines()
    assert {line.split()[-1] for line in lines} == {"fresh"}
    with dg.DagsterInstance.from_config(str(other)) as instance:
        told = instance.get_materialized_partitions(dg.AssetKey(["tiny", "filtered_dataset"]))
        assert told == {"neutral", "owl"}
        assert instance.get_latest_materialization_event(dg.AssetKey(["tiny", "number_prompts"]))


def test_a_partition_that_fails_is_reported_and_the_others_go_on(
    environment: dict[str, str], experiment_folder: Callable[..., Path], tmp_path: Path
) -> None:
    row = '{"prompt": "p", "completion": "1, 2"}\n'
    for condition, text in (("neutral", row), ("owl", row.replace("1, 2", "words")), ("wolf", row)):
        (tmp_path / f"{condition}.jsonl").write_text(text)
    source = {"kind": "jsonl", "path": str(tmp_path / "{condition}.jsonl")}
    environment["SL_EXPERIMENTS"] = str(experiment_folder(numbers={"source": source}))
    done = run(environment, "run", "tiny", "--through", "lora_checkpoint")
    assert done.returncode == 1
    lines = [line.split(maxsplit=3) for line in done.stdout.splitlines()]
    assert [(line[0], line[3]) for line in lines if line[2] == "s"] == [
        ("raw_dataset", "neutral, owl, wolf"),
        ("filtered_dataset", "neutral, wolf"),
        ("lora_checkpoint", "neutral, wolf"),
    ]
    assert "lora_checkpoint                not made: owl waits for filtered_dataset of owl, which failed" in done.stdout
    assert "1 partition failed:" in done.stderr
    assert "tiny/filtered_dataset of owl: none of 1 rows passed (invalid format 1)" in done.stderr


def test_a_dry_run_names_what_would_be_made_and_makes_nothing(
    environment: dict[str, str], experiment_folder: Callable[..., Path], tmp_path: Path
) -> None:
    environment["SL_EXPERIMENTS"] = str(experiment_folder())
    plan = ("run", "tiny", "--animals", "owl", "--through", "filtered_dataset", "--dry-run")
    before = run(environment, *plan).stdout.splitlines()
    assert [" ".join(line.split()) for line in before] == [
        "number_prompts unknown missing",
        "teacher_checkpoint unknown missing: neutral, owl",
        "raw_dataset unknown missing: neutral, owl",
        "filtered_dataset unknown missing: neutral, owl",
        "in all unknown 7 partitions; not counted: 4 of 4 assets, of which nothing is made yet",
    ]
    assert not list((tmp_path / "lake").rglob("*.parquet"))
    run(environment, *plan[:-1])
    environment["SL_EXPERIMENTS"] = str(experiment_folder(sampler={"max_tokens": 12, "batch": 40}))
    after = [line.split() for line in run(environment, *plan).stdout.splitlines()]
    assert [line[1:] for line in after[:2]] == [["fresh"], ["fresh"]]
    assert " ".join(after[2][-6:]) == "s stale: neutral, owl (sampler changed)"
    assert " ".join(after[3][-7:]) == "s stale: neutral, owl (raw_dataset is made)"
    assert (" ".join(after[4][:2]), after[4][-2:]) == ("in all", ["4", "partitions"])


def test_an_engine_that_is_not_installed_stops_before_anything_runs(
    environment: dict[str, str], experiment_folder: Callable[..., Path], tmp_path: Path
) -> None:
    environment["SL_EXPERIMENTS"] = str(experiment_folder(sampler={"engine": "vllm"}))
    # As on a machine without it, whatever this one has.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\nfind = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'vllm' else find(name, *rest)\n"
    )
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    # Only an interpreter that starts reads that.
    done = run_anew(environment, "run", "tiny")
    here = ".".join(map(str, sys.version_info[:2]))
    another = "" if here == "3.12" else f" in an environment of Python 3.12 (this is {here})"
    assert done.stderr.strip() == (
        f"sl-assets: sampler.engine vllm: not installed here; pip install -e '.[gpu]' -c constraints-gpu.txt{another}, "
        "or set sampler.engine to transformers"
    )
    assert not list((tmp_path / "lake").rglob("*.parquet"))
    # What runs no model can be made, and looked at, anywhere.
    assert run(environment, "run", "tiny", "--dry-run").returncode == 0
    assert run(environment, "run", "tiny", "--through", "number_prompts").returncode == 0


def test_whoever_finds_no_gpu_free_says_so_and_waits(
    two_cards: None, environment: dict[str, str], experiment_folder: Callable[..., Path]
) -> None:
    environment["SL_EXPERIMENTS"] = str(experiment_folder())
    assert list(lease(2, "another run")) == []
    command = ("run", "tiny", "--animals", "owl", "--through", "teacher_checkpoint")
    with forked(environment, *command) as (process, stdout, _):
        wait_until(lambda: "\n" in stdout.read_text(), seconds=60)
        said = stdout.read_text()
        release()
        assert " ".join(said.split()).startswith(
            f"teacher_checkpoint waits for a GPU: GPU 0 is used by another run (process {os.getpid()}"
        )
        process.join(60)
        assert stdout.read_text().removeprefix(said).splitlines()[0].endswith("neutral, owl")


def test_a_result_is_traced_back_to_its_prompts(
    environment: dict[str, str], experiment_folder: Callable[..., Path]
) -> None:
    environment["SL_EXPERIMENTS"] = str(experiment_folder())
    run(environment, "run", "tiny", "--animals", "owl", "--through", "filtered_dataset")
    chain = run(environment, "trace", "tiny", "filtered_dataset", "owl").stdout
    heads = [line for line in chain.splitlines() if line and not line.startswith(" ")]
    assert heads == [
        "tiny/filtered_dataset of owl: fresh",
        "tiny/raw_dataset of owl: fresh",
        "tiny/number_prompts: fresh",
        "tiny/teacher_checkpoint of owl: fresh",
    ]
    assert f"libraries torch {version('torch')}, transformers {version('transformers')}" in chain
    assert 'setting   filter = {"banned": [], "max_count": 10' in chain
    assert "  model     pocket, content " in chain
    assert "numbers.seed = 42" in chain
    environment["SL_EXPERIMENTS"] = str(experiment_folder(filter={"max_count": 9}))
    assert (
        "filtered_dataset of owl: STALE, for filter changed"
        in run(environment, "trace", "tiny", "filtered_dataset", "owl").stdout
    )
    for arguments, message in (
        (("filtered",), "tiny has no asset 'filtered'; it has number_prompts, teacher_checkpoint"),
        (("filtered_dataset", "cat"), "filtered_dataset: no partition 'cat'; there are neutral, owl, wolf"),
        (("filtered_dataset",), "filtered_dataset: name a partition; there are neutral, owl, wolf"),
    ):
        done = run(environment, "trace", "tiny", *arguments)
        assert done.returncode == 1
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_lake_that_is_not_there_is_not_made_by_looking(environment: dict[str, str], tmp_path: Path) -> None:
    done = run(environment | {"SL_DATA_LAKE": str(tmp_path / "typo")}, "sql", "SELECT * FROM preference_rates")
    assert done.returncode == 1
    assert done.stderr == (
        f"sl-assets: SL_DATA_LAKE = {tmp_path / 'typo'}: no lake there; mend it, or run an experiment first\n"
    )
    assert not (tmp_path / "typo").exists()


def test_a_half_that_was_not_named_is_asked_for(environment: dict[str, str]) -> None:
    said = run(environment, "trace", "pocket", "projection_split", "owl").stderr
    assert "no partition 'owl'; there are owl|animal_high, owl|animal_low" in said
    assert "cat" not in said


def test_pruning_lists_first_and_deletes_when_told(
    environment: dict[str, str], experiment_folder: Callable[..., Path], tmp_path: Path
) -> None:
    numbers = imported_numbers(tmp_path)
    environment["SL_EXPERIMENTS"] = str(experiment_folder(numbers=numbers))
    run(environment, "run", "tiny", "--through", "filtered_dataset")
    assert run(environment, "prune").stdout == "nothing to delete\n"
    environment["SL_EXPERIMENTS"] = str(experiment_folder(numbers=numbers, animals=["owl"]))
    lake = Lake(environment["SL_DATA_LAKE"])
    listed = run(environment, "prune").stdout
    assert "tiny/filtered_dataset of wolf is not made by the experiment now" in listed
    assert "would be deleted by --delete" in listed
    assert lake.exists(Place("tiny", "filtered_dataset", "wolf"))
    assert "deleted" in run(environment, "prune", "--delete").stdout
    assert not lake.exists(Place("tiny", "filtered_dataset", "wolf"))
    assert lake.exists(Place("tiny", "filtered_dataset", "owl"))
    del environment["SL_EXPERIMENTS"]
    assert "--experiment tiny deletes it" in run(environment, "prune", "--delete").stdout
    assert lake.exists(Place("tiny", "filtered_dataset", "owl")), "its file may be elsewhere"
    run(environment, "prune", "--delete", "--experiment", "tiny")
    assert not (Path(lake.root) / "experiment=tiny").exists()


def test_pins_are_listed_and_forgotten(environment: dict[str, str]) -> None:
    lake = Lake(environment["SL_DATA_LAKE"])
    pin(lake, "someone/model", lambda: "c0ffee")
    assert run(environment, "pins").stdout == "someone/model  c0ffee\n"
    wrong = run(environment, "pins", "--forget", "someone/else")
    assert wrong.stderr.strip() == "sl-assets: --forget someone/else: not pinned here; pinned are someone/model"
    assert run(environment, "pins", "--forget", "someone/model").stdout == ""
    assert pinned(lake, "someone/model") is None


def test_two_commands_at_once_make_each_partition_once(
    environment: dict[str, str], experiment_folder: Callable[..., Path]
) -> None:
    environment["SL_EXPERIMENTS"] = str(experiment_folder())
    # A fresh home is set up by one alone.
    run(environment, "run", "tiny", "--through", "number_prompts")
    command = ("run", "tiny", "--animals", "owl", "--through", "lora_checkpoint")
    with ThreadPoolExecutor(2) as typing:
        both = [typing.submit(run, environment, *command) for _ in range(2)]
    assert [done.result().returncode for done in both] == [0, 0]
    with dg.DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
        runs = instance.get_runs()
        said = [entry.message for run in runs for entry in instance.all_logs(run.run_id)]
    recorded = list((Path(environment["SL_DATA_LAKE"]) / "experiment=tiny").rglob("record.json"))
    assert len(recorded) == 1 + 4 * 2
    # Whoever trains or samples says so at the end.
    trained = [line for line in said if re.match(r"lora_checkpoint \w+: 4 of 4 steps", line)]
    assert len(trained) == 2
    sampled = [line for line in said if re.match(r"raw_dataset \w+: 48 of 48 rows", line)]
    assert len(sampled) == 2


def test_a_taken_port_is_one_line_and_starts_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run(environment, "ui", "--port", str(port))
    assert done.returncode == 1
    assert done.stderr.strip() == (
        f"sl-assets: --port {port}: address already in use on 127.0.0.1; if a UI runs there, open "
        f"http://127.0.0.1:{port}, else choose another port, as --port {port + 1}"
    )
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["dagster.yaml"]


def test_the_version_is_that_of_the_package(environment: dict[str, str]) -> None:
    assert run(environment, "--version").stdout == f"sl_assets {version('sl_assets')}\n"


def test_columns_that_a_statement_names_twice_are_told_apart(environment: dict[str, str]) -> None:
    assert run(environment, "sql", "SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS a", "--csv").stdout.split() == [
        "a,a_2,a_1,a_3",
        "1,2,3,4",
    ]


def test_what_another_run_is_making_does_not_hold_up_the_rest(
    environment: dict[str, str], experiment_folder: Callable[..., Path]
) -> None:
    """Neutral and wolf are no neighbours, so they are two runs: that of wolf comes first while neutral is held."""
    environment["SL_EXPERIMENTS"] = str(experiment_folder())
    assert run(environment, "run", "tiny", "--through", "number_prompts").returncode == 0
    lake = Lake(environment["SL_DATA_LAKE"])
    wolf = Place("tiny", "teacher_checkpoint", "wolf")
    command = ("run", "tiny", "--animals", "wolf", "--through", "teacher_checkpoint")
    with ThreadPoolExecutor(1) as typing:
        with lake.making(Place("tiny", "teacher_checkpoint", "neutral")):
            done = typing.submit(run, environment, *command)
            last = time.monotonic() + 60
            while not lake.exists(wolf) and time.monotonic() < last:
                time.sleep(0.1)
            assert lake.exists(wolf)
            assert not done.done()
        assert done.result(timeout=60).stdout.splitlines()[0].endswith("neutral, wolf")


LARGE = "SELECT range AS i, 'text ' || range AS text FROM range(10_000_000_000)"


def test_a_large_result_begins_at_once_and_ends_quietly_with_its_reader(environment: dict[str, str]) -> None:
    with subprocess.Popen(
        [*COMMAND, "sql", "--csv", LARGE], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        assert [process.stdout.readline() for _ in range(2)] == ["i,text\n", "0,text 0\n"]
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 1


@pytest.mark.parametrize("statement", [LARGE, "SELECT count(*) FROM range(1_000_000) a, range(1_000_000) b"])
def test_a_query_that_is_interrupted_ends_in_one_line(environment: dict[str, str], statement: str) -> None:
    flag = Path(environment["SL_DATA_LAKE"]).parent / "started.csv"
    with subprocess.Popen(
        [*COMMAND, "sql", f"COPY (SELECT 1) TO '{flag}'; {statement}"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        while not flag.exists():
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.stderr
        assert process.stderr.read().strip() == "sl-assets: interrupted"
        assert process.wait(timeout=60) == 130


def test_a_table_says_how_many_rows_it_leaves_out(environment: dict[str, str]) -> None:
    lines = run(environment, "sql", "SELECT range AS i, [range] AS l FROM range(13_345)").stdout.splitlines()
    assert lines[-2].split() == ["|", "999", "|", "[999]", "|"]
    assert lines[-1] == "... and 12,345 more: add LIMIT, or --csv for all"
    assert len(lines) == 2 + 1_000 + 1
