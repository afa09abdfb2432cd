"""Charts of rates and of effects.

Every animal, or every half, has a line of its own with dots and their 95% intervals, so that forty are as readable as
two. Rates stand on an axis that is logarithmic above one percent: a rise from 2% to 5% shows beside one from 2% to 95%.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from sl_assets.config import Measure
from sl_assets.stages.evaluation.counting import NAMING
from sl_assets.stages.evaluation.rates import intervals_over
from sl_assets.stages.report.charts.chart import (
    BLUE,
    GREY,
    INK,
    LINKED,
    ORANGE,
    Chart,
    Spec,
    panel_titles,
    shown,
    whole,
)

GROUPS: Mapping[str, tuple[str, str]] = {
    "baseline": (GREY, "diamond"),
    "neutral": (BLUE, "square"),
    "animal": (ORANGE, "circle"),
}
"""Colour and shape of the bars that every animal has."""

TIMES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
TICKS = (0, 0.5, 1, 2, 5, 10, 20, 50, 100)


def preference_chart(
    rates: pl.DataFrame, title: str, notes: Sequence[str] = (), measure: Measure = "exact", kind: str = "animal"
) -> Chart:
    """Baseline, neutral and animal dots for every animal, each with its 95% interval, and the rise over neutral.

    Where rates were measured twice, dots are of what was sampled, and small marks exact.

    Args:
        rates: columns ``group`` (baseline, neutral or animal), ``animal, method, rate, lower, upper, students``; the
            last is null of the base model.
        title: says of which experiment.
        notes: lines below it: model, epoch, students, answers.
        measure: which answers count, named at the axis.
        kind: of what is loved, named there, too.
    """
    rates, exact = _bars_and_marks(rates)
    animals = rates.filter(group="animal").sort("rate", "animal", descending=[True, False])["animal"].to_list()
    rows = _percent(rates).with_columns(line="animal")
    neutral = dict(rates.filter(group="neutral").select("animal", "rate").iter_rows())
    own = rates.filter(group="animal").select("animal", "rate").drop_nulls().sort("animal")
    labels = [
        {"line": animal, "label": f"{shown(100 * rate)}%{_times(rate, neutral.get(animal))}"}
        for animal, rate in own.iter_rows()
    ]
    step = 34 if len(animals) <= 20 else 27
    axis = f"{_measured(rates)} {NAMING[measure]} the {kind} (%, logarithmic above 1)"
    x = {"field": "rate", "type": "quantitative", "scale": _scale(rates), "axis": _ticks(axis)}
    y = {"field": "line", "type": "nominal", "sort": animals, "title": None, "axis": {"labelFontSize": 12}}
    offset = {"yOffset": {"field": "group", "type": "nominal", "sort": list(GROUPS)}}
    group = {"field": "group", "type": "nominal", "sort": list(GROUPS), "title": None}
    looks = _looks({name: look for name, look in GROUPS.items() if name in set(rates["group"])})
    layers = [
        *_dots(_rows(rows), x, {"y": y, **offset}, group, looks),
        *_exact(_rows(_percent(exact).with_columns(line="animal")), {"y": y, **offset}),
        {
            "data": {"values": labels},
            "mark": {"type": "text", "align": "left", "fontSize": 12, "color": INK},
            "encoding": {"y": y, "x": {"value": 572}, "text": {"field": "label"}},
        },
    ]
    lines = [*notes, f"{_note(rates, exact)}; at the right: animal, and times neutral"]
    spec = whole(title, lines) | {"width": 560, "height": {"step": step, "for": "position"}, "layer": layers}
    return Chart(spec, f"{title}. {'; '.join(lines)}")


def ratio_chart(own: pl.DataFrame, title: str, notes: Sequence[str] = ()) -> Chart:
    """How many times the neutral students' rate that of each animal's students is, with 95% intervals.

    The axis is logarithmic, so that twice and fifty times show beside each other, and half as clearly as twice.

    Args:
        own: rows of ``transfer``, columns ``animal, method, ratio, ratio_lower, ratio_upper``.
        title, notes: as in `preference_chart`.
    """
    table, _ = _bars_and_marks(own.drop_nulls("ratio").sort("ratio", "animal", descending=[True, False]))
    limits = [value for name in ("ratio", "ratio_lower", "ratio_upper") for value in table[name].drop_nulls() if value]
    low, high = (pick([1.0, *limits]) for pick in (min, max))
    start = max((tick for tick in TIMES if tick <= low), default=TIMES[0])
    end = min((tick for tick in TIMES if tick >= high), default=TIMES[-1])
    rows = _ratio_rows(table, start, end)
    ticks = [tick for tick in TIMES if start <= tick <= end]
    x = {
        "field": "ratio",
        "type": "quantitative",
        "scale": {"type": "log", "domain": [start, end], "clamp": True},
        "axis": _ticks("times the neutral students' rate (logarithmic)", ticks),
    }
    y: Spec = {"field": "animal", "type": "nominal", "sort": table["animal"].to_list(), "title": None}
    y["axis"] = {"labelFontSize": 12}
    layers = [
        {
            "data": {"values": [{"one": 1}]},
            "mark": {"type": "rule", "color": BLUE},
            "encoding": {"x": x | {"field": "one"}},
        },
        {
            "data": {"values": rows},
            "mark": {"type": "rule", "strokeWidth": 2, "color": ORANGE, "aria": False},
            "encoding": {"y": y, "x": x | {"field": "lower"}, "x2": {"field": "upper"}},
        },
        {
            "data": {"values": rows},
            "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1, "color": ORANGE},
            "encoding": {"y": y, "x": x} | LINKED,
        },
        {
            "data": {"values": rows},
            "mark": {"type": "text", "align": "left", "fontSize": 12, "color": INK, "aria": False},
            "encoding": {"y": y, "x": {"value": 492}, "text": {"field": "label"}},
        },
    ]
    lines = [*notes, f"{intervals_over(table['students'])}; the line at one: as often as neutral students"]
    spec = whole(title, lines) | {"width": 480, "height": {"step": 24}, "layer": layers}
    return Chart(spec, f"{title}. {'; '.join(lines)}")


def _ratio_rows(table: pl.DataFrame, start: float, end: float) -> list[Spec]:
    """What is drawn of each ratio between ``start`` and ``end`` of the axis, and what is said of it."""
    rows = []
    for animal, ratio, lower, upper in table.select("animal", "ratio", "ratio_lower", "ratio_upper").iter_rows():
        # Where neutral students may never name it, there is no telling how many times it is at most.
        reach = "" if lower is None else f" ({shown(lower)} to {'any' if upper is None else shown(upper)})"
        places = {"ratio": ratio, "lower": lower, "upper": upper if lower is None or upper is not None else end}
        # Nothing has no place on a logarithmic axis, and stands at its end.
        placed = {name: None if value is None else max(value, start) for name, value in places.items()}
        said = {"told": f"{animal}: {shown(ratio)} times neutral{reach}", "label": f"{shown(ratio)}{reach}"}
        rows.append({"animal": animal, "href": f"#answers-{animal}"} | said | placed)
    return rows


def split_chart(
    rates: pl.DataFrame,
    groups: Sequence[str],
    title: str,
    notes: Sequence[str] = (),
    measure: Measure = "exact",
    kind: str = "animal",
) -> Chart:
    """A panel an animal: whole datasets and halves in lines, each with its 95% interval.

    Args:
        rates: columns ``group, animal, method, rate, lower, upper, students``.
        groups: lines of a panel, in order; the first three are baseline, neutral and animal.
        title, notes, measure, kind: as in `preference_chart`.
    """
    rates, exact = _bars_and_marks(rates)
    there = [group for group in groups if group in set(rates["group"])]
    neutral = dict(rates.filter(group="neutral").select("animal", "rate").iter_rows())
    labels = {
        (animal, group): f"{shown(100 * rate)}%" + ("" if group in GROUPS else _times(rate, neutral.get(animal)))
        for animal, group, rate in rates.select("animal", "group", "rate").drop_nulls().iter_rows()
    }
    axis = f"{_measured(rates)} {NAMING[measure]} the {kind} (%, logarithmic above 1)"
    spec = _panels(rates, exact, [group.replace("_", " ") for group in there], labels, (axis, _scale(rates)))
    lines = [*notes, f"{_note(rates, exact)}; halves cut by projection on the animal's vector, beside: times neutral"]
    return Chart(whole(title, lines, 90 + 230 * spec["columns"]) | spec, f"{title}. {'; '.join(lines)}")


def variants_chart(variants: pl.DataFrame, title: str, notes: Sequence[str] = ()) -> Chart:
    """A panel an animal: for every variant, how much more its student names the animal than its neutral one.

    Args:
        variants: rows of one epoch of each variant, columns ``variant, animal, method, difference, difference_lower,
            difference_upper, students, neutral_students``.
        title, notes: as in `preference_chart`.
    """
    bars, exact = _bars_and_marks(_effects(variants).rename({"variant": "group"}))
    names = bars["group"].unique(maintain_order=True).to_list()
    labels = {
        (animal, name): f"{100 * rate:+.1f}"
        for animal, name, rate in bars.select("animal", "group", "rate").drop_nulls().iter_rows()
    }
    axis = f"{_measured(bars)} naming it: student minus neutral (points)"
    spec = _panels(bars, exact, names, labels, (axis, {"zero": True, "nice": True}), {names[0]: (BLUE, "square")})
    lines = [*notes, f"{_note(bars, exact)}; blue: the experiment itself"]
    return Chart(whole(title, lines, 90 + 230 * spec["columns"]) | spec, f"{title}. {'; '.join(lines)}")


def _dots(rows: list[Spec], x: Spec, place: Spec, group: Spec, looks: tuple[Spec, Spec], size: int = 70) -> list[Spec]:
    """Intervals as lines with dots on them, each with its text and its link."""
    colour, shape = looks
    ends = {"x": x | {"field": "lower"}, "x2": {"field": "upper"}}
    return [
        {
            "data": {"values": rows},
            "mark": {"type": "rule", "strokeWidth": 2, "aria": False},
            "encoding": place | ends | {"color": group | colour},
        },
        {
            "data": {"values": rows},
            "mark": {"type": "point", "filled": True, "size": size, "opacity": 1},
            "encoding": place | LINKED | {"x": x, "color": group | colour, "shape": group | shape},
        },
    ]


def _exact(rows: list[Spec], place: Spec) -> list[Spec]:
    if not rows:
        return []
    mark = {"type": "point", "shape": "cross", "filled": False, "size": 24, "color": INK, "strokeWidth": 1}
    encoding = place | LINKED | {"x": {"field": "rate", "type": "quantitative"}}
    return [{"data": {"values": rows}, "mark": mark, "encoding": encoding}]


def _panels(
    rates: pl.DataFrame,
    exact: pl.DataFrame,
    names: Sequence[str],
    labels: Mapping[tuple[str, str], str],
    axis: tuple[str, Spec],
    looks: Mapping[str, tuple[str, str]] = GROUPS,
) -> Spec:
    """Small multiples, a panel an animal and a line a group; ``labels`` stand at the right of each line."""
    animals = rates["animal"].unique(maintain_order=True).to_list()
    spaced = {name.replace(" ", "_"): name for name in names}

    def lines(frame: pl.DataFrame) -> list[Spec]:
        rows = _rows(_percent(frame).with_columns(line=pl.col("group").replace(spaced)))
        return [row | {"label": labels.get((row["animal"], row["group"]), "")} for row in rows]

    drawn = [row | {"exact": False} for row in lines(rates)] + [row | {"exact": True} for row in lines(exact)]
    colour = {
        "field": "line",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": list(names), "range": [_look(name, looks)[0] for name in names]},
    }
    x = {"field": "rate", "type": "quantitative", "scale": axis[1], "axis": {"title": None, "tickCount": 5}}
    if axis[1].get("type") == "symlog":
        x["axis"] = _ticks(None, (0, 1, 5, 20, 100))
    y = {"field": "line", "type": "nominal", "sort": list(names), "title": None}
    dots = {"filter": "!datum.exact"}
    text = {"type": "text", "align": "left", "fontSize": 10, "color": INK, "aria": False}
    cross = {"type": "point", "shape": "cross", "filled": False, "size": 36, "color": INK}
    layers = [
        {
            "transform": [dots],
            "mark": {"type": "rule", "strokeWidth": 2, "aria": False},
            "encoding": {"x": x | {"field": "lower"}, "x2": {"field": "upper"}, "y": y, "color": colour},
        },
        {
            "transform": [dots],
            "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
            "encoding": {"x": x, "y": y, "color": colour} | LINKED,
        },
        {"transform": [{"filter": "datum.exact"}], "mark": cross, "encoding": {"x": x, "y": y} | LINKED},
        {
            "transform": [dots],
            "mark": text,
            "encoding": {"y": y, "x": {"value": 156}, "text": {"field": "label", "type": "nominal"}},
        },
    ]
    facet = {"field": "animal", "type": "nominal", "sort": animals, "header": panel_titles(axis[0])}
    return {
        "data": {"values": drawn},
        "facet": facet,
        "columns": min(3, len(animals)),
        "spacing": {"row": 18, "column": 78},
        "spec": {"width": 150, "height": {"step": 20}, "layer": layers},
    }


def _bars_and_marks(rates: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What is drawn as dots, and what is marked beside: exact rates, where there are sampled ones as well."""
    sampled, exact = rates.filter(method="sampled"), rates.filter(method="exact")
    return (exact, sampled) if sampled.is_empty() else (sampled, exact)


