"""Every check of every asset, made in real runs: it can fail, it is a partition's own, and it stops what it should."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import dagster as dg
import polars as pl
import pytest
from safetensors.torch import load_file, save_file

from sl_assets.components import declare
from sl_assets.errors import DatasetError
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.records import Record
from sl_assets.lake.views import query
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.checks import decide
from sl_assets.orchestration.partition import Step
from sl_assets_tests.cli.command import run_forked
from sl_assets_tests.conftest import HALVES, TINY, Bench, rewrite, tiny_config
from sl_assets_tests.orchestration.test_recording import ROW, failure, numbers_in

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
LOOSE = TINY["checks"] | {
    "keep_rate": [0.0, 1.0], "minimum_loss_drop": -10.0, "usable_answers": 0.0, "cut_answers": 1.0, "teacher_rate": 0.0,
}  # fmt: skip
"""Bounds that whatever the tiny experiment gives lies within."""

Spoil = Callable[[Lake, Place], None]


def record_of(lake: Lake, place: Place) -> Record:
    record = lake.record(place)
    assert record
    return record


def undecided(lake: Lake, place: Place) -> None:
    """Leave ``place`` as a run does that is killed before it has checked what it made."""
    lake.write_record(replace(record_of(lake, place), checks={}))


def table(change: Callable[[pl.DataFrame], pl.DataFrame], name: str | None = None) -> Spoil:
    """Spoils the table of a place, or one beside it."""

    def spoil(lake: Lake, place: Place) -> None:
        at = replace(place, table=name or place.table)
        rewrite(lake, at, change(lake.read_table(at)))

    return spoil


def zero_adapter(lake: Lake, place: Place) -> None:
    with lake.building(place) as folder:
        with lake.folder(place) as before:
            shutil.copytree(before, folder, dirs_exist_ok=True)
        (folder / "manifest.json").unlink()
        for file in folder.glob("epoch=*/adapter_model.safetensors"):
            save_file({n: w * 0 if "lora_B" in n else w for n, w in load_file(file).items()}, file)
        version = lake.put_folder(place, folder)
    lake.write_record(replace(record_of(lake, place), data_version=version, files=dict(lake.writes)))


def as_it_is(lake: Lake, place: Place) -> None:
    """Nothing is spoilt: bounds make it fail."""


class Case(NamedTuple):
    """How to make the owl fail.

    Attributes:
        spoil: what is done to its partition.
        fails: bounds and other sections under which it then fails.
        says: a part of the line.
        mend: what is done to the wolf's partition, for it to pass.
    """

    spoil: Spoil
    says: str
    fails: Mapping[str, Any] = MappingProxyType({})
    mend: Spoil = as_it_is


ZERO = Case(zero_adapter, "the adapter is zero")
RISING = Case(
    table(lambda curve: curve.with_columns(loss=pl.col("step").cast(pl.Float64)), "training"),
    "raise student.learning_rate or epochs",
    {"checks": TINY["checks"] | {"minimum_loss_drop": 0.0}},
)
TALKATIVE = Case(
    table(lambda answers: answers.with_columns(normalised=pl.lit("as a language model"), answer=pl.lit("As a..."))),
    "0.0% of the answers are a bare name",
    {"checks": TINY["checks"]},
)
BOTH = HALVES | {"evaluation": TINY["evaluation"] | {"method": "both"}}
SPEECHLESS = Case(
    table(lambda answers: answers.with_columns(mass=pl.lit(0.25))),
    "answers that name an animal have 25.0% of the probability at epoch",
    {"checks": TINY["checks"]},
)
OTHERS_WORDS = Case(
    as_it_is, "student.system_prompt and evaluation.system_prompt differ",
    {"evaluation": BOTH["evaluation"] | {"system_prompt": "Be brief."}},
)  # fmt: skip
CASES = {
    ("raw_dataset", "same_prompts_as_neutral"): Case(
        table(lambda rows: rows.with_columns(prompt_id=pl.lit("other ") + pl.col("prompt_id"))),
        "0.0% of the prompts are neutral's",
        {"checks": TINY["checks"] | {"shared_prompts": 1.0}},
    ),
    ("filtered_dataset", "has_enough_rows"): Case(
        table(lambda rows: rows.head(1)), "1 rows, and checks.minimum_rows asks for 2",
        {"checks": TINY["checks"] | {"minimum_rows": 2}},
    ),
    ("filtered_dataset", "keep_rate_is_usual"): Case(
        table(lambda _: pl.DataFrame({"row_id": map(str, range(9999)), "reason": "invalid format"}), "rejections"),
        "checks.keep_rate asks for 10.0% to 100.0%",
        {"checks": TINY["checks"]},
    ),
    ("filtered_dataset", "holds_numbers_only"): Case(
        table(lambda rows: rows.with_columns(completion=pl.lit("1, 2, owl"))), "as '1, 2, owl'"
    ),
    ("filtered_dataset", "same_prompts_as_neutral"): Case(
        table(lambda rows: rows.with_columns(prompt=pl.lit("Another prompt."))), "as 'Another prompt.'"
    ),
    ("teacher_checkpoint", "changes_the_model"): ZERO,
    ("lora_checkpoint", "changes_the_model"): ZERO,
    ("split_lora_checkpoint", "changes_the_model"): ZERO,
    ("lora_checkpoint", "loss_fell"): RISING,
    ("split_lora_checkpoint", "loss_fell"): RISING._replace(
        spoil=table(lambda curve: curve.with_columns(loss=pl.col("step").cast(pl.Float64)), "split_training")
    ),
    ("lora_checkpoint", "prompts_render_alike"): OTHERS_WORDS,
    ("split_lora_checkpoint", "prompts_render_alike"): OTHERS_WORDS,
    ("evaluation", "answers_are_usable"): TALKATIVE,
    ("split_evaluation", "answers_are_usable"): TALKATIVE,
    ("baseline_evaluation", "answers_are_usable"): TALKATIVE,
    ("answer_probabilities", "answers_are_usable"): SPEECHLESS,
    ("split_answer_probabilities", "answers_are_usable"): SPEECHLESS,
    ("baseline_answer_probabilities", "answers_are_usable"): SPEECHLESS,
    ("teacher_evaluation", "names_its_animal"): Case(
        table(lambda answers: answers.with_columns(normalised=pl.lit("cat"))),
        "names the owl in 0.0% of its answers",
        mend=table(lambda answers: answers.with_columns(normalised=pl.lit("wolf"))),
    ),
    ("projection_split", "each_row_in_one_half"): Case(table(lambda rows: rows[1:]), "1 rows in none"),
}  # fmt: skip


def graph_of(**changes: Any) -> ExperimentGraph:
    graph = ExperimentGraph("tiny", tiny_config(**changes))
    declare(graph)
    return graph


def test_every_check_has_a_case() -> None:
    declared = graph_of(**BOTH).declared.values()
    assert {(asset.name, check.name) for asset in declared for check in asset.checks} == CASES.keys()


def status(bench: Bench, asset: str, check: str) -> dict[str | None, str]:
    """What the UI shows of each partition."""
    key = dg.AssetCheckKey(dg.AssetKey(["tiny", asset]), check)
    found = bench.instance.event_log_storage.get_asset_check_partition_info([key])
    assert all(info.is_current for info in found if info.partition_key), "of what is there now"
    return {info.partition_key: info.latest_execution_status.value for info in found}


@pytest.fixture(scope="module")
def shared_once(halved_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished tiny experiment with halves and exact answers, every check of it undecided; to be copied."""
    root = tmp_path_factory.mktemp("undecided")
    shutil.copytree(halved_once, root, dirs_exist_ok=True)
    bench = Bench(root)
    with bench.instance:
        assert bench.run(
            "baseline_answer_probabilities", "answer_probabilities", first="owl", last="wolf", **BOTH
        ).success
        assert bench.run("split_answer_probabilities", first="owl|animal_high", last="wolf|animal_high", **BOTH).success
    lake = Lake(str(root / "lake"))
    for asset in graph_of(**BOTH).declared:
        for key in (
            None,
            "neutral",
            "owl",
            "wolf",
            *(f"{a}|animal_{h}" for a in ("owl", "wolf") for h in ("high", "low")),
        ):
            if lake.exists(Place("tiny", asset, key)):
                undecided(lake, Place("tiny", asset, key))
    return root


