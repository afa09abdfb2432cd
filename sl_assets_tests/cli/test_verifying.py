"""``sl-assets verify``: every file of a lake against its records."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sl_assets.cli.querying import sql
from sl_assets.cli.verifying import verify
from sl_assets.components import declare
from sl_assets.config import PROJECT
from sl_assets.errors import RefusalError
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.views import refresh_views
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.planner import Planner
from sl_assets_tests.conftest import Bench, tiny_config

ANSWERS = Place("tiny", "evaluation", "owl")
STUDENT = Place("tiny", "lora_checkpoint", "owl")
CHART = Place("tiny", "preference_chart")


def flip(file: Path) -> None:
    """One bit in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


@pytest.fixture
def lake(finished: Bench, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("SL_DATA_LAKE", str(finished.root))
    return Lake(str(finished.root))


def verified(*arguments: str) -> Result:
    return CliRunner().invoke(verify, arguments)


def files_of(lake: Lake) -> dict[Place, Path]:
    """One file each of three partitions."""
    return {
        ANSWERS: Path(lake.path(ANSWERS)) / "data.parquet",
        STUDENT: next(Path(lake.path(STUDENT)).rglob("adapter_model.safetensors")),
        CHART: Path(lake.picture(CHART)).with_suffix(".svg"),
    }


def test_a_whole_lake_is_said_to_be_whole(lake: Lake) -> None:
    found = verified()
    assert found.exit_code == 0, found.output
    assert found.output.endswith("all are what was recorded\n")
    read = {path for path in Path(lake.root).glob("experiment=tiny/**/*") if path.is_file()}
    data = [path for path in read if path.name != "record.json"]
    assert found.output.startswith(f"{len(data):,} files of {len(read) - len(data):,} partitions")


def test_every_harmed_file_is_named_and_made_again(lake: Lake, finished: Bench) -> None:
    harmed = files_of(lake)
    cut(harmed[ANSWERS])
    flip(harmed[STUDENT])
    harmed[CHART].unlink()
    found = verified("tiny", "--animals", "owl")
    assert found.exit_code == 1
    *lines, last = found.output.splitlines()
    assert {line.partition(": ")[0] for line in lines} == {str(place) for place in harmed}
    for place, file in harmed.items():
        assert sum(line.startswith(f"{place}: {file}: ") for line in lines) == 1
    assert "3 partitions damaged" in last
    assert all(lake.exists(place) for place in harmed), "nothing was changed"
    assert verified("tiny", "--animals", "wolf").output.count("\n") == 2, "the chart is the whole experiment's"

    assert verified("--forget").exit_code == 1
    assert not any(lake.exists(place) for place in harmed)
    assert finished.run(STUDENT.table, ANSWERS.table, first="owl").success
    assert finished.run(CHART.table).success
    assert verified().exit_code == 0


def test_what_may_not_be_read_is_no_damage_and_not_forgotten(lake: Lake) -> None:
    harmed = files_of(lake)[ANSWERS]
    harmed.unlink()
    harmed.mkdir()
    found = verified("--forget")
    assert isinstance(found.exception, RefusalError), found.output
    assert str(harmed) in str(found.exception)
    assert lake.exists(ANSWERS)


def test_a_gallery_has_records_alone_of_what_it_does_not_hold() -> None:
    found = verified("--lake", str(PROJECT / "examples" / "pocket"), "--forget")
    assert found.exit_code == 0, found.output
    assert found.output.endswith("more there is a record alone: all are what was recorded\n")


def test_what_was_recorded_before_files_were_noted_is_told_by_its_version(lake: Lake) -> None:
    for place in lake.recorded_places("tiny"):
        if record := lake.record(place):
            lake.write_record(replace(record, files={}))
    assert verified().exit_code == 0
    harmed = files_of(lake)
    harmed[CHART] = Path(lake.picture(CHART))
    for file in harmed.values():
        cut(file)
    lines = verified().stdout.splitlines()
    assert {line.partition(": ")[0] for line in lines} == {str(place) for place in harmed}


def test_a_cut_file_is_planned_to_be_made_again_and_fails_a_query(lake: Lake) -> None:
    refresh_views(lake)
    cut(files_of(lake)[ANSWERS])
    planner = Planner(ExperimentGraph("tiny", tiny_config()), lake, ["neutral", "owl", "wolf"])
    declare(planner.graph)
    ((partition, reason),) = planner.due("evaluation").due.items()
    assert partition == "owl"
    assert reason.why.startswith(f"damaged: {files_of(lake)[ANSWERS]}: ")
    found = CliRunner().invoke(sql, ["SELECT count(DISTINCT answer) FROM answers"])
    assert found.exit_code == 1
    assert "condition=owl/data.parquet" in found.output
    assert found.output.endswith("sl-assets verify names all that is damaged\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("elsewhere",), "holds nothing of elsewhere"),
        (("--animals", "owl"), "of which experiment"),
        (("tiny", "--animals", "owl,wulf"), "holds nothing of tiny for wulf"),
    ],
)
def test_what_is_not_there_is_refused(lake: Lake, arguments: tuple[str, ...], said: str) -> None:
    found = verified(*arguments)
    assert found.exit_code
    assert said in found.output
