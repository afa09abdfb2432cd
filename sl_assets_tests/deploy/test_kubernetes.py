"""The pod that a run gets on Kubernetes: what the real launcher asks a cluster for, with the values of ``deploy``."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin

from sl_assets.config import PROJECT
from sl_assets.orchestration.dagster_internals import note_code_location
from sl_assets_tests.conftest import Bench

pytest.importorskip("dagster_k8s", reason="dagster-k8s is not installed: pip install -e '.[kubernetes]'")

FILE = PROJECT / "deploy" / "kubernetes" / "values.yaml"
VALUES: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
(CODE,) = VALUES["dagster-user-deployments"]["deployments"]
LAUNCHER = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
IMAGE = "{repository}:{tag}".format(**CODE["image"])
NAMESPACE = "lab"


class Cluster:
    """As much of a cluster's API on loopback as accepts a job; what it accepted, the last one last."""

    def __init__(self, folder: Path) -> None:
        self.jobs: list[dict[str, Any]] = []
        accepted = self.jobs

        class Api(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path.partition("?")[0] == f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
                body = self.rfile.read(int(self.headers["Content-Length"]))
                accepted.append(json.loads(body))
                self.send_response(201)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Api)
        self.kubeconfig = folder / "kubeconfig"
        named = {"cluster": "here", "user": "me"}
        config = {
            "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{self.server.server_port}"}}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "here", "context": named}],
            "current-context": "here",
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    there = Cluster(tmp_path)
    Thread(target=there.server.serve_forever, daemon=True).start()
    yield there
    there.server.shutdown()
    there.server.server_close()


def snake(name: str) -> str:
    """``name`` as the chart writes it into ``dagster.yaml``."""
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()


def launcher_settings() -> dict[str, Any]:
    """What the chart makes of `LAUNCHER`."""
    settings = {snake(name): value for name, value in LAUNCHER.items()}
    settings["run_k8s_config"] = {snake(name): value for name, value in settings["run_k8s_config"].items()}
    return settings | {
        "job_namespace": NAMESPACE,
        "service_account_name": "sl-assets-dagster",
        "dagster_home": "/opt/dagster/dagster_home",
        "instance_config_map": "sl-assets-dagster-instance",
        "postgres_password_secret": VALUES["global"]["postgresqlSecretName"],
    }


def context_of_location() -> dict[str, Any]:
    """What the chart hands on of `CODE` to its runs."""
    return {
        "image_pull_policy": CODE["image"]["pullPolicy"],
        "env_secrets": [secret["name"] for secret in CODE["envSecrets"]],
        "env": CODE["env"],
        "namespace": NAMESPACE,
    }


def settings_of_queue() -> dict[str, str]:
    chosen = VALUES["dagsterDaemon"]["runCoordinator"]["config"]["customRunCoordinator"]
    return {"module": chosen["module"], "class": chosen["class"]}


@pytest.fixture
def instance(tmp_path: Path, cluster: Cluster) -> Iterator[dg.DagsterInstance]:
    """A home whose queue and launcher are those of the values."""
    home = tmp_path / "home"
    home.mkdir()
    reached = {"load_incluster_config": False, "kubeconfig_file": str(cluster.kubeconfig)}
    launcher = {"module": "dagster_k8s", "class": "K8sRunLauncher", "config": launcher_settings() | reached}
    settings = {"run_launcher": launcher, "run_coordinator": settings_of_queue()}
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def launched(bench: Bench, instance: dg.DagsterInstance, cluster: Cluster, asset: str, **changes: Any) -> Any:
    """The job that a run of ``asset`` becomes, launched from the UI and taken from the queue."""
    job = bench.definitions(**changes).resolve_implicit_global_asset_job_def()
    origin = JobPythonOrigin(
        job.name,
        RepositoryPythonOrigin(
            executable_path="python",
            code_pointer=ModuleCodePointer("sl_assets.definitions", "defs"),
            container_image=IMAGE,
            container_context={"k8s": context_of_location()},
        ),
    )
    chosen = job.get_subset(asset_selection={dg.AssetKey(["tiny", asset])})
    run = instance.create_run_for_job(chosen, job_code_origin=origin)
    note_code_location(instance, run)
    located = instance.get_run_by_id(run.run_id)
    assert located
    instance.run_coordinator.submit_run(dg.SubmitRunContext(located, workspace=None))  # type: ignore[arg-type]
    instance.launch_run(run.run_id, workspace=None)  # type: ignore[arg-type]
    assert cluster.jobs[-1]["metadata"]["name"] == f"dagster-run-{run.run_id}"
    return cluster.jobs[-1]["spec"]["template"]["spec"]