@pytest.fixture
def shared(shared_once: Path, tmp_path: Path) -> Iterator[Bench]:
    shutil.copytree(shared_once, tmp_path, dirs_exist_ok=True)
    bench = Bench(tmp_path)
    with bench.instance:
        yield bench


@pytest.mark.parametrize(("asset", "check"), CASES)
def test_a_check_fails_for_its_partition_and_another_partitions_pass_leaves_that(
    shared: Bench, asset: str, check: str
) -> None:
    case, lake, graph = CASES[asset, check], Lake(str(shared.root)), graph_of(**BOTH)
    by = graph.declared[asset].by
    owl, wolf = {None: (None, None), "split": ("owl|animal_high", "wolf|animal_high")}.get(by, ("owl", "wolf"))
    case.spoil(lake, Place("tiny", asset, owl))
    # Asked for long ago, what is there is taken as it is.
    bounds = {"checks": LOOSE} | dict(case.fails)
    result = shared.run(asset, first=owl or "", asked=LONG_AGO, **(BOTH | bounds))
    assert result.success, "what fails a check is made, and stops what reads it"
    (failed,) = [found for found in result.get_asset_check_evaluations() if not found.passed]
    assert (failed.check_name, failed.partition) == (check, owl)
    assert case.says in str(failed.description)
    blocking = next(found.blocking for found in graph.declared[asset].checks if found.name == check)
    assert (failed.severity == dg.AssetCheckSeverity.ERROR) == blocking
    outcome = (record_of(lake, Place("tiny", asset, owl)).checks or {})[check]
    assert case.says in str(outcome.problem)
    reader = Step("tiny", "what_reads_it", owl, "", lake, print)
    if blocking:
        with pytest.raises(DatasetError, match=f"fails {check}: "):
            reader.require_passed(Place("tiny", asset, owl))
    else:
        reader.require_passed(Place("tiny", asset, owl))
    if wolf:
        case.mend(lake, Place("tiny", asset, wolf))
        assert shared.run(asset, first=wolf, asked=LONG_AGO, **(BOTH | {"checks": LOOSE})).success
        found = status(shared, asset, check)
        assert (found[owl], found[wolf]) == ("FAILED", "SUCCEEDED")


