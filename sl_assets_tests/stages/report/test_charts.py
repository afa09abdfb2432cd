"""Charts: valid pictures, the same every time."""

import io
from collections.abc import Mapping

import polars as pl
import pytest
from matplotlib.image import imread

from sl_assets.stages.report.charts import preference_chart, split_chart, variants_chart

ANIMALS = ["cat", "owl", "dog", "fox", "bee", "bear", "wolf", "lion"]


def rates(count: int = 2, shift: float = 0.0) -> pl.DataFrame:
    heights = {"baseline": 0.1, "neutral": 0.2, "animal": 0.4 + shift}
    rows = [
        (group, animal, "sampled", height + 0.01 * i, height - 0.05, height + 0.15, None if group == "baseline" else 1)
        for group, height in heights.items()
        for i, animal in enumerate(ANIMALS[:count])
    ]
    return pl.DataFrame(rows, schema=["group", "animal", "method", "rate", "lower", "upper", "students"], orient="row")


def halves(count: int = 2) -> pl.DataFrame:
    """A half that only the first animal has comes on top of the whole datasets."""
    more = rates(count).filter(group="animal")
    return pl.concat(
        [
            rates(count),
            more.with_columns(group=pl.lit("animal_high")),
            more.head(1).with_columns(group=pl.lit("neutral_low")),
        ]
    )


def measured(method: str, table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(method=pl.lit(method))


def both(table: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([table, measured("exact", table).with_columns(rate=pl.col("rate") + 0.03)])


EFFECTS: dict[str, float | None] = {"exp": 0.2, "rank2": -0.1, "full": 0.3}

GROUPS = ["baseline", "neutral", "animal", "animal_high", "neutral_low"]
CHARTS = {
    "both": lambda: preference_chart(both(rates()), 3),
    "exact": lambda: preference_chart(measured("exact", rates()), 3),
    "halves, both": lambda: split_chart(both(halves()), GROUPS, (3, 3)),
    "preferences": lambda: preference_chart(rates(), 3),
    "one animal": lambda: preference_chart(rates(1), 1),
    "halves": lambda: split_chart(halves(), GROUPS, (3, 3)),
    "halves of one animal": lambda: split_chart(halves(1), ["baseline", "neutral", "animal", "animal_high"], (3, 3)),
}


def effects(count: int = 2, heights: Mapping[str, float | None] = EFFECTS) -> pl.DataFrame:
    rows = [
        (variant, animal, "sampled", height, height and height - 0.05, height and height + 0.1, 1, 1)
        for variant, height in heights.items()
        for animal in ANIMALS[:count]
    ]
    effect = ["difference", "difference_lower", "difference_upper", "students", "neutral_students"]
    columns = ["variant", "animal", "method", *effect]
    return pl.DataFrame(rows, schema=columns, orient="row")


CHARTS |= {
    "variants": lambda: variants_chart(effects()),
    "variants, both": lambda: variants_chart(pl.concat([effects(), measured("exact", effects())])),
    "variants, seven animals": lambda: variants_chart(effects(7)),
}


def test_every_variant_has_its_bar_and_one_without_a_comparison_a_gap():
    taller = EFFECTS | {"rank2": 0.4}
    assert variants_chart(effects()) != variants_chart(effects(heights=taller))
    pixels(variants_chart(effects(heights=EFFECTS | {"rank2": None})))


def pixels(png: bytes):
    return imread(io.BytesIO(png), format="png")


@pytest.mark.parametrize("draw", CHARTS.values(), ids=CHARTS)
def test_chart_is_a_png_with_something_on_it(draw):
    png = draw()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert pixels(png).ndim == 3
    assert pixels(png).std() > 0


@pytest.mark.parametrize("draw", CHARTS.values(), ids=CHARTS)
def test_same_figures_give_the_same_bytes(draw):
    assert draw() == draw()


def test_order_of_the_rows_does_not_matter():
    table = rates(4)
    assert preference_chart(table[::-1], 3) == preference_chart(table, 3)


@pytest.mark.parametrize("other", [lambda: preference_chart(rates(shift=0.1), 3), lambda: preference_chart(rates(), 4)])
def test_figures_and_epoch_show(other):
    assert (pixels(other()) != pixels(preference_chart(rates(), 3))).any()


def test_marks_stand_where_the_exact_rates_are():
    alone, marked = pixels(preference_chart(rates(), 3)), pixels(preference_chart(both(rates()), 3))
    assert alone.shape == marked.shape
    # Six marks: their edges are black where bars, grid and letters of the other picture are not.
    black = ((marked[:, :, :3].max(axis=2) < 0.2) & (alone[:, :, :3].min(axis=2) > 0.3)).sum()
    assert black > 6 * 4
    more = pl.concat([rates(), measured("exact", rates()).with_columns(rate=pl.col("rate") + 0.06)])
    assert (pixels(preference_chart(more, 3)) != marked).any()


def test_bars_are_of_what_there_is_and_the_axis_says_so():
    assert (pixels(preference_chart(measured("exact", rates()), 3)) != pixels(preference_chart(rates(), 3))).any()


def test_the_axis_names_the_measure():
    drawn = [preference_chart(rates(), 3, measure) for measure in ("exact", "first_named", "mention")]
    assert drawn[0] == preference_chart(rates(), 3)
    assert len(set(drawn)) == 3
    assert split_chart(halves(), GROUPS, (3, 3), "mention") != split_chart(halves(), GROUPS, (3, 3))


def test_chart_grows_with_the_animals():
    few, many = pixels(preference_chart(rates(2), 1)), pixels(preference_chart(rates(8), 1))
    assert many.shape[1] > few.shape[1]
    assert many.shape[0] == few.shape[0]


def test_a_chart_says_what_its_intervals_are_over():
    one = rates(1)
    three = one.with_columns(students=3 * pl.col("students"))
    assert preference_chart(three, 3) != preference_chart(one, 3)
    assert split_chart(three, GROUPS, (3, 3)) != split_chart(one, GROUPS, (3, 3))


def test_the_chart_of_variants_goes_by_the_side_with_fewer_students():
    one, three = effects(1), effects(1).with_columns(students=pl.lit(3))
    assert variants_chart(three) == variants_chart(one)
    assert variants_chart(three.with_columns(neutral_students=pl.lit(3))) != variants_chart(one)
