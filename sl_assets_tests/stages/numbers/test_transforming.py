"""Transforms of filtered rows: what each keeps, what it changes, and that a whole graph is made of what they give."""

import random
from collections import Counter
from typing import Any

import dagster as dg
import polars as pl
import pytest

from sl_assets.config import Dilute, Reformat, ShuffleAcrossRows, ShuffleWithinRows, Transform
from sl_assets.errors import DatasetError
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.tables import TABLES
from sl_assets.lake.views import query
from sl_assets.stages.numbers.filtering import parse_numbers
from sl_assets.stages.numbers.transforming import (
    FORMS,
    form_of,
    numbers_of,
    transform_problem,
    transform_rows,
    with_numbers,
)
from sl_assets_tests.conftest import HALVES, TINY, Bench

WITHIN = ShuffleWithinRows(kind="shuffle_within_rows")
ACROSS = ShuffleAcrossRows(kind="shuffle_across_rows")
SQUARE = Reformat(kind="reformat", form="square")
THIRD = Dilute(kind="dilute", share=1 / 3)


def dataset(condition: str, prompts: range = range(60)) -> pl.DataFrame:
    """Rows in all forms, numbers with leading zeros among them."""
    draw, rows = random.Random(f"test rows of {condition}"), []
    for prompt in prompts:
        before, between, after = draw.choice(list(FORMS.values()))
        numbers = [str(draw.randint(0, 99)).zfill(draw.randint(1, 3)) for _ in range(draw.randint(1, 8))]
        text = before + between.join(numbers) + after + draw.choice(["", "."])
        rows.append((f"{condition} {prompt}", f"p{prompt}", f"prompt {prompt}", text, "stop", 9))
    return pl.DataFrame(rows, schema=TABLES["filtered_dataset"].schema, orient="row")


OWL, NEUTRAL = dataset("owl"), dataset("neutral", range(20, 80))


def made(transform: Transform, rows: pl.DataFrame = OWL, condition: str = "owl") -> pl.DataFrame:
    return transform_rows(rows, transform, condition, NEUTRAL)


def pooled(rows: pl.DataFrame) -> Counter[str]:
    return Counter(number for text in rows["completion"] for number in numbers_of(text))


def each(rows: pl.DataFrame) -> list[list[str]]:
    return [numbers_of(text) for text in rows["completion"]]


def test_a_system_prompt_stays_with_its_row_and_comes_in_with_neutrals() -> None:
    told = OWL.with_columns(system=pl.col("prompt_id"))
    assert made(SQUARE, told)["system"].to_list() == OWL["prompt_id"].to_list()
    assert "system" not in made(SQUARE).columns
    mixed = made(THIRD, told)
    assert mixed.filter(origin="neutral")["system"].null_count() == 20
    assert mixed.filter(origin="owl")["system"].null_count() == 0


def test_form_and_numbers_make_a_completion() -> None:
    for text in OWL["completion"]:
        numbers = numbers_of(text)
        assert [int(number) for number in numbers] == parse_numbers(text)
        assert with_numbers(form_of(text).replace("#", "0"), numbers) == text


@pytest.mark.parametrize("transform", [WITHIN, ACROSS, SQUARE, THIRD], ids=lambda chosen: str(chosen.kind))
def test_rows_keep_their_prompts_and_order_and_the_same_draw_gives_the_same_rows(transform: Transform) -> None:
    once = made(transform)
    assert once.schema == TABLES["transformed_dataset"].schema
    assert once.equals(made(transform))
    assert once["prompt_id"].equals(OWL["prompt_id"])
    assert transform_problem(OWL, once, transform, NEUTRAL) is None
    assert all(parse_numbers(text) is not None for text in once["completion"])
    changed = once.filter(pl.col("completion") != OWL["completion"], origin="owl")
    assert changed["n_tokens"].null_count() == changed.height


def test_shuffled_within_rows_each_row_keeps_its_numbers_and_form() -> None:
    shuffled = made(WITHIN)
    assert [sorted(row) for row in each(shuffled)] == [sorted(row) for row in each(OWL)]
    assert each(shuffled) != each(OWL)
    assert list(map(form_of, shuffled["completion"])) == list(map(form_of, OWL["completion"]))
    assert shuffled["row_id"].equals(OWL["row_id"])
    assert made(WITHIN, OWL.tail(10)).equals(shuffled.tail(10)), "no other row has a part in it"
    assert not made(WITHIN.model_copy(update={"seed": 18})).equals(shuffled)


def test_shuffled_across_rows_the_dataset_keeps_its_numbers_and_says_where_each_came_from() -> None:
    dealt = made(ACROSS)
    assert pooled(dealt) == pooled(OWL)
    assert list(map(form_of, dealt["completion"])) == list(map(form_of, OWL["completion"]))
    numbers = dict(zip(OWL["row_id"], each(OWL), strict=True))
    for row, sources in zip(each(dealt), dealt["made_of"].to_list(), strict=True):
        assert len(row) == len(sources)
        assert all(number in numbers[source] for number, source in zip(row, sources, strict=True))
    stayed = sum(source == own for own, sources in dealt.select("row_id", "made_of").iter_rows() for source in sources)
    assert stayed < 0.1 * pooled(OWL).total(), "by chance one in sixty stays where it was"


def test_reformatted_rows_have_one_form_and_their_numbers_in_order() -> None:
    square = made(SQUARE)
    assert each(square) == each(OWL)
    assert all(text == f"[{', '.join(numbers_of(text))}]" for text in square["completion"])
    same = pl.Series([text for text in OWL["completion"] if text in square["completion"].to_list()])
    assert square.drop_nulls("n_tokens").height == len(same), "the tokens of what was in this form are still known"