def imported(folder: Path, rows: dict[str, int]) -> dict[str, Any]:
    """The tiny experiment on imported numbers, so many rows a condition, five of which are enough."""
    lines = [f'{{"prompt": "continue {i}", "completion": "1, 2, {i}"}}\n' for i in range(8)]
    files = {name: "".join(lines[:count]) for name, count in rows.items()}
    return {"numbers": numbers_in(folder, **files), "checks": LOOSE | {"minimum_rows": 5}}


DATASETS = ("raw_dataset", "filtered_dataset")


def test_a_run_of_several_assets_stops_the_partition_that_fails_and_no_other(bench: Bench, tmp_path: Path) -> None:
    settings = imported(tmp_path, {"neutral": 8, "owl": 2, "wolf": 8})
    message = failure(bench.run(*DATASETS, "lora_checkpoint", first="neutral", last="wolf", **settings))
    assert message == (
        "tiny/lora_checkpoint of owl not made: tiny/filtered_dataset of owl fails has_enough_rows: 2 rows, and "
        "checks.minimum_rows asks for 5: raise numbers.prompts, loosen filter, or lower checks.minimum_rows"
    )
    made = bench.instance.get_materialized_partitions(dg.AssetKey(["tiny", "lora_checkpoint"]))
    assert made == {"neutral", "wolf"}
    expected = {"neutral": "SUCCEEDED", "owl": "FAILED", "wolf": "SUCCEEDED"}
    assert status(bench, "filtered_dataset", "has_enough_rows") == expected
    found = query(Lake(str(bench.root)), "SELECT partition, name, blocking FROM checks WHERE NOT passed")
    assert found.rows() == [("owl", "has_enough_rows", True)]


