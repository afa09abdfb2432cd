"""A Ray cluster on this machine, as ``deploy/ray/local.sh`` starts it, and what its nodes are busy with."""

import json
import signal
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psutil

from sl_assets.config import PROJECT
from sl_assets_tests.dagster_ui import free_port, wait_until


@dataclass(frozen=True)
class RayCluster:
    """A cluster that runs.

    Attributes:
        address: of its dashboard, as `RAY_ADDRESS` names it.
        starter: the process whose children are the nodes.
    """

    address: str
    starter: psutil.Process

    def nodes(self) -> dict[str, dict[str, Any]]:
        """Nodes that are alive by name, as the dashboard has them."""
        with urllib.request.urlopen(f"{self.address}/nodes?view=summary", timeout=10) as answer:
            found = [node["raylet"] for node in json.load(answer)["data"]["summary"]]
        return {node["nodeName"]: node for node in found if node.get("state") == "ALIVE"}

    def has(self, nodes: int) -> bool:
        """Whether so many are alive."""
        try:
            return len(self.nodes()) == nodes
        except OSError:
            return False

    def jobs(self) -> list[dict[str, Any]]:
        """Jobs that were submitted, with the status and the node of each."""
        with urllib.request.urlopen(f"{self.address}/api/jobs/", timeout=10) as answer:
            return [job for job in json.load(answer) if job["type"] == "SUBMISSION"]

    def kill(self, node: str) -> None:
        """End a node as a machine ends whose power fails: none of its processes is asked."""
        (root,) = (one for one in self.starter.children() if f"--node-name={node}" in one.cmdline())
        family = [root, *root.children(recursive=True)]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(family, timeout=10)


@contextmanager
def running_cluster(nodes: int, gpus: int, environment: Mapping[str, str]) -> Iterator[RayCluster]:
    """A cluster of so many nodes with so many GPUs each; afterwards all its processes are gone."""
    port, dashboard = free_port(), free_port()
    its = {**environment, "PORT": str(port), "DASHBOARD_PORT": str(dashboard)}
    command = ["sh", str(PROJECT / "deploy" / "ray" / "local.sh"), str(nodes), str(gpus)]
    with subprocess.Popen(command, env=its, stdout=subprocess.DEVNULL) as starter:
        cluster = RayCluster(f"http://127.0.0.1:{dashboard}", psutil.Process(starter.pid))
        try:
            wait_until(lambda: starter.poll() is not None or cluster.has(nodes), seconds=300)
            assert starter.poll() is None, "the cluster has ended"
            yield cluster
        finally:
            family = cluster.starter.children(recursive=True) if starter.poll() is None else []
            starter.terminate()
            _, left = psutil.wait_procs(family, timeout=20)
            for process in left:
                process.kill()