def test_a_run_with_a_model_gets_gpus_of_its_kind(bench: Bench, instance: dg.DagsterInstance, cluster: Cluster) -> None:
    sampler = {"engine": "vllm", "gpus": 2, "gpu_kind": "NVIDIA-H100-80GB-HBM3", "batch": 16}
    pod = launched(bench, instance, cluster, "raw_dataset", sampler=sampler)
    (container,) = pod["containers"]
    assert container["resources"] == {"limits": {"nvidia.com/gpu": "2"}, "requests": LAUNCHER["resources"]["requests"]}
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    assert [taint["key"] for taint in pod["tolerations"]] == ["nvidia.com/gpu"]


def test_a_run_without_a_model_gets_none_and_keeps_off_their_nodes(
    bench: Bench, instance: dg.DagsterInstance, cluster: Cluster
) -> None:
    pod = launched(bench, instance, cluster, "filtered_dataset", sampler={"gpu_kind": "H100", "batch": 16})
    (container,) = pod["containers"]
    assert container["resources"] == {"limits": {"nvidia.com/gpu": "0"}, "requests": LAUNCHER["resources"]["requests"]}
    assert "nodeSelector" not in pod
    assert "tolerations" not in pod


def test_every_run_has_the_image_the_secrets_and_shared_memory(
    bench: Bench, instance: dg.DagsterInstance, cluster: Cluster
) -> None:
    pod = launched(bench, instance, cluster, "lora_checkpoint")
    (container,) = pod["containers"]
    assert container["image"] == IMAGE
    assert container["envFrom"] == [{"secretRef": {"name": "sl-assets"}}]
    environment = {it["name"]: it.get("value") or it["valueFrom"]["secretKeyRef"]["name"] for it in container["env"]}
    wanted = {it["name"]: it["value"] for it in CODE["env"]}
    wanted |= {"DAGSTER_HOME": "/opt/dagster/dagster_home", "DAGSTER_PG_PASSWORD": "sl-assets-postgresql"}
    assert environment.items() >= wanted.items()
    assert environment["OMP_NUM_THREADS"] == container["resources"]["requests"]["cpu"]
    (mount,) = container["volumeMounts"]
    assert mount == {"name": "shared-memory", "mountPath": "/dev/shm"}
    assert pod["volumes"] == [{"name": "shared-memory", "emptyDir": {"medium": "Memory"}}]
    assert container["securityContext"]["runAsNonRoot"] is True
    assert pod["restartPolicy"] == "Never", "Dagster's records would not know of what Kubernetes begins again"


@pytest.mark.skipif(
    not (shutil.which("helm") and os.environ.get("SL_TEST_CHART")),
    reason="helm is not installed, or SL_TEST_CHART does not name a folder with Dagster's chart",
)
def test_the_chart_takes_the_values_as_they_are_read_here(tmp_path: Path) -> None:
    command = ["helm", "template", "sl-assets", os.environ["SL_TEST_CHART"], "--namespace", NAMESPACE, "--values", FILE]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    objects = {(it["kind"], it["metadata"]["name"]): it for it in yaml.safe_load_all(done.stdout) if it}
    home = yaml.safe_load(objects["ConfigMap", "sl-assets-dagster-instance"]["data"]["dagster.yaml"])
    assert home["run_launcher"]["config"] == launcher_settings() | {"load_incluster_config": True}
    assert home["run_coordinator"] == settings_of_queue() | {"config": {}}
    ray = yaml.safe_load((PROJECT / "deploy" / "ray" / "dagster.yaml").read_text(encoding="utf-8"))
    for section in ("concurrency", "run_retries", "python_logs", "telemetry", "nux"):
        assert home[section] == ray[section], section
    assert home["run_monitoring"].items() >= ray["run_monitoring"].items()
    logs = yaml.safe_load((PROJECT / "deploy" / "s3" / "compute_logs.yaml").read_text(encoding="utf-8"))
    assert home["compute_logs"]["config"].items() >= logs["compute_logs"]["config"].items()
    workspace = objects["ConfigMap", "sl-assets-dagster-workspace-yaml"]["data"]["workspace.yaml"]
    (server,) = (entry["grpc_server"] for entry in yaml.safe_load(workspace)["load_from"])
    assert server["location_name"] == "sl_assets"
    assert ("Service", server["host"]) in objects
    context = next(
        json.loads(variable["value"])["k8s"]
        for it in objects.values()
        if it["kind"] == "Deployment"
        for container in it["spec"]["template"]["spec"]["containers"]
        for variable in container["env"]
        if variable["name"] == "DAGSTER_CLI_API_GRPC_CONTAINER_CONTEXT"
    )
    assert context.items() >= context_of_location().items()
