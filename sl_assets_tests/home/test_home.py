"""Any home of Dagster gets the project's settings, and none loses its own."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import dagster as dg
import pytest
import yaml

from sl_assets import home
from sl_assets.cli.environment import home_errors_explained
from sl_assets.config import PROJECT
from sl_assets.errors import SlAssetsError
from sl_assets.home import SETTINGS, ensure_dagster_home, project_file
from sl_assets_tests.cli.command import run_forked as run

TEXT = (PROJECT / SETTINGS).read_text()


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project's folder of the test's own, and no ``DAGSTER_HOME``, now and afterwards."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.setattr("sl_assets.home.PROJECT", folder)
    monkeypatch.setattr("sl_assets.config.project.PROJECT", folder)
    monkeypatch.setenv("DAGSTER_HOME", "")
    return folder


def set_home(monkeypatch: pytest.MonkeyPatch, value: object) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(value))


@pytest.mark.parametrize("name", [SETTINGS, "workspace.yaml"])
def test_what_the_package_brings_is_what_the_checkout_has(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert project_file(name) == PROJECT / name
    monkeypatch.setattr("sl_assets.home.CHECKOUT", None)
    assert project_file(name) == Path(home.__file__).parent / name
    assert project_file(name).read_text() == (PROJECT / name).read_text()


def test_without_a_home_it_is_in_the_projects_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = ensure_dagster_home()
    assert said == f"{project}/.dagster/dagster.yaml: written, with the project's settings for Dagster"
    assert os.environ["DAGSTER_HOME"] == str(project / ".dagster")
    assert ensure_dagster_home() == ""
    with dg.DagsterInstance.get() as instance:
        assert not instance.telemetry_enabled
    monkeypatch.delenv("DAGSTER_HOME")
    assert ensure_dagster_home() == ""
    assert os.environ["DAGSTER_HOME"] == str(project / ".dagster")


def test_a_relative_home_starts_at_the_projects_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_home(monkeypatch, "homes/mine")
    ensure_dagster_home()
    assert os.environ["DAGSTER_HOME"] == str(project / "homes" / "mine")
    assert yaml.safe_load((project / "homes" / "mine" / SETTINGS).read_text()) == yaml.safe_load(TEXT)


def test_a_home_may_be_below_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    set_home(monkeypatch, "~/mine")
    ensure_dagster_home()
    assert os.environ["DAGSTER_HOME"] == str(tmp_path / "mine")


def test_settings_that_were_edited_stay_and_others_are_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_home(monkeypatch, tmp_path / "home")
    file = tmp_path / "home" / SETTINGS
    ensure_dagster_home()
    newer = tmp_path / "newer.yaml"
    newer.write_text(TEXT + "# newer\n")
    monkeypatch.setattr("sl_assets.home.project_file", lambda _: newer)
    assert ensure_dagster_home() == f"{file}: brought up to date, with the project's settings for Dagster"
    assert file.read_text().endswith("# newer\n")
    file.write_text(edited := file.read_text() + "# mine\n")
    newer.write_text(TEXT + "# newer still\n")
    assert ensure_dagster_home() == ""
    assert file.read_text() == edited


def test_what_former_versions_wrote_counts_as_unedited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    former = "telemetry: {enabled: false}\n"
    monkeypatch.setattr("sl_assets.home.FORMER", (sha256(former.encode()).hexdigest(),))
    set_home(monkeypatch, tmp_path)
    (tmp_path / SETTINGS).write_text(former)
    assert "brought up to date" in ensure_dagster_home()
    assert (tmp_path / SETTINGS).read_text().endswith(TEXT)


def test_settings_under_which_runs_disturb_one_another_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = yaml.safe_load(TEXT)["concurrency"]["pools"]["granularity"]
    other = "run" if wanted == "op" else "op"
    set_home(monkeypatch, tmp_path)
    (tmp_path / SETTINGS).write_text(f"concurrency: {{pools: {{granularity: {other}}}}}\n")
    with pytest.raises(SlAssetsError) as caught:
        ensure_dagster_home()
    assert str(caught.value) == (
        f"{tmp_path}/dagster.yaml: concurrency.pools.granularity is {other} (so it is where nothing is said); "
        f"set it to {wanted}, or runs may wait for each other for ever"
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [("concurrency: [", "cannot be read"), ("concurrency: \xff", "cannot be read"), ("telemetry: 3\n", "telemetry")],
    ids=["not YAML", "not text", "not Dagster's"],
)
def test_settings_that_cannot_be_read_are_one_line(
    environment: dict[str, str], content: str, problem: str, tmp_path: Path
) -> None:
    file = tmp_path / "home" / SETTINGS
    file.write_bytes((TEXT.replace("telemetry:\n  enabled: false\n", "") + content).encode("latin-1"))
    done = run(environment, "run", "pocket", "--through", "number_prompts")
    assert done.returncode == 1
    assert done.stderr.startswith(f"sl-assets: {file}: ")
    assert problem in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("file", "is no folder"),
        ("file/below", "is no folder"),
        # Where not even root may write.
        ("/sys/kernel", ""),
    ],
)
def test_a_home_that_cannot_be_used_is_one_line(
    environment: dict[str, str], tmp_path: Path, named: str, reason: str
) -> None:
    (tmp_path / "file").write_text("")
    place = tmp_path / named
    done = run(environment | {"DAGSTER_HOME": str(place)}, "run", "pocket", "--through", "number_prompts")
    assert done.returncode == 1
    assert done.stderr.startswith(f"sl-assets: cannot keep Dagster's runs in {place}: {reason}")
    assert done.stderr.endswith("; set DAGSTER_HOME to a folder that can be written\n")
    assert len(done.stderr.splitlines()) == 1


def test_runs_that_another_process_locks_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where that comes in the middle of a run."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        instance.get_runs()
        with closing(sqlite3.connect(tmp_path / "history" / "runs.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with (
                pytest.raises(SlAssetsError, match=r"cannot be used \(database is locked\); mend that") as error,
                home_errors_explained(),
            ):
                instance.add_run(dg.DagsterRun("job"))
    assert "\n" not in str(error.value)


def test_records_of_runs_that_are_damaged_are_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    runs = tmp_path / "home" / "history" / "runs.db"
    runs.parent.mkdir()
    runs.write_text("no database" * 1000)
    done = run(environment, "run", "pocket", "--through", "number_prompts")
    assert done.returncode == 1
    assert "Dagster's records of its runs cannot be used (file is not a database)" in done.stderr
    assert len(done.stderr.splitlines()) == 1
