"""Schedule, sensors and backfills switched on for real, in the UI with its daemon."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets_tests.conftest import imported_numbers
from sl_assets_tests.dagster_ui import ask, ended, launch_backfill, running_ui, wait_until

pytestmark = pytest.mark.skipif(
    not os.environ.get("SL_TEST_DAEMONS"), reason="SL_TEST_DAEMONS is unset: daemons take minutes"
)

WHERE = {"repositoryName": "__repository__", "repositoryLocationName": "sl_assets"}
START_SCHEDULE = """mutation Start($selector: ScheduleSelector!) {
  startSchedule(scheduleSelector: $selector) { __typename ... on PythonError { message } }
}"""
STOP_SCHEDULE = """mutation Stop($id: String!) { stopRunningSchedule(id: $id) { __typename } }"""
START_SENSOR = """mutation Start($selector: SensorSelector!) {
  startSensor(sensorSelector: $selector) { __typename ... on PythonError { message } }
}"""
TICKS = """query Ticks($selector: InstigationSelector!) {
  instigationStateOrError(instigationSelector: $selector) { ... on InstigationState {
    id ticks(limit: 20) { status skipReason runIds error { message } logKey }
  } }
}"""
NODES = "{ assetNodes { assetKey { path } } }"
RUNS = "{ runsOrError { ... on Runs { results { runId status tags { key value } assetSelection { path } } } } }"

KEYED = ("raw_dataset", "filtered_dataset", "lora_checkpoint", "evaluation", "preference_rates")


class Daemons:
    """A UI that runs, seen from outside."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ticks(self, name: str) -> list[dict[str, Any]]:
        """Ticks of a schedule or sensor, the newest first."""
        found = ask(self.port, TICKS, selector={"name": name, **WHERE})["instigationStateOrError"]
        assert not [tick for tick in found["ticks"] if tick["error"]], found
        return list(found["ticks"])

    def skipped(self, name: str, reason: str) -> bool:
        """Whether one of its last two ticks asked for nothing, for ``reason``."""
        return any(reason in (tick["skipReason"] or "") for tick in self.ticks(name)[:2])

    def schedule(self) -> str:
        """The id by which the schedule is stopped."""
        found = ask(self.port, TICKS, selector={"name": "tiny_schedule", **WHERE})["instigationStateOrError"]
        return str(found["id"])

    def assets(self) -> list[str]:
        """Keys of all that a whole graph has, as the UI selects them."""
        paths = [node["assetKey"]["path"] for node in ask(self.port, NODES)["assetNodes"]]
        return ["/".join(path) for path in paths if path[0] == "tiny" and path[-1] != "experiment_report"]

    def unfinished(self) -> list[str]:
        """Runs that have not ended."""
        return [name for name, one in self.runs().items() if one["status"] not in ("SUCCESS", "FAILURE", "CANCELED")]

    def runs(self) -> dict[str, dict[str, Any]]:
        """All runs, by their ids."""
        found = ask(self.port, RUNS)["runsOrError"]["results"]
        return {one["runId"]: one | {"tags": {tag["key"]: tag["value"] for tag in one["tags"]}} for one in found}


def made(lake: Lake, animals: tuple[str, ...]) -> dict[Place, str]:
    """The run that made each partition of the experiment."""
    places = [Place("tiny", name, animal) for name in KEYED for animal in animals]
    alone = ("baseline_evaluation", "baseline_preference_rates", "transfer", "preference_chart")
    places += [Place("tiny", name) for name in alone]
    return {place: record.run_id for place in places if (record := lake.record(place))}


def test_schedule_sensor_and_backfill(
    environment: dict[str, str], experiment_folder: Callable[..., Path], tmp_path: Path
) -> None:
    numbers = imported_numbers(tmp_path)
    settings = {"numbers": numbers, "schedule": "* * * * *", "partitions_per_run": 2}
    environment["SL_EXPERIMENTS"] = str(experiment_folder(**settings))
    lake, animals = Lake(environment["SL_DATA_LAKE"]), ("neutral", "owl", "wolf")
    with running_ui(environment) as port:
        daemons = Daemons(port)
        started = ask(port, START_SCHEDULE, selector={"scheduleName": "tiny_schedule", **WHERE})
        assert started["startSchedule"]["__typename"] == "ScheduleStateResult", started
        wait_until(lambda: daemons.skipped("tiny_schedule", "everything of tiny is fresh"), seconds=600)
        first = made(lake, animals)
        assert len(first) == 19, first
        runs = daemons.runs()
        assert {one["status"] for one in runs.values()} == {"SUCCESS"}
        divided = [one["tags"].get("conditions") for one in runs.values()]
        assert sorted(filter(None, divided)) == ["neutral, owl", "wolf"], "none was asked for twice"
        ask(port, STOP_SCHEDULE, id=daemons.schedule())

        sensor, file = "tiny_new_inputs", tmp_path / "owl.jsonl"
        started = ask(port, START_SENSOR, selector={"sensorName": sensor, **WHERE})
        assert started["startSensor"]["__typename"] == "Sensor", started
        wait_until(lambda: daemons.skipped(sensor, "no imported file has changed"), seconds=300)
        file.write_text(file.read_text() + '{"prompt": "q", "completion": "3, 4"}\n')
        wait_until(lambda: daemons.skipped(sensor, "owl: its imported file has changed"), seconds=300)
        student = Place("tiny", "lora_checkpoint", "owl")
        # While it is made again, there is none.
        wait_until(lambda: made(lake, animals).get(student) not in (None, first[student]), seconds=600)
        wait_until(lambda: not daemons.unfinished(), seconds=240)
        second = made(lake, animals)
        changed = {str(place) for place in first if first[place] != second[place]}
        # What reads the student's answers is made again if they are others.
        assert changed >= {f"tiny/{name} of owl" for name in KEYED[:3]}
        assert changed <= {*(f"tiny/{name} of owl" for name in KEYED), "tiny/transfer", "tiny/preference_chart"}

        backfill = launch_backfill(port, daemons.assets(), ["wolf"])
        assert ended(port, backfill, seconds=600) == "COMPLETED_SUCCESS"
        third = made(lake, animals)
        again = {str(place) for place in second if second[place] != third[place]}
        assert again == {f"tiny/{name} of wolf" for name in KEYED}, "no baseline, and no chart, for nothing has changed"
        assert not daemons.unfinished()