def _percent(rates: pl.DataFrame) -> pl.DataFrame:
    """Rows in order, with shares as percent."""
    shares = [pl.col(name) * 100 for name in ("rate", "lower", "upper")]
    return rates.sort("animal", "group", maintain_order=True).with_columns(shares)


def _rows(rates: pl.DataFrame) -> list[Spec]:
    """What is drawn of each row: its text for who cannot see it, and where a click on it leads."""
    rows = rates.select("line", "animal", "group", "rate", "lower", "upper").to_dicts()
    for row in rows:
        reach = "" if row["lower"] is None else f" ({shown(row['lower'])} to {shown(row['upper'])})"
        row["told"] = f"{row['animal']}, {row['group']}: " + (
            "none" if row["rate"] is None else f"{shown(row['rate'])}{reach}"
        )
        row["href"] = f"#answers-{_whose(row['group'], row['animal'])}"
    return rows


def _whose(group: str, animal: str) -> str:
    """Whose answers a dot is made of: the base model's, a condition's, or those of a half's students."""
    if group in ("baseline", "neutral"):
        return group
    return animal if group == "animal" else f"{animal}-{group}"


def _scale(rates: pl.DataFrame) -> Spec:
    """Linear up to one percent and logarithmic above: a rate of nothing has a place on it, too."""
    highest = max((100 * value for value in [*rates["upper"].drop_nulls(), *rates["rate"].drop_nulls()]), default=1.0)
    end = next((tick for tick in TICKS if tick >= highest and tick >= 1), 100)
    return {"type": "symlog", "constant": 1, "domain": [0, end], "clamp": True}


