"""The plan on a terminal: no line is too long, and each says what, why and how long."""

from dataclasses import replace
from pathlib import Path

import pytest

from sl_assets.lake.staleness import Reason
from sl_assets.orchestration.outlook import WIDTH, grouped, not_made, plan_lines
from sl_assets_tests.orchestration.test_planner import LARGE, Desk

HALVES = [f"{animal}|{half}" for animal in ("owl", "wolf", "cat") for half in ("high", "low", "random")]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("outlook"), **LARGE)


@pytest.mark.parametrize("width", [80, WIDTH])
def test_no_line_is_longer_than_the_terminal_is_wide(large: Desk, width: int) -> None:
    lines = list(plan_lines(large.planner(), width))
    assert [line.split()[0] for line in lines] == [*large.planner().assets, "in"]
    assert max(map(len, lines)) <= width
    by_name = {line.split()[0]: line for line in lines}
    assert by_name["raw_dataset"].endswith("unknown  missing: neutral ... human (17)")
    ending = "16 animals (animal_high ... 14 halves)" if width == WIDTH else "224 halves of 16 animals"
    assert by_name["split_evaluation"].endswith(f"unknown  missing: {ending}")
    count = sum(len(large.graph.keys(large.graph.declared[name].by)) for name in large.planner().assets)
    assets = len(large.planner().assets)
    assert f" {count:,} partitions; not counted: {assets}" in lines[-1]


def test_what_takes_how_long_is_known_from_what_was_made(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.make(desk.place("number_prompts"))
    for condition, seconds in (("neutral", 10.0), ("owl", 90.0), ("wolf", 100.0)):
        place = desk.place("teacher_checkpoint", condition)
        desk.make(place)
        desk.lake.write_record(replace(desk.known[place], seconds=seconds))
    desk.forget(desk.place("teacher_checkpoint", "owl"))
    desk.lake.write_record(replace(desk.known[desk.place("teacher_checkpoint", "wolf")], code_version="0", seconds=100))
    lines = list(plan_lines(desk.planner(through="raw_dataset")))
    now = desk.graph.declared["teacher_checkpoint"].code_version
    assert [" ".join(line.split()) for line in lines] == [
        "number_prompts fresh",
        "teacher_checkpoint 55 s missing: owl",
        f"teacher_checkpoint 55 s stale: wolf (made by version 0 of its code, which is {now})",
        "raw_dataset unknown missing: neutral, owl, wolf",
        "in all 0:01:50 5 partitions; not counted: 1 of 2 assets, of which nothing is made yet",
    ]


def test_what_is_asked_for_again_is_told_from_what_is_stale(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.make(desk.place("number_prompts"))
    first, total = plan_lines(desk.planner(through="number_prompts", again=True))
    assert " ".join(first.split()) == "number_prompts 1 s again"
    assert " ".join(total.split()) == "in all 1 s 1 partition"


@pytest.mark.parametrize(
    ("partitions", "room", "brief"),
    [
        ([None], 0, ""),
        (["owl", "wolf"], None, "owl, wolf"),
        (["owl", "wolf"], 5, "owl, wolf"),
        (["owl", "wolf", "cat"], 14, "owl, wolf, cat"),
        (["owl", "wolf", "cat"], 13, "owl ... cat (3)"),
        (HALVES, 60, "owl, wolf, cat (high ... 3 halves)"),
        (HALVES, 30, "3 animals (high ... 3 halves)"),
        (HALVES[:-1], 60, "8 halves of 3 animals"),
        (HALVES, 25, "9 halves of 3 animals"),
        (["owl|high", "wolf|high"], 20, "owl, wolf (high)"),
    ],
)
def test_partitions_are_named_as_far_as_there_is_room(
    partitions: list[str | None], room: int | None, brief: str
) -> None:
    assert grouped(partitions, room) == brief


def test_what_was_not_asked_for_is_named_to_the_end() -> None:
    stale: dict[str | None, Reason] = dict.fromkeys(HALVES, Reason("activations of wolf is stale"))
    line = not_made(stale, 90)
    assert len(line) <= 90
    assert line == "stays stale: 3 animals (high ... 3 halves) (activations of wolf is stale, not asked for)"
