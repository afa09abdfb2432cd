"""What commands find around them: where ``.env`` and its paths start, and which places a lake may be in."""

import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sl_assets_tests.cli.command import run as run_anew
from sl_assets_tests.cli.command import run_forked as run

PLAN = ("run", "pocket", "--through", "number_prompts", "--dry-run")
MAKE = PLAN[:-1]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project's folder of the test's own."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def bare(project: Path, tmp_path: Path) -> dict[str, str]:
    """Environment of a process in that project that is told nothing but by ``.env``, with a home of its own."""
    unset = ("SL_DATA_LAKE", "SL_EXPERIMENTS", "DAGSTER_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    (tmp_path / "user").mkdir()
    return kept | {"SL_PROJECT": str(project), "HOME": str(tmp_path / "user")}


def only_error(environment: dict[str, str], *arguments: str) -> str:
    return error_of(run(environment, *arguments))


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("sl-assets: ")
    return line.removeprefix("sl-assets: ")


def test_relative_paths_of_env_start_at_the_project_wherever_one_stands(
    bare: dict[str, str], project: Path, tmp_path: Path, experiment_folder: Callable[..., Path]
) -> None:
    experiments = experiment_folder(numbers={"source": {"kind": "jsonl", "path": "rows/{condition}.jsonl"}})
    experiments.rename(project / "mine")
    (project / "rows").mkdir()
    for condition in ("neutral", "owl", "wolf"):
        (project / "rows" / f"{condition}.jsonl").write_text('{"prompt": "p", "completion": "1, 2"}\n')
    (project / ".env").write_text("SL_DATA_LAKE=results\nSL_EXPERIMENTS=mine\nDAGSTER_HOME=homes/mine\n")
    done = run(bare, "run", "tiny", "--through", "filtered_dataset", folder=tmp_path / "user")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in project.iterdir()) == [".env", "homes", "mine", "results", "rows"]
    assert (project / "results" / "experiment=tiny" / "raw_dataset").is_dir()
    assert (project / "homes" / "mine" / "history").is_dir()
    assert not list((tmp_path / "user").glob("[!.]*")), "but for what is kept in caches"


def test_a_tilde_is_the_users_home(bare: dict[str, str], project: Path, tmp_path: Path) -> None:
    (project / ".env").write_text("SL_DATA_LAKE=~/lake\nDAGSTER_HOME=~/dagster\n")
    assert run(bare, *MAKE).returncode == 0
    assert sorted(path.name for path in (tmp_path / "user").glob("[!.]*")) == ["dagster", "lake"]
    assert [path.name for path in project.iterdir()] == [".env"]


@pytest.mark.parametrize("content", [b"SL_DATA_LAKE=\xff\xfe", None], ids=["not text", "a folder"])
def test_an_unreadable_env_is_one_line(bare: dict[str, str], project: Path, content: bytes | None) -> None:
    file = project / ".env"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    said = only_error(bare, "check")
    assert said.startswith(f"{file}: cannot be read (")
    assert said.endswith("); mend it, or remove it")


@pytest.mark.parametrize("root", ["gs://bucket/x", "az://container/x", "foo://x", "s3://", "s3:/bucket/x", "s3:///x"])
def test_where_a_lake_cannot_be_is_told_with_where_it_can(environment: dict[str, str], root: str) -> None:
    assert only_error(environment | {"SL_DATA_LAKE": root}, *PLAN) == (
        f"SL_DATA_LAKE = {root!r}: a lake is in a folder, or in s3://bucket/prefix; name one of these"
    )


def test_a_lake_may_be_named_by_the_address_of_a_folder(environment: dict[str, str], tmp_path: Path) -> None:
    assert run(environment | {"SL_DATA_LAKE": f"file://{tmp_path}/there"}, *MAKE).returncode == 0
    assert (tmp_path / "there" / "experiment=pocket").is_dir()


def test_s3_without_its_library_says_what_to_install(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\nfind = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 's3fs' else find(name, *rest)\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    # Only an interpreter that starts reads that.
    assert error_of(run_anew(environment | {"SL_DATA_LAKE": "s3://bucket/x", "PYTHONPATH": path}, *PLAN)) == (
        "SL_DATA_LAKE = 's3://bucket/x': s3fs is not installed here; pip install -e '.[s3]'"
    )


def test_an_s3_server_that_is_down_is_one_line_at_once(environment: dict[str, str]) -> None:
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{asking.getsockname()[1]}"
    environment |= {
        "SL_DATA_LAKE": "s3://bucket/lake",
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    started = time.monotonic()
    assert only_error(environment, *PLAN) == (
        f"SL_DATA_LAKE = 's3://bucket/lake': nobody answers at {address} (connection refused); try again when somebody "
        "does, or set SL_DATA_LAKE to another place"
    )
    assert time.monotonic() - started < 20, "its client alone would try for minutes"
