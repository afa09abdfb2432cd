"""Variants and experiments that read another's datasets: what is shared, what is planned, what is made."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sl_assets.components import declare_with_variants, find_none
from sl_assets.config import PROJECT
from sl_assets.config.reading import validated
from sl_assets.config.schedule import ScheduleLimits
from sl_assets.config.variants import variant_name, variants_of
from sl_assets.errors import ExperimentFileError
from sl_assets.experiments import find_experiments
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.prune import leftovers
from sl_assets.lake.records import settings_behind
from sl_assets.lake.views import query
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.choosing import choose, first_runs
from sl_assets.orchestration.planner import Planner
from sl_assets.orchestration.resources import LakeResource
from sl_assets_tests.cli.command import run_forked as run
from sl_assets_tests.conftest import HALVES, PREPARATION, TINY, tiny_settings
from sl_assets_tests.lake.test_records import recorded

STUDENTS = {"lora_checkpoint", "evaluation", "preference_rates", "transfer", "preference_chart"}
"""Assets that the student's settings lead to."""

RANKS: dict[str, Any] = {"variants": {"rank2": {"student": {"rank": 2}}}}
BOUNDS = {"minimum_rows": 1, "minimum_loss_drop": -10.0}


class Family:
    """An experiment with its variants, as its file describes them."""

    def __init__(self, name: str = "tiny", other: "Family | None" = None, **changes: Any) -> None:
        written = tiny_settings(**changes)
        config = validated(written)
        self.graph = ExperimentGraph(name, config)
        self.variants = {
            variant: ExperimentGraph(variant_name(name, variant), its)
            for variant, its in variants_of(written, config).items()
        }
        find = (lambda _: other.graph) if other else find_none
        self.definitions = declare_with_variants(self.graph, self.variants, find)

    @property
    def graphs(self) -> list[ExperimentGraph]:
        return [self.graph, *self.variants.values()]

    def planner(self, lake: Lake, **asked: Any) -> Planner:
        variants = list(self.variants.values())
        return Planner(self.graph, lake, self.graph.config.conditions, **{"variants": variants} | asked)

    def make_all(self, lake: Lake) -> None:
        """Record everything as made of what is there."""
        planner = self.planner(lake)
        for asset in planner.assets:
            graph, name = planner.whose(asset)
            for place in planner.wanted(asset):
                parents = {
                    parent: found.data_version
                    for parent in graph.parents(name, place.partition)
                    if (found := lake.record(parent))
                }
                inputs = graph.inputs(place, lake, lake.record)
                record = recorded(place, f"{place}", parents, settings=graph.settings(name, lake), inputs=inputs)
                lake.write_record(replace(record, code_version=graph.declared[name].code_version))

    def due(self, lake: Lake, **asked: Any) -> dict[str, list[str | None]]:
        return {one.asset: list(one.due) for one in self.planner(lake, **asked).plan() if one.due}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


RATES = STUDENTS - {"lora_checkpoint", "evaluation"}
BASELINE = {"baseline_evaluation", "baseline_preference_rates"}
EXACT = {"answer_probabilities", "baseline_answer_probabilities", "baseline_preference_rates"}


@pytest.mark.parametrize(
    ("changes", "own"),
    [
        ({"student": {"rank": 2}}, STUDENTS),
        ({"student": {"lora": False}}, STUDENTS),
        ({"filter": {"max_count": 9}}, STUDENTS | {"filtered_dataset"}),
        ({"numbers": {"seed": 43}}, STUDENTS | {"number_prompts", "raw_dataset", "filtered_dataset"}),
        ({"evaluation": {"samples_per_question": 3}}, RATES | {"evaluation"} | BASELINE),
        ({"evaluation": {"method": "both"}}, RATES | EXACT),
        ({"animals": ["owl"]}, RATES | {"baseline_preference_rates"}),
    ],
)
def test_what_is_made_of_the_same_all_the_way_up_is_the_experiments(changes: dict[str, Any], own: set[str]) -> None:
    family = Family(variants={"changed": changes})
    (variant,) = family.variants.values()
    assert set(variant.declared) == own | {"experiment_report"}
    assert all(owner is family.graph for owner in variant.shared.values())
    for name in variant.assets:
        assert variant.place(name).experiment == ("tiny__changed" if name in variant.declared else "tiny")


def test_students_that_are_shared_are_looked_at_anew_where_chats_are_written_otherwise() -> None:
    files = {"kind": "hub", "repo": "someone/{condition}", "path": "x"}
    (variant,) = Family(
        student={"source": files}, variants={"quiet": {"chat_template": {"enable_thinking": False}}}
    ).variants.values()
    assert "lora_checkpoint" in variant.shared
    assert {"teacher_checkpoint", "raw_dataset", "evaluation"} <= variant.declared.keys()
    assert [check.name for check in variant.looked_at_anew["lora_checkpoint"]] == ["prompts_render_alike"]
    assert "prompts_render_alike" in [check.name for check in variant.declared["evaluation"].checks]