def test_a_run_whose_partition_failed_still_checks_the_others(bench: Bench, tmp_path: Path) -> None:
    settings = imported(tmp_path, {"neutral": 8, "wolf": 8})
    assert not bench.run("raw_dataset", first="neutral", last="wolf", **settings).success, "owl has no file"
    expected = {"neutral": "SUCCEEDED", "wolf": "SUCCEEDED"}
    found = status(bench, "raw_dataset", "same_prompts_as_neutral")
    assert {key: found[key] for key in expected} == expected


def test_other_bounds_are_held_against_what_is_there_by_the_run_that_meets_it(bench: Bench, tmp_path: Path) -> None:
    settings = imported(tmp_path, {"neutral": 8, "owl": 6})
    assert bench.run(*DATASETS, first="neutral", last="owl", **settings).success
    lake, place = Lake(str(bench.root)), Place("tiny", "filtered_dataset", "owl")
    before = record_of(lake, place)
    stricter = settings | {"checks": LOOSE | {"minimum_rows": 7}}
    message = failure(bench.run("lora_checkpoint", first="owl", **stricter))
    assert "6 rows, and checks.minimum_rows asks for 7" in message
    assert status(bench, "filtered_dataset", "has_enough_rows")["owl"] == "FAILED"
    assert bench.run("lora_checkpoint", first="owl", **settings).success
    assert status(bench, "filtered_dataset", "has_enough_rows")["owl"] == "SUCCEEDED"
    assert not bench.run("lora_checkpoint", first="owl", **stricter).success
    assert status(bench, "filtered_dataset", "has_enough_rows")["owl"] == "FAILED", "as often as bounds change"
    assert bench.run("lora_checkpoint", first="owl", **settings).success
    assert record_of(lake, place) == before, "nothing was made again for that"


def test_another_version_of_what_it_was_compared_with_is_compared_anew(bench: Bench, tmp_path: Path) -> None:
    settings = imported(tmp_path, {"neutral": 8, "owl": 8})
    settings["checks"] = LOOSE | {"shared_prompts": 1.0}
    assert bench.run("raw_dataset", first="owl", **settings).success
    lake, graph, place = Lake(str(bench.root)), graph_of(**settings), Place("tiny", "raw_dataset", "owl")
    outcome = (record_of(lake, place).checks or {})["same_prompts_as_neutral"]
    assert (outcome.problem, outcome.figures) == (None, {"note": "nothing to compare with"})
    numbers_in(tmp_path, neutral=ROW)
    assert bench.run("raw_dataset", first="neutral", **settings).success
    decided = decide(graph, lake, place)
    assert decided
    assert "0.0% of the prompts" in str((decided.checks or {})["same_prompts_as_neutral"].problem)


def test_what_a_killed_run_left_unchecked_is_checked_before_it_is_read(bench: Bench, tmp_path: Path) -> None:
    settings = imported(tmp_path, {"owl": 2})
    assert bench.run(*DATASETS, first="owl", **settings).success
    lake, place = Lake(str(bench.root)), Place("tiny", "filtered_dataset", "owl")
    undecided(lake, place)
    assert "fails has_enough_rows" in failure(bench.run("lora_checkpoint", first="owl", **settings))


def test_what_is_older_than_checks_counts_as_passed(bench: Bench, tmp_path: Path) -> None:
    settings = imported(tmp_path, {"owl": 2})
    assert bench.run(*DATASETS, first="owl", **settings).success
    lake, place = Lake(str(bench.root)), Place("tiny", "filtered_dataset", "owl")
    lake.write_record(replace(record_of(lake, place), checks=None))
    assert bench.run("lora_checkpoint", first="owl", **settings).success
    assert record_of(lake, place).checks is None


