"""The package without its checkout: whatever it makes is where the user stands, and nothing is in site-packages."""

import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from sl_assets.config import PROJECT
from sl_assets.experiments import find_experiments
from sl_assets_tests.cli.command import COMMAND, run
from sl_assets_tests.dagster_ui import answers, ask, free_port, wait_until


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the built package is unpacked, as pip does."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site-packages")
    shutil.copytree(PROJECT / "sl_assets", source / "sl_assets", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,) = source.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    return site


@pytest.fixture
def installed(site: Path) -> dict[str, str]:
    """Environment of a process that has the package from `site`, and nothing that says where results go."""
    unset = ("SL_PROJECT", "SL_DATA_LAKE", "SL_EXPERIMENTS", "DAGSTER_HOME")
    return {name: value for name, value in os.environ.items() if name not in unset} | {"PYTHONPATH": str(site)}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Where the user stands."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def contents(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if "__pycache__" not in path.parts)


def test_results_and_runs_are_kept_where_the_user_stands(installed: dict[str, str], here: Path, site: Path) -> None:
    before = contents(site)
    checked = run(installed, "check", folder=here)
    assert "pocket: pocket, 16 animals" in checked.stdout
    planned = run(installed, "run", "pocket", "--dry-run", folder=here)
    assert planned.returncode == 0, planned.stderr
    assert not list(here.iterdir())
    made = run(installed, "run", "pocket", "--through", "number_prompts", folder=here)
    assert made.returncode == 0, made.stderr
    assert f"{here}/.dagster/dagster.yaml: written" in made.stderr
    assert (here / "data_lake" / "experiment=pocket" / "number_prompts" / "data.parquet").is_file()
    assert (here / ".dagster" / "history").is_dir()
    assert contents(site) == before


def test_env_is_read_from_where_the_user_stands(installed: dict[str, str], here: Path) -> None:
    (here / ".env").write_text("SL_DATA_LAKE=results\nDAGSTER_HOME=homes/mine\n")
    made = run(installed, "run", "pocket", "--through", "number_prompts", folder=here)
    assert made.returncode == 0, made.stderr
    assert sorted(path.name for path in here.iterdir()) == [".env", "homes", "results"]
    assert (here / "homes" / "mine" / "history").is_dir()


@pytest.fixture
def ui(installed: dict[str, str], here: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """A UI that answers, and its port."""
    port = free_port()
    command = [*COMMAND, "ui", "--port", str(port)]
    with subprocess.Popen(command, cwd=here, env=installed, stdout=subprocess.PIPE, text=True) as process:
        wait_until(lambda: answers(port), seconds=90)
        yield process, port
        process.kill()


def loaded(port: int) -> list[str]:
    """Code locations of the UI, each with its groups of assets."""
    nodes = ask(port, "{ assetNodes { groupName repository { location { name } } } }")["assetNodes"]
    return sorted({f"{node['repository']['location']['name']}/{node['groupName']}" for node in nodes})


def test_one_home_has_one_ui_which_ends_with_its_command(
    ui: tuple["subprocess.Popen[str]", int], installed: dict[str, str], here: Path
) -> None:
    process, port = ui
    assert process.stdout
    assert (
        process.stdout.readline() == f"UI     http://127.0.0.1:{port}   (ready in about ten seconds; Ctrl-C ends it)\n"
    )
    assert loaded(port) == sorted(f"sl_assets/{name}" for name in find_experiments().loaded)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/graphql?query=%7Bversion%7D")
    second = run(installed, "ui", "--port", str(free_port()), folder=here)
    assert second.returncode == 1
    assert second.stderr == (
        f"sl-assets: a UI of {here}/.dagster runs already: open http://127.0.0.1:{port}, or end it first; "
        "another DAGSTER_HOME has a UI of its own\n"
    )
    process.send_signal(signal.SIGKILL)
    lock = FileLock(here / ".dagster" / "ui.lock")
    lock.acquire(timeout=60)
    lock.release()
    assert not answers(port)