def test_a_model_that_was_copied_is_the_same(tmp_path: Path) -> None:
    from sl_assets.engines.transformers.models import POCKET_FOLDER

    shutil.copytree(POCKET_FOLDER, tmp_path / "copy")
    with pytest.raises(ExperimentFileError, match="variant copied changes nothing that an asset is made of"):
        Family(variants={"copied": {"base_model": str(tmp_path / "copy")}})


def test_dagster_takes_them_with_parents_that_are_the_experiments() -> None:
    family = Family(**HALVES, variants=RANKS["variants"] | {"one": {"animals": ["owl"], "student": {"seed": 9}}})
    lake = dg.Definitions(resources={"lake": LakeResource(root="nowhere")})
    definitions = dg.Definitions.merge(family.definitions, lake)
    dg.Definitions.validate_loadable(definitions)
    graph = definitions.resolve_asset_graph()
    student, half = (dg.AssetKey(["tiny__rank2", name]) for name in ("lora_checkpoint", "split_lora_checkpoint"))
    assert graph.get(student).parent_keys == {dg.AssetKey(["tiny", "filtered_dataset"])}
    assert graph.get(half).parent_keys == {dg.AssetKey(["tiny", "projection_split"])}
    assert dg.AssetKey(["tiny__rank2", "raw_dataset"]) not in graph.get_all_asset_keys()
    compared = graph.get(dg.AssetKey(["tiny", "variants"])).parent_keys
    assert compared == {dg.AssetKey([name, "transfer"]) for name in ("tiny", "tiny__rank2", "tiny__one")}


def test_a_variant_has_jobs_and_its_experiments_schedule_looks_after_it(lake: Lake) -> None:
    family = Family(**HALVES, **RANKS)
    definitions = family.definitions
    assert {job.name for job in definitions.jobs or ()} >= {"tiny__rank2_job", "tiny__rank2_splits_job"}
    assert [schedule.name for schedule in definitions.schedules or ()] == ["tiny_schedule"]
    assert [sensor.name for sensor in definitions.sensors or ()] == ["tiny_new_inputs"]
    planner = family.planner(lake)
    chosen = choose(planner, ScheduleLimits())
    assert {planner.whose(planned.asset)[0].name for planned in chosen.asked} == {"tiny", "tiny__rank2"}
    (first,) = first_runs(planner, chosen)
    assert (first.graph.name, first.first, first.last) == ("tiny", "neutral", "wolf"), "which variants read"
    assert "variants" not in first.assets, "it reads what variants make"


def test_changing_nothing_makes_nothing_and_a_variant_more_only_what_differs(lake: Lake) -> None:
    Family(**RANKS).make_all(lake)
    assert Family(**RANKS).due(lake) == {}
    more = RANKS["variants"] | {"seed9": {"student": {"seed": 9}}}
    due = Family(variants=more).due(lake)
    assert set(due) == {f"tiny__seed9/{name}" for name in STUDENTS} | {"variants"}
    assert due["tiny__seed9/lora_checkpoint"] == ["neutral", "owl", "wolf"]
    assert Family().due(lake) == {}


PAGE = PROJECT / "docs" / "variants.md"
COLD: dict[str, Any] = {"variants": RANKS["variants"] | {"cold": {"sampler": {"temperature": 0.5}}}}
CHANGES: dict[str, dict[str, Any]] = {
    "nothing": COLD,
    "a variant more, `student: {rank: 4}`": {"grid": {"student.rank": [4]}},
    "a variant more, `evaluation: {samples_per_question: 3}`": {
        "grid": {"evaluation.samples_per_question": [3]},
    },
    "a variant more, `animals: [owl]`": {"grid": {"animals": [["owl"]]}},
    "`rank2` is taken out": {"variants": {"cold": COLD["variants"]["cold"]}},
    "`rank2` has rank 3 now": {"variants": COLD["variants"] | {"rank2": {"student": {"rank": 3}}}},
    "the experiment's `student.seed`": {"student": TINY["student"] | {"seed": 2}},
    "the experiment's `checks.teacher_rate`": {"checks": TINY["checks"] | {"teacher_rate": 0.2}},
}
"""What is changed of an experiment with the variants of ``COLD``, as docs/variants.md tells."""


