"""What ``deploy/docker`` names is there, listens where it says, and runs; no image is built, nor a container begun."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from packaging.requirements import Requirement

from sl_assets.config import PROJECT
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.orchestration.gpu_pool import require_whole_runs
from sl_assets.orchestration.run_processes import process_tags
from sl_assets_tests.dagster_ui import ended, free_port, launch_backfill, wait_until
from sl_assets_tests.postgres_server import needs_postgres, postgres_server
from sl_assets_tests.s3_server import s3_server

FOLDER = PROJECT / "deploy" / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
GPUS: dict[str, Any] = yaml.safe_load((FOLDER / "compose.gpu.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
OURS = {name for name, service in SERVICES.items() if "build" in service}


def variables(text: str, pattern: str) -> set[str]:
    return set(re.findall(pattern, text, re.MULTILINE))


def test_every_file_that_compose_mounts_or_builds_is_there() -> None:
    for name in OURS:
        built = SERVICES[name]["build"]
        context = (FOLDER / built["context"]).resolve()
        assert context == PROJECT
        assert (context / built["dockerfile"]).is_file()
    for service in SERVICES.values():
        for mounted in service.get("volumes", []):
            source, target, *mode = mounted.split(":")
            if source.startswith("."):
                assert (FOLDER / source).is_file()
                assert mode == ["ro"]
                assert Path(target).is_absolute()
            else:
                assert source in COMPOSE["volumes"], "what outlives a container has a name"


def test_lake_and_logs_share_a_bucket_and_no_folder() -> None:
    its, logs = SERVICES["code"]["environment"], home_settings()["compute_logs"]["config"]
    bucket, _, folder = its["SL_DATA_LAKE"].removeprefix("s3://").partition("/")
    assert bucket == its["SL_LOGS_BUCKET"]
    assert f"makedirs('{bucket}'" in SERVICES["bucket"]["command"][-1]
    assert logs["prefix"].partition("/")[0] != folder


def test_every_variable_is_in_the_example_and_no_secret_in_any_file() -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in FOLDER.glob("*.yaml"))
    example = (FOLDER / ".env.example").read_text(encoding="utf-8")
    # A secret without a value is refused, and none has one here.
    assert variables(text, r"\$\{(\w+):\?") == variables(text, r"\$\{?(\w+)") == variables(example, r"^(\w+)=")
    assert variables(example, r"^(\w*(?:PASSWORD|SECRET)\w*)=$") == {"POSTGRES_PASSWORD", "AWS_SECRET_ACCESS_KEY"}
    assert subprocess.run(["git", "check-ignore", "-q", FOLDER / ".env"], cwd=PROJECT, check=False).returncode == 0


def test_nothing_but_the_ui_is_reached_from_outside_and_that_from_this_machine() -> None:
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "webserver": ["127.0.0.1:3000:3000"]
    }
    assert SERVICES["webserver"]["environment"]["SL_UI_NAMES"] == "localhost", "others' pages are refused"


def test_services_wait_for_one_another_and_say_whether_they_are_well() -> None:
    for name, service in SERVICES.items():
        assert ("healthcheck" in service) == (service["restart"] != "no"), name
        for needed, state in service.get("depends_on", {}).items():
            healthy = state["condition"] == "service_healthy"
            assert healthy == ("healthcheck" in SERVICES[needed]), "another condition would wait for ever"


def test_images_are_pinned() -> None:
    for name, service in SERVICES.items():
        image, _, tag = service["image"].rpartition(":")
        assert image
        assert tag != "latest"
        assert name in OURS or re.search(r"\d+\.\d+", tag)
    (base,) = re.findall(r"^FROM (python\S+)", DOCKERFILE, re.MULTILINE)
    assert base == "python:3.12-slim-bookworm", "the Python that constraints-gpu.txt is of"


def test_the_location_is_where_workspace_and_daemon_look() -> None:
    workspace = yaml.safe_load((FOLDER / "workspace.yaml").read_text(encoding="utf-8"))
    (server,) = (entry["grpc_server"] for entry in workspace["load_from"])
    assert server["location_name"] == "sl_assets"
    assert f"--port {server['port']} --module-name sl_assets.definitions" in SERVICES[server["host"]]["command"][-1]
    for name in ("webserver", "daemon"):
        assert "./workspace.yaml:/opt/sl_assets/workspace.yaml:ro" in SERVICES[name]["volumes"]
    assert set(GPUS["services"]) == {server["host"]}, "runs are processes of the location"


def test_a_new_container_of_the_location_knows_the_runs_of_the_one_before(tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        process_tags(instance, "run")
    (folder,) = {lock.parent.relative_to(tmp_path) for lock in tmp_path.rglob("*.lock")}
    kept = f"/opt/dagster/dagster_home/{folder}"
    (named,) = (mounted for mounted in SERVICES["code"]["volumes"] if mounted.endswith(f":{kept}"))
    assert not named.startswith("."), "a volume, which has the owner that the image's folder has"
    assert re.search(rf"--owner=1000 .*{re.escape(kept)}\b", DOCKERFILE)


def test_the_image_has_what_is_installed_and_nothing_else() -> None:
    allowed = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert allowed[0] == "*"
    copied = [source for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE) for source in line.split()[:-1]]
    assert {f"!{source}" for source in copied} == {line for line in allowed[1:] if line[0] == "!"}
    assert all((PROJECT / source).exists() for source in copied)
    assert not any(fnmatch(name, source) for name in (".env", "data_lake") for source in copied)
    stages = re.findall(r"^FROM \S+ AS (\w+)$", DOCKERFILE, re.MULTILINE)
    assert GPUS["services"]["code"]["build"]["args"]["KIND"] in stages
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["1000:1000"]


@pytest.mark.parametrize("constraints", ["constraints.txt", "constraints-gpu.txt"])
def test_what_the_image_installs_is_locked(constraints: str) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extras,) = re.findall(rf"--constraint {constraints} '\.\[(.+)\]'", DOCKERFILE)
    wanted = [
        *project["dependencies"],
        *(it for name in extras.split(",") for it in project["optional-dependencies"][name]),
    ]
    locked = {Requirement(line).name.replace("_", "-") for line in (PROJECT / constraints).read_text().splitlines()}
    missing = {Requirement(line).name.replace("_", "-") for line in wanted} - locked
    assert not missing


def home_settings() -> dict[str, Any]:
    """Of the home that every service has."""
    return dict(yaml.safe_load((FOLDER / "dagster.yaml").read_text(encoding="utf-8")))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The home of the services, but for its records, which are those of ``deploy/postgres``."""
    monkeypatch.setenv("SL_LOGS_BUCKET", SERVICES["code"]["environment"]["SL_LOGS_BUCKET"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", SERVICES["code"]["environment"]["AWS_DEFAULT_REGION"])
    settings = home_settings()
    postgres = yaml.safe_load((PROJECT / "deploy" / "postgres" / "dagster.yaml").read_text(encoding="utf-8"))
    assert settings.pop("storage") == postgres["storage"]
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


def test_dagster_takes_the_settings_of_the_home(home: dg.DagsterInstance) -> None:
    require_whole_runs(home)
    assert home.run_retries_enabled
    assert not home.run_retries_retry_on_asset_or_op_failure
    assert isinstance(home.run_launcher, dg.DefaultRunLauncher)
    assert type(home.compute_log_manager).__name__ == "S3ComputeLogManager"
    assert home.managed_python_loggers == ["sl_assets"]


@needs_postgres
@pytest.mark.skipif(not os.environ.get("SL_TEST_DAEMONS"), reason="SL_TEST_DAEMONS is unset: daemons take minutes")
def test_the_services_make_a_partition_as_processes_of_this_machine(
    tmp_path: Path, experiment_folder: Callable[..., Path]
) -> None:
    # Names and ports of containers, as they are reached here.
    here = {"code": "127.0.0.1", "0.0.0.0": "127.0.0.1", "localhost": "127.0.0.1"}
    ports = {"3000": str(free_port()), "4000": str(free_port())}

    def moved(text: str) -> str:
        names = "|".join(re.escape(name) for name in here | ports)
        return re.sub(rf"(?<![\w.-])({names})(?![\w.-])", lambda found: (here | ports)[found[0]], text)

    def command(words: list[str]) -> list[str]:
        first = {"dagster-webserver": [sys.executable, "-m", "sl_assets.cli.webserver"], "python": [sys.executable]}
        return [*first.get(words[0], [words[0]]), *(moved(word) for word in words[1:])]

    def environment(name: str) -> dict[str, str]:
        home = tmp_path / name
        home.mkdir(exist_ok=True)
        shutil.copyfile(FOLDER / "dagster.yaml", home / "dagster.yaml")
        (home / "workspace.yaml").write_text(moved((FOLDER / "workspace.yaml").read_text(encoding="utf-8")))
        its = SERVICES[name]["environment"] | {"DAGSTER_HOME": str(home), "DAGSTER_POSTGRES_URL": url}
        paths = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(PROJECT)}
        return os.environ | its | paths | {"AWS_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"]}

    def run(name: str, words: list[str]) -> int:
        return subprocess.run(
            command(words), env=environment(name), cwd=tmp_path / name, check=False, capture_output=True
        ).returncode

    def start(name: str) -> None:
        its = environment(name) | ({"SL_EXPERIMENTS": str(experiment_folder())} if name == "code" else {})
        process = subprocess.Popen(command(SERVICES[name]["command"]), env=its, cwd=tmp_path / name)
        stack.callback(process.wait, 60)
        stack.callback(process.terminate)
        check = SERVICES[name]["healthcheck"]["test"][1:]
        wait_until(lambda: process.poll() is not None or run(name, check) == 0, seconds=180)
        assert process.poll() is None, name

    with s3_server("other"), postgres_server() as url, ExitStack() as stack:
        assert run("bucket", SERVICES["bucket"]["command"]) == 0
        for name in ("code", "webserver", "daemon"):
            start(name)
        backfill = launch_backfill(int(ports["3000"]), ["tiny/teacher_checkpoint"], ["owl"])
        assert ended(int(ports["3000"]), backfill, seconds=180) == "COMPLETED_SUCCESS"
        lake = Lake(SERVICES["code"]["environment"]["SL_DATA_LAKE"])
        assert lake.record(Place("tiny", "teacher_checkpoint", "owl"))
        logs = lake.root.parent / home_settings()["compute_logs"]["config"]["prefix"]
        assert list(logs.glob("**/*.err")), "what steps print is where the web server reads it"


def has_compose() -> bool:
    command = ["docker", "compose", "version"]
    return bool(shutil.which("docker")) and subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(not has_compose(), reason="docker compose is not installed")
@pytest.mark.parametrize("files", [["compose.yaml"], ["compose.yaml", "compose.gpu.yaml"]], ids=["cpu", "gpu"])
def test_compose_takes_the_files(files: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "deploy" / "docker"
    shutil.copytree(FOLDER, folder)
    (folder / ".env").write_text("POSTGRES_PASSWORD=a\nAWS_ACCESS_KEY_ID=b\nAWS_SECRET_ACCESS_KEY=c\n")
    named = [part for file in files for part in ("--file", file)]
    done = subprocess.run(
        ["docker", "compose", *named, "config", "--quiet"], cwd=folder, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
