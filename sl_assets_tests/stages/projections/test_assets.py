"""Persona vectors, projections and halves as Dagster assets, on the real pocket model."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from sl_assets.components import declare
from sl_assets.engines.interfaces import Exchange
from sl_assets.engines.transformers.encoder import TransformersEncoder
from sl_assets.engines.transformers.models import POCKET_FOLDER
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.staleness import Reason
from sl_assets.lake.views import query
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.stages.numbers.transforming import form_of
from sl_assets.stages.personas.vectors import load_vectors, unit
from sl_assets_tests.conftest import HALVES, SPLIT_ASSETS, Bench, rewrite, tiny_config
from sl_assets_tests.orchestration.test_recording import failure, versions
from sl_assets_tests.orchestration.test_recording import stale as stale_assets

HALVES_OF = ("owl|animal_high", "owl|animal_low")


def stale(bench: Bench, partition: str, **changes: Any) -> set[str]:
    """Assets whose ``partition`` is stale, without the report, which is made by whoever names it."""
    return stale_assets(bench, partition, **changes) - {"experiment_report"}


def fresh(bench: Bench, partitions: tuple[str, ...] = ("owl", *HALVES_OF), **changes: Any) -> bool:
    return not any(stale(bench, partition, **(HALVES | changes)) for partition in partitions)


def test_the_lake_holds_what_the_graph_promises(halved: Bench) -> None:
    lake = Lake(str(halved.root))
    counts = query(
        lake, "SELECT animal, split, count(*) AS n, sum(used::int) AS used FROM splits GROUP BY ALL ORDER BY ALL"
    )
    assert counts["split"].to_list() == ["animal_high", "animal_low"] * 2
    for animal in ("owl", "wolf"):
        kept = lake.read_table(Place("tiny", "filtered_dataset", animal)).height
        assert counts.filter(animal=animal)["n"].sum() == kept
        assert counts.filter(animal=animal)["used"].n_unique() == 1, "halves are trained on at equal size"
    assert query(lake, "SELECT count(*) FROM split_answers").item() == 4 * 100
    assert set(query(lake, "SELECT animal FROM high_vs_low")["animal"]) == {"owl", "wolf"}
    assert query(lake, "SELECT count(DISTINCT split) FROM split_training").item() == 2
    crossed = query(lake, "SELECT DISTINCT dataset, animal FROM cross_projections")
    assert crossed.height == 3 * 2
    assert (halved.root / "experiment=tiny/split_chart/split_chart.png").read_bytes()[:4] == b"\x89PNG"
    owl = query(lake, "SELECT * FROM lineage WHERE asset = 'split_lora_checkpoint' AND partition = 'owl|animal_low'")
    parents = {(parent["asset"], parent["partition"]) for parent in owl["parents"][0]}
    assert parents == {("projection_split", "owl|animal_low"), ("filtered_dataset", "owl")}
    assert fresh(halved)


def test_projections_are_those_of_the_rows_one_by_one(halved: Bench) -> None:
    lake, encoder = Lake(str(halved.root)), TransformersEncoder("pocket")
    with lake.folder(Place("tiny", "persona_vector", "owl")) as folder:
        direction = unit(load_vectors(folder)["response_mean"][4])
    rows = lake.read_table(Place("tiny", "projections", "owl")).filter(layer=4)
    for source, condition in (("animal", "owl"), ("neutral", "neutral")):
        dataset = lake.read_table(Place("tiny", "filtered_dataset", condition))
        for row_id, prompt, completion in dataset.select("row_id", "prompt", "completion").head(5).iter_rows():
            (batch,) = encoder.encode([Exchange([{"role": "user", "content": prompt}], completion)], [4])
            state = batch.states[0, 0, 0]
            found = rows.filter(row_id=row_id, source=source)["projection"].item()
            assert abs(found - state @ direction) < 1e-3 * np.linalg.norm(state)


def test_another_animal_leaves_vectors_halves_and_students_alone(halved: Bench) -> None:
    more = HALVES | {"animals": ["owl", "wolf", "cat"]}
    before = versions(halved)
    asked = {"projection_split", "split_lora_checkpoint", "split_evaluation", "persona_vector", "projections"}
    for partition in ("owl", *HALVES_OF):
        assert not (asked | {"activations", "persona_answers"}) & stale(halved, partition, **more)
    datasets = ("teacher_checkpoint", "raw_dataset", "filtered_dataset", "activations", "persona_answers")
    assert halved.run(*datasets, first="cat", **more).success
    assert halved.run("control_activations", **more).success
    assert halved.run("persona_vector", "projections", first="cat", **more).success
    assert halved.run(*SPLIT_ASSETS, first="cat|animal_high", last="cat|animal_low", **more).success
    for partition in ("owl", *HALVES_OF):
        assert not asked & stale(halved, partition, **more)
    after = versions(halved)
    assert {key: after[key] for key in before if key[1]} == {key: before[key] for key in before if key[1]}


def test_the_job_of_one_animal_succeeds_where_neutral_has_no_activations_yet(finished: Bench) -> None:
    """As after the quickstart, which stops before them."""
    definitions, lake = finished.definitions(**HALVES), Lake(str(finished.root))
    note, of_neutral = Place("tiny", "control_activations"), Place("tiny", "activations", "neutral")
    job = definitions.resolve_job_def("tiny_job")
    result = job.execute_in_process(instance=finished.instance, partition_key="wolf", raise_on_error=False)
    assert result.success
    assert lake.exists(Place("tiny", "activations", "wolf"))
    assert lake.read_table(note).is_empty()
    assert finished.run("persona_vector", first="wolf", **HALVES).success
    told = failure(finished.run("projections", first="wolf", **HALVES))
    assert told == f"{of_neutral} is not in {lake.root}: materialise it first"
    assert finished.run("activations", first="neutral", **HALVES).success
    graph = ExperimentGraph("tiny", tiny_config(**HALVES))
    declare(graph)
    assert graph.staleness(lake).reason(note) == Reason("activations of neutral is new")
    assert finished.run("control_activations", **HALVES).success
    assert lake.read_table(note)["data_version"].to_list() == [lake.version(of_neutral)]
    assert finished.run("projections", first="wolf", **HALVES).success


def test_another_half_remakes_no_student(halved: Bench) -> None:
    more = HALVES | {"splits": ["animal_high", "animal_low", "neutral_random"]}
    before = versions(halved)
    assert halved.run("projection_split", first="owl|animal_high", last="owl|neutral_random", **more).success
    for partition in HALVES_OF:
        assert "split_lora_checkpoint" not in stale(halved, partition, **more)
        assert versions(halved)["projection_split", partition] == before["projection_split", partition]
    sizes = query(
        Lake(str(halved.root)), "SELECT split, sum(used::int) AS n FROM splits WHERE animal = 'owl' GROUP BY ALL"
    )
    assert sizes["n"].n_unique() == 1


def test_a_change_of_layer_cuts_anew_and_reads_no_model(halved: Bench) -> None:
    changed = {"projections": HALVES["projections"] | {"layer": 4, "layers": [0, 2]}}
    assert stale(halved, "owl", **(HALVES | changed)) == {"projections", "cross_projections"}
    assert halved.run("projections", first="owl", last="wolf", **(HALVES | changed)).success
    assert halved.run("projection_split", first=HALVES_OF[0], last=HALVES_OF[1], **(HALVES | changed)).success
    assert "split_lora_checkpoint" in stale(halved, HALVES_OF[0], **(HALVES | changed))


def test_a_dataset_of_other_layers_is_named_and_left_out(halved: Bench) -> None:
    changed = HALVES | {"projections": HALVES["projections"] | {"layers": [1]}}
    message = failure(halved.run("projections", first="owl", **changed))
    assert "tiny/activations of owl is of other layers or another model" in message
    assert halved.run("activations", first="owl", **changed).success
    assert halved.run("cross_projections", **changed).success
    crossed = query(Lake(str(halved.root)), "SELECT DISTINCT dataset, layer FROM cross_projections")
    assert set(crossed.rows()) == {("owl", 1), ("owl", 2)}


def test_what_was_made_with_other_settings_is_not_projected_or_crossed(halved: Bench) -> None:
    """Alike in model and layers is not enough: everything that led to it has to be alike."""
    changed = HALVES | {"filter": {"max_count": 9}}
    assert halved.run("filtered_dataset", "activations", first="owl", **changed).success
    message = failure(halved.run("projections", first="owl", **changed))
    assert "tiny/activations of owl was made with other settings than neutral's" in message
    other = HALVES | {"personas": HALVES["personas"] | {"seed": 12}}
    assert halved.run("persona_answers", first="wolf", **other).success
    assert halved.run("persona_vector", first="wolf", **other).success
    assert halved.run("cross_projections", **HALVES).success
    crossed = query(Lake(str(halved.root)), "SELECT DISTINCT dataset, animal FROM cross_projections ORDER BY ALL")
    assert crossed.rows() == [("neutral", "owl"), ("wolf", "owl")]
    assert halved.run("filtered_dataset", "activations", first="owl", **HALVES).success
    assert halved.run("projections", first="owl", **HALVES).success


def test_a_judge_of_other_weights_is_another_judge(bench: Bench, tmp_path: Path) -> None:
    judge = tmp_path / "judge"
    shutil.copytree(POCKET_FOLDER, judge)
    personas = HALVES["personas"] | {"judge": {"kind": "model", "base_model": str(judge)}}

    def code_version() -> str | None:
        graph = bench.definitions(**(HALVES | {"personas": personas})).resolve_asset_graph()
        return graph.get(dg.AssetKey(["tiny", "persona_answers"])).code_version

    before = code_version()
    assert code_version() == before
    (judge / "model.safetensors").write_bytes(b"other weights")
    assert code_version() != before


def test_a_removed_animal_leaves_the_comparison(halved: Bench) -> None:
    fewer = HALVES | {"animals": ["owl"]}
    assert {"split_comparison", "cross_projections"} <= stale(halved, "owl", **fewer)


def test_an_overview_is_made_again_when_more_is_there(halved: Bench) -> None:
    """Made since it was asked for, a table that reads whatever exists counts only while the same exists."""
    asked = datetime.now(UTC)
    assert halved.run("cross_projections", **HALVES).success
    first = run_of(halved, "cross_projections")
    assert halved.run("cross_projections", asked=asked, **HALVES).success
    assert run_of(halved, "cross_projections") == first
    # Of other answers, another vector.
    other = HALVES | {"personas": HALVES["personas"] | {"seed": 12}}
    assert halved.run("persona_answers", first="owl", **other).success
    assert halved.run("persona_vector", first="owl", **other).success
    assert halved.run("cross_projections", asked=asked, **HALVES).success
    assert run_of(halved, "cross_projections") != first


def run_of(bench: Bench, asset: str) -> str:
    record = Lake(str(bench.root)).record(Place("tiny", asset))
    assert record
    return record.run_id


def check_of(result: dg.ExecuteInProcessResult, partition: str) -> dg.AssetCheckEvaluation:
    (found,) = [found for found in result.get_asset_check_evaluations() if found.partition == partition]
    return found


def test_a_row_in_both_halves_or_in_none_fails_the_check(halved: Bench) -> None:
    lake, low = Lake(str(halved.root)), Place("tiny", "projection_split", HALVES_OF[1])
    result = halved.run("projection_split", first=HALVES_OF[0], last=HALVES_OF[1], **HALVES)
    assert all(check_of(result, half).passed for half in HALVES_OF)
    high = lake.read_table(Place("tiny", "projection_split", HALVES_OF[0]))
    rewrite(lake, low, pl.concat([lake.read_table(low)[1:], high[:1]]))
    evaluation = check_of(halved.run("projection_split", first=HALVES_OF[0], **HALVES), HALVES_OF[0])
    assert not evaluation.passed
    assert "1 rows in both halves" in str(evaluation.description)
    assert "1 rows in none" in str(evaluation.description)


def test_strata_are_parted_alike(halved: Bench) -> None:
    names = ["animal_high", "animal_low", "animal_slice1of2", "animal_slice2of2"]
    projections = HALVES["projections"] | {"strata": ["form", "count"]}
    parted = HALVES | {"splits": names, "projections": projections}
    result = halved.run("projection_split", first=f"owl|{names[0]}", last=f"owl|{names[-1]}", **parted)
    assert all(check_of(result, f"owl|{name}").passed for name in names)
    lake = Lake(str(halved.root))
    made = [lake.read_table(Place("tiny", "projection_split", f"owl|{name}")) for name in names]
    assert set(made[0]["row_id"]) == set(made[2]["row_id"]), "a high half is the first slice of two"
    rows = lake.read_table(Place("tiny", "filtered_dataset", "owl"))
    forms = [form_of(text) for text in rows["completion"]]
    counts = {form: forms.count(form) for form in set(forms)}
    chosen = rows.join(made[0], on="row_id", how="semi")["completion"]
    high = pl.Series("form", [form_of(text) for text in chosen])
    assert dict(high.value_counts().iter_rows()) == {form: n // 2 for form, n in counts.items() if n > 1}
    record = lake.record(Place("tiny", "projection_split", f"owl|{names[0]}"))
    assert record
    assert Place("tiny", "filtered_dataset", "owl") in record.parents


def test_students_of_halves_may_be_trained_otherwise(halved: Bench) -> None:
    lake, asset = Lake(str(halved.root)), "split_lora_checkpoint"
    otherwise = HALVES | {"split_student": {"epochs": 1}}
    assert stale(halved, HALVES_OF[0], **otherwise) == {asset, "split_chart"}
    assert halved.run(asset, "split_evaluation", first=HALVES_OF[0], **otherwise).success
    with lake.folder(Place("tiny", asset, HALVES_OF[0])) as folder:
        assert [path.name for path in folder.glob("epoch=*")] == ["epoch=1"]
    assert set(lake.read_table(Place("tiny", "split_evaluation", HALVES_OF[0]))["epoch"]) == {1}


def test_a_half_of_a_dataset_that_has_changed_is_refused(halved: Bench) -> None:
    lake, place = Lake(str(halved.root)), Place("tiny", "filtered_dataset", "owl")
    rewrite(lake, place, lake.read_table(place).with_columns(completion=pl.lit("1, 2, 3")))
    message = failure(halved.run("split_lora_checkpoint", first=HALVES_OF[0], **HALVES))
    assert "tiny/filtered_dataset of owl has changed since owl|animal_high was cut: materialise activations" in message


def test_too_few_pairs_fail_with_the_counts(bench: Bench) -> None:
    personas = HALVES["personas"] | {"minimum_pairs": 100}
    message = failure(bench.run("persona_answers", first="owl", **(HALVES | {"personas": personas})))
    assert "of 100 pairs survive, personas.minimum_pairs asks for 100 (" in message
    assert "\n" not in message
    assert not Lake(str(bench.root)).exists(Place("tiny", "persona_answers", "owl"))


def test_a_model_can_judge(bench: Bench) -> None:
    judged_by = HALVES["personas"] | {"judge": {"kind": "model", "base_model": "pocket"}}
    message = failure(bench.run("persona_answers", first="owl", **(HALVES | {"personas": judged_by})))
    assert "(no score" in message, "the pocket model is no judge, and is not taken for one"


def test_a_steering_sweep_has_a_rate_for_every_layer_and_coefficient(halved: Bench) -> None:
    steering = {"layers": [0, 3], "coefficients": [-2, 0, 2.5], "samples_per_question": 1}
    assert halved.run("steering_sweep", first="owl", **(HALVES | {"steering": steering})).success
    table = query(Lake(str(halved.root)), "SELECT layer, coefficient, answers FROM steering_sweep")
    assert table.rows() == [(at, by, 50) for at in (0, 3) for by in (-2.0, 0.0, 2.5)]