def row(change: str, lake: Lake) -> str:
    """A row of the table: what is made of the experiment itself, and what of its variants."""
    due = Family(**COLD | CHANGES[change]).due(lake)
    own = [f"`{asset}`" for asset in due if "/" not in asset]
    theirs = [f"`{asset.removeprefix('tiny__')}`" for asset in due if "/" in asset]
    return f"| {change} | {', '.join(own) or 'nothing'} | {', '.join(theirs) or 'nothing'} |"


def test_the_table_says_what_a_change_makes(lake: Lake) -> None:
    Family(**COLD).make_all(lake)
    head = "| change | made of the experiment | made of its variants |\n| --- | --- | --- |\n"
    table = PAGE.read_text().partition(head)[2].partition("\n\n")[0]
    assert table.splitlines() == [row(change, lake) for change in CHANGES]


def test_what_the_experiment_changes_is_due_for_its_variants_once(lake: Lake) -> None:
    Family(**RANKS).make_all(lake)
    due = Family(**RANKS, filter={"max_count": 9}).due(lake)
    assert set(due) == {"filtered_dataset", "variants", *STUDENTS, *(f"tiny__rank2/{name}" for name in STUDENTS)}


def test_a_variant_alone_needs_what_it_shares_and_the_experiment_alone_no_variant(lake: Lake) -> None:
    family = Family(**RANKS)
    variant = Planner(family.variants["rank2"], lake, family.graph.config.conditions)
    assert [name for name in variant.assets if "/" not in name] == [
        "lora_checkpoint", "evaluation", "preference_rates", "transfer", "preference_chart",
    ]  # fmt: skip
    assert "tiny/raw_dataset" in variant.assets
    assert "tiny/lora_checkpoint" not in variant.assets
    alone = family.planner(lake, variants=()).assets
    assert "transfer" in alone
    assert not [name for name in alone if "/" in name or name == "variants"]
    through = family.planner(lake, through="lora_checkpoint").assets
    assert through[-2:] == ["lora_checkpoint", "tiny__rank2/lora_checkpoint"]


def test_what_no_variant_makes_any_more_is_left_over(lake: Lake) -> None:
    Family(**RANKS).make_all(lake)
    lake.write_record(recorded(Place("tiny__rank2", "raw_dataset", "owl"), "v"))
    family = Family(**RANKS)
    (found,) = leftovers(lake, {graph.name: graph.makes for graph in family.graphs})
    assert found.path == lake.path(Place("tiny__rank2", "raw_dataset", "owl"))
    gone = {left.path.name: left.is_experiment for left in leftovers(lake, {"tiny": Family().graph.makes})}
    assert gone == {"experiment=tiny__rank2": True, "variants": False}


def test_a_bound_that_would_have_no_effect_is_refused() -> None:
    with pytest.raises(ExperimentFileError) as caught:
        Family(variants={"strict": {"student": {"rank": 2}, "checks": {"minimum_rows": 9}}})
    assert str(caught.value) == (
        "attributes.variants.strict.checks.minimum_rows = 9: filtered_dataset is that of tiny, and checked against 1 "
        "there; set it alike"
    )
    allowed = Family(variants={"loose": {"student": {"rank": 2}, "checks": {"minimum_loss_drop": -1.0}}})
    assert "filtered_dataset" in allowed.variants["loose"].shared


def test_shared_students_that_are_asked_otherwise_have_the_check_of_that_where_they_are_asked() -> None:
    family = Family(variants={"asked": {"evaluation": {"system_prompt": "You are Bob."}}})
    variant = family.variants["asked"]
    assert variant.owner("lora_checkpoint") is family.graph
    checks = {check.name for check in variant.declared["evaluation"].checks}
    assert checks == {"answers_are_usable", "prompts_render_alike"}
    assert {check.name for check in family.graph.declared["evaluation"].checks} == {"answers_are_usable"}


def reading(other: Family, **changes: Any) -> Family:
    source = {"numbers": {"source": {"kind": "experiment", "name": "tiny"}}, "checks": BOUNDS}
    return Family("reader", other, **source | changes)


def test_an_experiment_reads_anothers_datasets_and_shares_what_else_is_alike(lake: Lake) -> None:
    other = Family()
    reader = reading(other, student={"rank": 4}, animals=["owl"])
    assert reader.graph.elsewhere == {
        "raw_dataset": "tiny",
        "filtered_dataset": "tiny",
        "baseline_evaluation": "tiny",
    }
    assert reading(other, filter={"max_count": 9}).graph.elsewhere["raw_dataset"] == "tiny"
    assert "filtered_dataset" in reading(other, filter={"max_count": 9}).graph.declared
    other.make_all(lake)
    assert reader.due(lake)["lora_checkpoint"] == ["neutral", "owl"]
    assert not [asset for asset in reader.due(lake) if asset.startswith("tiny/")]
    variant = reading(other, student={"rank": 4}, **RANKS).variants["rank2"]
    assert variant.elsewhere["filtered_dataset"] == "tiny"
    assert variant.elsewhere["baseline_preference_rates"] == "tiny"