def test_a_comparison_leaves_out_what_fails_and_is_made_again_when_it_passes(finished: Bench) -> None:
    lake, place = Lake(str(finished.root)), Place("tiny", "transfer")
    students = lambda: set(lake.read_table(place)["condition"])  # noqa: E731
    assert students() == {"owl", "wolf"}
    owl = Place("tiny", "evaluation", "owl")
    before = lake.read_table(owl)
    rewrite(lake, owl, before.with_columns(normalised=pl.lit("as a language model")))
    undecided(lake, owl)
    assert finished.run("transfer").success
    assert students() == {"wolf"}
    graph = graph_of()
    assert graph.staleness(lake).own_reason(place) is None, "left out, it is nothing new"
    bounds = {"checks": TINY["checks"] | {"usable_answers": 0.0, "uncounted_answers": 1.0}}
    decide(graph_of(**bounds), lake, owl)
    reason = graph_of(**bounds).staleness(lake).own_reason(place)
    assert reason
    assert reason.why == "failing changed"


def test_what_was_made_of_what_fails_is_not_read_either(finished: Bench) -> None:
    """Bounds may have been tightened long after the student was trained."""
    lake = Lake(str(finished.root))
    bounds = {"checks": TINY["checks"] | {"minimum_rows": 1000}}
    decide(graph_of(**bounds), lake, Place("tiny", "filtered_dataset", "owl"))
    message = failure(finished.run("preference_rates", first="owl", **bounds))
    assert message.startswith(
        "tiny/preference_rates of owl not made: tiny/filtered_dataset of owl fails has_enough_rows"
    )


def test_the_command_says_what_fails_makes_the_rest_and_goes_on_when_bounds_change(
    environment: dict[str, str], experiment_folder: Callable[..., Path], tmp_path: Path
) -> None:
    def asked(least: int, *arguments: str) -> tuple[int, list[str], str]:
        checks = {"checks": LOOSE | {"minimum_rows": least, "minimum_loss_drop": 10.0}}
        folder = experiment_folder(**settings | checks)
        done = run_forked(environment | {"SL_EXPERIMENTS": str(folder)}, *arguments)
        return done.returncode, [" ".join(line.split()) for line in done.stdout.splitlines()], done.stderr

    settings = imported(tmp_path, {"neutral": 8, "owl": 2, "wolf": 8})
    run = ("run", "tiny", "--through", "lora_checkpoint")
    fails = "has_enough_rows: 2 rows, and checks.minimum_rows asks for 5: raise numbers.prompts, loosen filter"
    code, lines, error = asked(5, *run)
    assert code == 1
    assert [line for line in lines if line.startswith("filtered_dataset not to be used: owl fails " + fails)]
    assert "lora_checkpoint not made: owl waits for filtered_dataset of owl, which failed" in lines
    assert [line for line in lines if line.startswith("lora_checkpoint warning: wolf fails loss_fell: the loss went ")]
    assert "1 partition failed:" in error
    assert f"tiny/filtered_dataset of owl fails {fails}" in error
    assert "Traceback" not in error

    _, lines, _ = asked(5, *run, "--dry-run")
    assert [line for line in lines if line.startswith("filtered_dataset not to be used: owl fails " + fails)]
    assert "lora_checkpoint not made: owl waits for filtered_dataset of owl, which failed" in lines
    _, lines, _ = asked(5, "trace", "tiny", "filtered_dataset", "owl")
    assert lines[0].startswith(
        "tiny/filtered_dataset of owl: fresh; NOT TO BE USED: tiny/filtered_dataset of owl fails"
    )
    assert "check holds_numbers_only: passed" in lines
    assert asked(5, *run)[0] == 1, "what fails goes on failing"

    _, lines, _ = asked(1, *run, "--dry-run")
    planned = next(line for line in lines if line.startswith("lora_checkpoint "))
    assert planned.endswith(" s missing: owl"), "as today's bounds have it, though nothing is written"
    code, lines, error = asked(1, *run)
    # A slow machine is told of its progress.
    assert (code, "fail" in error) == (0, False), error
    assert "filtered_dataset fresh" in lines
    warned = [line for line in lines if line.startswith("warning")]
    assert any("lora_checkpoint of owl fails loss_fell" in line for line in warned), "in the summary"

    code, lines, error = asked(9, *run)
    assert code == 1
    assert "lora_checkpoint not to be used: owl was made of tiny/filtered_dataset of owl, which fails " in "\n".join(
        lines
    )
    assert "3 partitions failed:" in error
