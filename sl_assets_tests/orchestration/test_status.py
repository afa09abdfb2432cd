"""How an experiment stands, of records written by hand: the same as its plan, partition by partition."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from sl_assets.cli.status import status
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.tables import TABLES
from sl_assets.orchestration.planner import Planned
from sl_assets.orchestration.status import SCHEMA, STATES, Status, by_asset, counted, statuses
from sl_assets_tests.orchestration.test_planner import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "lake").make_all()


def standing(desk: Desk) -> dict[Place, Status]:
    return {Place(found.experiment, found.asset, found.partition): found for found in statuses(desk.planner())}


def change(desk: Desk, place: Place, **changes: object) -> None:
    record = desk.lake.record(place)
    assert record
    desk.lake.write_record(replace(record, **changes))  # type: ignore[arg-type]


def test_of_what_is_all_made_everything_is_fresh(desk: Desk) -> None:
    found = list(statuses(desk.planner()))
    assert {row.state for row in found} == {"fresh"}
    assert len({row[:3] for row in found}) == len(found)
    # A report is made by whoever names it.
    assert len(found) == sum(place.table != "experiment_report" for place in desk.places())
    assert counted(found) == {"fresh": str(len(found)), "missing": "", "stale": "", "failed": "", "takes": ""}


def test_what_is_due_is_what_the_plan_says_with_why_and_how_long(desk: Desk) -> None:
    desk.forget(desk.place("raw_dataset", "owl"))
    change(desk, desk.place("lora_checkpoint", "wolf"), code_version="0", seconds=7.0)
    change(desk, desk.place("lora_checkpoint", "owl"), seconds=4.0)
    found = standing(desk)
    plan: list[Planned] = list(desk.planner().plan())
    due = {desk.place(planned.asset, key): planned for planned in plan for key in planned.due}
    assert {place for place, row in found.items() if row.state != "fresh"} == due.keys()
    assert {place for place, row in found.items() if row.state == "missing"} == {desk.place("raw_dataset", "owl")}
    stale = found[desk.place("lora_checkpoint", "wolf")]
    assert stale.why
    assert stale.why.startswith("made by version 0 of its code")
    assert stale.seconds == due[desk.place("lora_checkpoint", "wolf")].seconds == 4.0
    assert found[desk.place("filtered_dataset", "owl")].why == "raw_dataset of owl is not there any more"
    assert found[desk.place("raw_dataset", "owl")].why is None


def test_what_fails_and_what_waits_for_it_is_failed(desk: Desk) -> None:
    failing = desk.place("filtered_dataset", "owl")
    empty = desk.lake.write_table(failing, pl.DataFrame(schema=TABLES["filtered_dataset"].schema))
    change(desk, failing, data_version=empty, checks={})
    found = standing(desk)
    assert found[failing].state == "failed"
    assert str(found[failing].why).startswith("fails has_enough_rows: 0 rows")
    # It has another version than its student has read.
    student = found[desk.place("lora_checkpoint", "owl")]
    assert student[3:] == ("failed", "waits for tiny/filtered_dataset of owl, which failed", None)
    assert found[desk.place("lora_checkpoint", "wolf")].state == "fresh"


def test_assets_are_counted_with_their_reasons_and_a_sum() -> None:
    rows = [
        Status("tiny", "raw_dataset", "owl", "missing", None, 60.0),
        Status("tiny", "raw_dataset", "wolf", "stale", "seed changed", 60.0),
        Status("tiny", "raw_dataset", "cat", "stale", "rank changed", 60.0),
        Status("tiny", "raw_dataset", "dog", "failed", "fails rows"),
        Status("tiny__rank2", "transfer", None, "missing"),
    ]
    raw, transfer, total = by_asset(rows)
    assert raw == {
        "asset": "raw_dataset", "fresh": "", "missing": "1", "stale": "2", "failed": "1", "takes": "0:03:00",
        "why": "seed changed; rank changed; ...",
    }  # fmt: skip
    assert (transfer["asset"], transfer["takes"]) == ("tiny__rank2/transfer", "unknown")
    assert (total["missing"], total["takes"]) == ("2", "0:03:00 or more")


@pytest.fixture
def said(
    tmp_path: Path, experiment_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    monkeypatch.setenv("SL_DATA_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("SL_EXPERIMENTS", str(experiment_folder()))
    return lambda *arguments: CliRunner().invoke(status, arguments)


def test_the_command_says_it_as_a_table_and_for_programs(desk: Desk, said: Callable[..., Result]) -> None:
    desk.forget(desk.place("transfer"))
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said("tiny").output.splitlines()]
    assert lines[0] == ["asset", *STATES, "takes", "why"]
    assert ["transfer", "", "1", "", "", "unknown", ""] in lines
    read = pl.read_csv(said("tiny", "--csv").stdout.encode())
    assert read.columns == list(SCHEMA)
    assert read.filter(pl.col("state") == "missing")["asset"].to_list() == ["transfer"]
    assert pl.read_json(said("tiny", "--json").stdout.encode(), schema=SCHEMA).height == read.height
    owls = pl.read_csv(said("tiny", "--animals", "owl", "--csv").stdout.encode())
    assert set(owls["partition"].drop_nulls()) == {"neutral", "owl"}
    all_of_them = said()
    assert [line for line in all_of_them.stdout.splitlines() if line.startswith("| tiny ")]
    assert [line for line in all_of_them.stdout.splitlines() if line.startswith("| pocket ")]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("nothing",), "no experiment 'nothing'"),
        (("tiny", "--csv", "--json"), "choose one"),
        (("--animals", "owl"), "of which experiment?"),
        (("tiny", "--animals", "cow"), "--animals cow: not an animal of tiny"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    tmp_path: Path, said: Callable[..., Result], arguments: tuple[str, ...], problem: str
) -> None:
    Path(Lake(str(tmp_path / "lake")).root).mkdir()
    done = said(*arguments)
    assert done.exit_code != 0
    assert problem in done.output
