"""Charts of rates: every figure has its place, text and link, and a small ratio shows beside a large one."""

import re
from collections.abc import Mapping
from xml.etree import ElementTree

import polars as pl
import pytest

from sl_assets.stages.report.charts.chart import Chart
from sl_assets.stages.report.charts.rates import preference_chart, ratio_chart, split_chart, variants_chart

pytest.importorskip("vl_convert")

ANIMALS = [f"animal{i}" for i in range(40)]
TITLE, NOTES = "exp: students", ["base model pocket, epoch 3"]


def rates(count: int = 2, shift: float = 0.0) -> pl.DataFrame:
    heights = {"baseline": 0.01, "neutral": 0.02, "animal": 0.05 + shift}
    rows = [
        (group, animal, "sampled", height + 0.005 * i, 0.9 * height, 1.5 * height + 0.005 * i, students)
        for group, height in heights.items()
        for students in [None if group == "baseline" else 1]
        for i, animal in enumerate(ANIMALS[:count])
    ]
    return pl.DataFrame(rows, schema=["group", "animal", "method", "rate", "lower", "upper", "students"], orient="row")


def halves(count: int = 2) -> pl.DataFrame:
    """A half that only the first animal has comes on top of the whole datasets."""
    more = rates(count).filter(group="animal")
    first = more.head(1).with_columns(group=pl.lit("neutral_low"))
    return pl.concat([rates(count), more.with_columns(group=pl.lit("animal_high")), first])