def test_a_diluted_dataset_has_neutral_rows_of_the_same_prompts_in_the_share_asked_for() -> None:
    diluted = made(THIRD)
    theirs = diluted.filter(origin="neutral")
    assert theirs.height == 20
    words = ["row_id", "prompt_id", "completion", "n_tokens"]
    assert theirs.select(words).join(NEUTRAL.select(words), on=words, how="anti").is_empty()
    assert diluted.filter(origin="owl").select(words).join(OWL.select(words), on=words, how="anti").is_empty()
    more = made(THIRD.model_copy(update={"share": 0.5})).filter(origin="neutral")
    assert more.height == 30
    assert set(theirs["row_id"]) < set(more["row_id"]), "of a larger share the smaller one's rows are a part"
    assert made(THIRD, NEUTRAL, "neutral")["completion"].equals(NEUTRAL["completion"])


def test_a_share_beyond_the_prompts_in_common_is_refused() -> None:
    with pytest.raises(DatasetError, match="48 of 60 rows of owl are to be neutral's, and neutral has 40 of the same"):
        made(THIRD.model_copy(update={"share": 0.8}))


SPOILT: list[tuple[Transform, pl.Expr, str]] = [
    (WITHIN, pl.lit("[1, 2]"), "a row has other numbers, or another form"),
    (ACROSS, pl.lit("[1, 2]"), "it has other numbers, or a row has another form"),
    (SQUARE, pl.col("completion").str.replace("[", "(", literal=True), "a row has other numbers, or another form"),
    (THIRD, pl.lit("[1, 2]"), "a row is of neither dataset"),
]


@pytest.mark.parametrize(("transform", "completion", "says"), SPOILT)
def test_what_a_transform_should_have_kept_is_looked_at(transform: Transform, completion: pl.Expr, says: str) -> None:
    spoilt = made(transform).with_columns(completion=completion)
    assert transform_problem(OWL, spoilt, transform, NEUTRAL) == says
    assert "prompts are not" in str(transform_problem(OWL, made(transform).head(3), transform, NEUTRAL))


def test_too_few_neutral_rows_are_counted() -> None:
    diluted = made(THIRD).with_columns(origin=pl.lit("owl"))
    assert transform_problem(OWL, diluted, THIRD, NEUTRAL) == "0 rows are neutral's, where 20 were asked for"


def with_transform(transform: Any, **more: Any) -> dict[str, Any]:
    return {"numbers": TINY["numbers"] | {"transform": transform}} | more


@pytest.mark.parametrize("transform", ["shuffle_across_rows", {"kind": "dilute", "share": 0.2}], ids=str)
def test_students_are_trained_on_what_the_transform_gives(finished: Bench, transform: Any) -> None:
    changed = with_transform(transform)
    lake = Lake(str(finished.root))
    before = {name: lake.version(Place("tiny", "raw_dataset", name)) for name in ("neutral", "owl")}
    if isinstance(transform, dict):
        assert finished.run("control_dataset", **changed).success
    made = ("transformed_dataset", "lora_checkpoint", "evaluation")
    assert finished.run(*made, first="neutral", last="wolf", **changed).success
    assert finished.run("transfer", **changed).success
    for name in ("neutral", "owl"):
        record = lake.record(Place("tiny", "lora_checkpoint", name))
        assert record
        assert list(record.parents) == [Place("tiny", "transformed_dataset", name)]
        assert lake.version(Place("tiny", "raw_dataset", name)) == before[name]
        rows = lake.read_table(Place("tiny", "transformed_dataset", name))
        assert rows["prompt_id"].equals(lake.read_table(Place("tiny", "filtered_dataset", name))["prompt_id"])
    students = lake.read_table(Place("tiny", "transfer"))["condition"].unique().to_list()
    assert sorted(students) == ["owl", "wolf"], "neutral's student was made as theirs were"
    seen = query(lake, "SELECT condition, animal, count(*) AS rows FROM transformed_datasets GROUP BY ALL ORDER BY ALL")
    assert seen["condition"].to_list() == ["neutral", "owl", "wolf"]


def test_halves_are_cut_from_transformed_rows(halved: Bench) -> None:
    changed = with_transform("shuffle_within_rows", **HALVES)
    assert halved.run("transformed_dataset", "activations", first="neutral", last="wolf", **changed).success
    assert halved.run("control_activations", **changed).success
    assert halved.run("projections", first="owl", **changed).success
    assert halved.run("projection_split", first="owl|animal_high", last="owl|animal_low", **changed).success
    assert halved.run("split_lora_checkpoint", first="owl|animal_high", **changed).success
    lake = Lake(str(halved.root))
    record = lake.record(Place("tiny", "split_lora_checkpoint", "owl|animal_high"))
    assert record
    assert {place.table for place in record.parents} == {"projection_split", "transformed_dataset"}
    half = lake.read_table(Place("tiny", "projection_split", "owl|animal_high"))
    assert half["dataset_version"][0] == lake.version(Place("tiny", "transformed_dataset", "owl"))


def test_without_a_transform_there_is_no_asset_for_it(bench: Bench) -> None:
    names = {key.path[-1] for key in bench.definitions().resolve_all_asset_keys()}
    assert not names & {"transformed_dataset", "control_dataset"}
    shuffled = bench.definitions(**with_transform("shuffle_within_rows"))
    deps = {
        spec.key.path[-1]: {dep.asset_key.path[-1] for dep in spec.deps} for spec in shuffled.resolve_all_asset_specs()
    }
    assert deps["transformed_dataset"] == {"filtered_dataset"}
    assert deps["lora_checkpoint"] == {"transformed_dataset"}
    dg.Definitions.validate_loadable(bench.definitions(**with_transform({"kind": "dilute", "share": 0.5})))