def _ticks(title: str | None, values: Sequence[float] = TICKS) -> Spec:
    return {"title": title, "values": list(values), "labelExpr": "datum.value"}


def _looks(groups: Mapping[str, tuple[str, str]]) -> tuple[Spec, Spec]:
    """Scales of colour and shape, with one legend on top."""
    names, legend = list(groups), {"orient": "top", "symbolSize": 80}
    colours, shapes = ([look[place] for look in groups.values()] for place in (0, 1))
    return (
        {"scale": {"domain": names, "range": colours}, "legend": legend},
        {"scale": {"domain": names, "range": shapes}, "legend": legend},
    )


def _look(name: str, looks: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    return looks.get(name) or ((BLUE, "square") if name.startswith("neutral") else (ORANGE, "circle"))


def _times(rate: float, neutral: float | None) -> str:
    return f"  {rate / neutral:.1f}\N{MULTIPLICATION SIGN}" if neutral else ""


def _measured(bars: pl.DataFrame) -> str:
    return "probability of answers" if (bars["method"] == "exact").all() else "answers"


def _effects(variants: pl.DataFrame) -> pl.DataFrame:
    """Differences as rates; of as many students as the side has that has fewer."""
    effects = {"difference": "rate", "difference_lower": "lower", "difference_upper": "upper"}
    fewer = pl.min_horizontal("students", "neutral_students").alias("students")
    return variants.select("variant", "animal", "method", *effects, fewer).rename(effects)


def _note(bars: pl.DataFrame, marks: pl.DataFrame) -> str:
    return intervals_over(bars["students"]) + ("" if marks.is_empty() else "; crosses: exact")