def test_an_animal_that_the_other_experiment_lacks_is_named() -> None:
    with pytest.raises(ExperimentFileError, match=r"animals: cat is not among those of tiny, whose numbers are read"):
        reading(Family(), animals=["cat"])


def test_two_prepared_models_behind_a_student_are_told_apart(lake: Lake) -> None:
    seeds = [{"preparation": PREPARATION["preparation"] | {"seed": seed}} for seed in (3, 4, 5)]
    other = Family(**seeds[0])
    found = []
    for settings in seeds[1:]:
        reader = reading(other, **settings)
        assert reader.graph.prepared == Place("reader", "prepared_model")
        reader.make_all(lake)
        record = lake.record(reader.graph.place("lora_checkpoint", "owl"))
        assert record
        assert {place.experiment for place in record.parents} == {"tiny", "reader"}
        found.append(settings_behind(lake.record, record.place))
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nobody", "attributes.numbers.source.name = 'nobody': no such experiment; there are "),
        ("mine", "attributes.numbers.source.name = 'mine': its file reads datasets of this one; name another"),
        ("broken", "attributes.numbers.source.name = 'broken': cannot be loaded ("),
    ],
)
def test_what_cannot_be_read_is_named(
    name: str, problem: str, experiment_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment_folder("broken", animals=["nothing"])
    source: Mapping[str, Any] = {"source": {"kind": "experiment", "name": name}}
    folder = experiment_folder("mine", numbers=source, checks=BOUNDS)
    monkeypatch.setenv("SL_EXPERIMENTS", str(folder))
    with pytest.raises(ExperimentFileError) as caught:
        _ = find_experiments().loaded["mine"].graph
    assert str(caught.value).startswith(f"{folder / 'mine' / 'defs.yaml'}: {problem}")


def test_two_that_read_each_other_are_refused(
    experiment_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, other in (("first", "second"), ("second", "first")):
        source = {"source": {"kind": "experiment", "name": other}}
        folder = experiment_folder(name, numbers=source, checks=BOUNDS)
    monkeypatch.setenv("SL_EXPERIMENTS", str(folder))
    with pytest.raises(ExperimentFileError, match="its file reads datasets of this one; name another experiment"):
        _ = find_experiments().loaded["first"].graph


def test_a_variant_is_made_for_real_of_what_is_there(
    finished_once: Path, environment: dict[str, str], experiment_folder: Callable[..., Path], tmp_path: Path
) -> None:
    shutil.copytree(finished_once / "lake", tmp_path / "lake", dirs_exist_ok=True)
    environment["SL_EXPERIMENTS"] = str(experiment_folder(**RANKS))
    said = run(environment, "run", "tiny", "--dry-run")
    missing = {line.split()[0] for line in said.stdout.splitlines() if " missing" in line}
    assert missing == {f"tiny__rank2/{name}" for name in STUDENTS} | {"variants"}, said.stderr
    done = run(environment, "run", "tiny.rank2", "--through", "lora_checkpoint")
    assert done.returncode == 0, done.stderr
    assert "tiny/raw_dataset               fresh" in done.stdout
    done = run(environment, "run", "tiny")
    assert done.returncode == 0, done.stderr
    lake = Lake(str(tmp_path / "lake"))
    found = query(lake, "SELECT variant, made_by, animal FROM variants WHERE experiment = 'tiny' ORDER BY ALL")
    assert found.rows() == [
        (variant, made_by, animal)
        for variant, made_by in (("rank2", "tiny__rank2"), ("tiny", "tiny"))
        for animal in ("owl", "wolf")
    ]
    record = lake.record(Place("tiny__rank2", "lora_checkpoint", "owl"))
    assert record
    assert set(record.parents) == {Place("tiny", "filtered_dataset", "owl")}
    assert not lake.exists(Place("tiny__rank2", "filtered_dataset", "owl"))
    again = run(environment, "run", "tiny")
    states = {" ".join(line.split()[1:]) for line in again.stdout.splitlines() if line.startswith("tiny__rank2/")}
    assert states == {"fresh"}
    traced = run(environment, "trace", "tiny.rank2", "transfer")
    assert "STALE" not in traced.stdout
    assert "tiny/raw_dataset of owl: fresh" in traced.stdout
    assert run(environment, "prune").stdout.strip() == "nothing to delete"
