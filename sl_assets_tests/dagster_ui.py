"""Dagster's real UI and daemon, as ``sl-assets ui`` starts them, and questions to it as a browser would ask them."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from sl_assets_tests.cli.command import COMMAND

BACKFILL = """
mutation Launch($parameters: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $parameters) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
"""Launches a backfill of some partitions of some assets."""

BACKFILL_STATUS = (
    "query Status($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"
)
"""How a backfill stands."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def wait_until(true: Callable[[], bool], seconds: float) -> None:
    """Look twice a second; fails when that many have passed."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.5)


def answers(port: int) -> bool:
    """Whether a UI is there."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def ask(port: int, query: str, **variables: Any) -> dict[str, Any]:
    """What GraphQL answers; fails on errors."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    asking = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asking, timeout=60) as answer:
            said: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as refused:
        said = {"errors": refused.read().decode()}
    assert "errors" not in said, said
    return dict(said["data"])


def launch_backfill(port: int, assets: Sequence[str], partitions: Sequence[str]) -> str:
    """Ask for ``partitions`` of ``assets`` (``experiment/table``) as the page of assets does; the backfill's id."""
    keys = [{"path": asset.split("/")} for asset in assets]
    parameters = {"assetSelection": keys, "partitionNames": list(partitions)}
    launched = ask(port, BACKFILL, parameters=parameters)["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    return str(launched["backfillId"])


def ended(port: int, backfill: str, seconds: float) -> str:
    """The status in which a backfill ends."""

    def status() -> str:
        return str(ask(port, BACKFILL_STATUS, id=backfill)["partitionBackfillOrError"]["status"])

    wait_until(lambda: status() not in ("REQUESTED", "CANCELING"), seconds)
    return status()


@contextmanager
def running_ui(environment: Mapping[str, str]) -> Iterator[int]:
    """A UI with its daemon that answers, at the port yielded; afterwards all its processes are gone."""
    port = free_port()
    with subprocess.Popen([*COMMAND, "ui", "--port", str(port)], env=dict(environment)) as process:
        try:
            wait_until(lambda: answers(port), seconds=120)
            yield port
        finally:
            family = []
            # It may have been killed, and be gone.
            with suppress(psutil.NoSuchProcess):
                family = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            _, left = psutil.wait_procs(family, timeout=40)
            for one in left:
                one.kill()