def measured(method: str, table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(method=pl.lit(method))


def both(table: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([table, measured("exact", table).with_columns(rate=pl.col("rate") + 0.003)])


EFFECTS: dict[str, float | None] = {"exp": 0.2, "rank2": -0.1, "full": 0.3}
GROUPS = ["baseline", "neutral", "animal", "animal_high", "neutral_low"]


def effects(count: int = 2, heights: Mapping[str, float | None] = EFFECTS) -> pl.DataFrame:
    rows = [
        (variant, animal, "sampled", height, height and height - 0.05, height and height + 0.1, 1, 1)
        for variant, height in heights.items()
        for animal in ANIMALS[:count]
    ]
    effect = ["difference", "difference_lower", "difference_upper", "students", "neutral_students"]
    return pl.DataFrame(rows, schema=["variant", "animal", "method", *effect], orient="row")


def texts(chart: Chart) -> list[str]:
    root = ElementTree.fromstring(chart.svg())
    return ["".join(found.itertext()) for found in root.iter("{http://www.w3.org/2000/svg}text")]


def test_every_rate_has_its_text_and_a_link_and_the_ratio_stands_beside():
    chart = preference_chart(rates(), TITLE, NOTES)
    page = chart.inline()
    assert "animal1, animal: 5.5 (4.5 to 8.0)" in page
    assert "animal0, baseline: 1.0 (0.90 to 1.5)" in page
    assert page.count('href="#answers-animal0"') == 1
    assert page.count('href="#answers-baseline"') == page.count('href="#answers-neutral"') == 2
    assert {"5.5% 2.2\N{MULTIPLICATION SIGN}", "5.0% 2.5\N{MULTIPLICATION SIGN}"} <= {
        " ".join(text.split()) for text in texts(chart)
    }
    assert any(text.startswith(NOTES[0]) for text in texts(chart))


def test_animals_stand_in_the_order_of_their_rates_however_rows_come():
    chart = preference_chart(rates(4)[::-1], TITLE)
    names = [text for text in texts(chart) if text.startswith("animal") and text != "animal"]
    assert names == ["animal3", "animal2", "animal1", "animal0"]
    assert chart.svg() == preference_chart(rates(4), TITLE).svg()


def test_a_rate_of_nothing_has_a_place_and_one_that_is_not_known_none():
    table = rates(1).with_columns(lower=0.0, rate=pl.when(pl.col("group") == "neutral").then(0.0).otherwise("rate"))
    chart = preference_chart(table, TITLE)
    assert "animal0, neutral: 0.00 (0.00 to" in chart.inline()
    assert "NaN" not in chart.inline()
    # Without a neutral rate there is no ratio.
    assert "5.0%" in texts(chart)
    variants = variants_chart(effects(1, EFFECTS | {"rank2": None}), TITLE)
    assert "+20.0" in texts(variants)
    assert not any(text.startswith("-10") for text in texts(variants))


def test_exact_rates_are_marks_beside_what_was_drawn_or_dots_by_themselves():
    alone, marked = preference_chart(rates(), TITLE), preference_chart(both(rates()), TITLE)
    assert "animal0, animal: 5.3 (" in marked.inline()
    assert "animal0, animal: 5.3 (" not in alone.inline()
    only = texts(preference_chart(measured("exact", rates()), TITLE))
    assert any(text.startswith("probability of answers naming") for text in only)


def test_a_half_has_its_line_in_the_panel_of_its_animal():
    page = split_chart(halves(), GROUPS, TITLE).inline()
    assert page.count("animal0, neutral_low: 5.0") == 1
    assert "animal1, neutral_low" not in page
    assert 'href="#answers-animal1-animal_high"' in page


def test_a_narrow_chart_wraps_its_title_within_its_width():
    long = "exp: how often students name the animal that their teacher loves, halves of the numbers"
    chart = split_chart(halves(1), GROUPS, long)
    (width,) = re.findall(r'viewBox="0 0 ([\d.]+)', chart.svg())
    assert len(chart.spec["title"]["text"]) > 1
    assert max(map(len, chart.spec["title"]["text"])) * 9 <= float(width)
    assert max(map(len, chart.spec["title"]["subtitle"])) * 6 <= float(width)


def test_the_axis_names_the_measure():
    axes = [texts(preference_chart(rates(), TITLE, (), measure)) for measure in ("exact", "first_named", "mention")]
    for found, naming in zip(axes, ("naming", "first naming", "mentioning"), strict=True):
        assert f"answers {naming} the animal (%, logarithmic above 1)" in found


def test_the_axis_names_the_kind():
    drawn = (preference_chart(rates(), TITLE, kind="tree"), split_chart(halves(), GROUPS, TITLE, kind="tree"))
    assert all("answers naming the tree (%, logarithmic above 1)" in texts(chart) for chart in drawn)


def test_a_chart_says_what_its_intervals_are_over():
    one = rates(1)
    three = one.with_columns(students=3 * pl.col("students"))
    assert any("given these students, one each" in text for text in texts(preference_chart(one, TITLE)))
    assert any("over questions and 3 students" in text for text in texts(split_chart(three, GROUPS, TITLE)))
    fewer = effects(1).with_columns(students=pl.lit(3))
    assert any("one each" in text for text in texts(variants_chart(fewer, TITLE)))


def ratios(*given: tuple[float, float | None, float | None]) -> pl.DataFrame:
    rows = [(ANIMALS[place], "sampled", *values, 3) for place, values in enumerate(given)]
    columns = ["animal", "method", "ratio", "ratio_lower", "ratio_upper", "students"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def ends(chart: Chart) -> list[float]:
    """Of the intervals that are drawn, how long they are, in pixels."""
    root = ElementTree.fromstring(chart.svg())
    lines = [found for found in root.iter("{http://www.w3.org/2000/svg}line") if found.get("stroke") == "#d55e00"]
    return [abs(float(line.get("x2") or 0)) for line in lines]


def test_twice_is_as_long_on_the_axis_of_ratios_wherever_it_stands():
    chart = ratio_chart(ratios((40.0, 30.0, 60.0), (2.0, 1.5, 3.0)), TITLE, NOTES)
    first, second = ends(chart)
    assert first == pytest.approx(second, abs=0.1)
    assert first > 20
    assert "animal0: 40.0 times neutral (30.0 to 60.0)" in chart.inline()
    assert 'href="#answers-animal0"' in chart.inline()


def test_a_ratio_of_nothing_or_without_an_upper_end_has_a_place():
    chart = ratio_chart(ratios((2.0, 0.0, None), (0.0, None, None)), TITLE)
    assert "animal0: 2.0 times neutral (0.00 to any)" in chart.inline()
    assert "animal1: 0.00 times neutral" in chart.inline()
    assert "NaN" not in chart.inline()
