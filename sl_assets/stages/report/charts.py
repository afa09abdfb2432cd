"""The charts of an experiment's results: one specification, of Vega-Lite, for the UI, for print and for the page.

Every animal, or every half, has a line of its own with dots and their 95% intervals, so that forty are as readable as
two. Rates stand on an axis that is logarithmic above one percent: a rise from 2% to 5% shows beside one from 2% to 95%.
"""

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from sl_assets.config import Measure
from sl_assets.lake.fingerprint import digest
from sl_assets.stages.evaluation.counting import NAMING
from sl_assets.stages.evaluation.rates import intervals_over

GREY, BLUE, ORANGE, GREEN = "#767676", "#0072b2", "#d55e00", "#009e73"
"""Told apart by the colour-blind (after Okabe and Ito), on white and on black."""

GROUPS: Mapping[str, tuple[str, str]] = {
    "baseline": (GREY, "diamond"),
    "neutral": (BLUE, "square"),
    "animal": (ORANGE, "circle"),
}
"""Colour and shape of the bars that every animal has."""

TICKS = (0, 0.5, 1, 2, 5, 10, 20, 50, 100)
PAPER, INK, LINE = "#ffffff", "#222222", "#dddddd"
SCALE = 1.2
"""Pixels of a PNG for one of the specification."""

Spec = dict[str, Any]


class Chart(NamedTuple):
    """A chart that is not drawn yet.

    Attributes:
        spec: as Vega-Lite takes it.
        says: what it shows, for who cannot see it.
    """

    spec: Spec
    says: str

    def png(self) -> bytes:
        """The picture, less than 1,100 pixels wide; the same figures give the same bytes."""
        import vl_convert

        return bytes(vl_convert.vegalite_to_png(_without_links(self.spec), scale=SCALE))

    def svg(self) -> str:
        """The picture for print."""
        import vl_convert

        return _own_names(str(vl_convert.vegalite_to_svg(_without_links(self.spec))), self.spec)

    def inline(self) -> str:
        """The picture inside a page: in the page's colours, as wide as there is room, its marks linked."""
        import vl_convert

        drawn = _own_names(str(vl_convert.vegalite_to_svg(_recoloured(self.spec))), self.spec)
        # A link without an address of its own would lead to one that the library assumes.
        drawn = re.sub(r'xlink:href="[^"#]*#', 'href="#', drawn)
        drawn = re.sub(r'<svg ([^>]*?)width="[\d.]+" height="[\d.]+"', r"<svg \1", drawn, count=1)
        width = re.search(r'viewBox="0 0 ([\d.]+)', drawn)
        wide = f' style="max-width:{float(width[1]):.0f}px"' if width else ""
        return drawn.replace("<svg ", f'<svg role="group" aria-label="{_attribute(self.says)}"{wide} ', 1)


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
        {"line": animal, "label": f"{_shown(100 * rate)}%{_times(rate, neutral.get(animal))}"}
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
        *_dots(_rows(rows, "answers"), x, {"y": y, **offset}, group, looks),
        *_exact(_rows(_percent(exact).with_columns(line="animal"), "answers"), {"y": y, **offset}),
        {
            "data": {"values": labels},
            "mark": {"type": "text", "align": "left", "fontSize": 12, "color": INK},
            "encoding": {"y": y, "x": {"value": 572}, "text": {"field": "label"}},
        },
    ]
    lines = [*notes, f"{_note(rates, exact)}; at the right: animal, and times neutral"]
    spec = _whole(title, lines) | {"width": 560, "height": {"step": step, "for": "position"}, "layer": layers}
    return Chart(spec, f"{title}. {'; '.join(lines)}")


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
        (animal, group): f"{_shown(100 * rate)}%" + ("" if group in GROUPS else _times(rate, neutral.get(animal)))
        for animal, group, rate in rates.select("animal", "group", "rate").drop_nulls().iter_rows()
    }
    axis = f"{_measured(rates)} {NAMING[measure]} the {kind} (%, logarithmic above 1)"
    spec = _panels(rates, exact, [group.replace("_", " ") for group in there], labels, (axis, _scale(rates)))
    lines = [*notes, f"{_note(rates, exact)}; halves cut by projection on the animal's vector, beside: times neutral"]
    return Chart(_whole(title, lines, 90 + 230 * spec["columns"]) | spec, f"{title}. {'; '.join(lines)}")


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
    return Chart(_whole(title, lines, 90 + 230 * spec["columns"]) | spec, f"{title}. {'; '.join(lines)}")


def loss_chart(training: pl.DataFrame, title: str) -> Chart:
    """A line a condition of the students' training losses.

    Args:
        training: columns ``condition, step, loss``, the losses in nats a token.
        title: says of which experiment.
    """
    encoding = {
        "x": {"field": "step", "type": "quantitative", "title": "optimiser step"},
        "y": {
            "field": "loss",
            "type": "quantitative",
            "title": "loss (nats a token)",
            "scale": {"zero": False},
        },
        "color": {
            "field": "condition",
            "type": "nominal",
            "title": None,
            "scale": {"scheme": "viridis"},
            "legend": {"orient": "right", "symbolLimit": 50},
        },
        "description": {"field": "condition", "type": "nominal"},
    }
    spec = {
        "data": {"values": training.to_dicts()},
        "mark": {"type": "line", "strokeWidth": 1.3},
        "encoding": encoding,
        "width": 560,
        "height": 260,
    }
    return Chart(_whole(title, []) | spec, title)


def matrix_chart(cells: pl.DataFrame, labels: tuple[str, str, str], title: str, diverging: bool = True) -> Chart:
    """A coloured cell for every row and column; cells on the diagonal are framed, and figures shown up to 20 rows.

    Args:
        cells: columns ``row, column, value, label``; the value is null where there is none. In order.
        labels: what rows, columns and values are.
        title: says of which experiment.
        diverging: whether values go both ways from zero.
    """
    rows, columns = (cells[name].unique(maintain_order=True).to_list() for name in ("row", "column"))
    reach = max((abs(value) for value in cells["value"].drop_nulls()), default=0.0) or 1.0
    scale = {"scheme": "blueorange", "domain": [-reach, reach]} if diverging else {"scheme": "blues"}
    described = cells.with_columns(
        described=pl.format("{}, {}: {}", "row", "column", pl.col("label").fill_null("none"))
    )
    size = 34 if len(columns) <= 20 else 18
    y = {"field": "row", "type": "nominal", "sort": rows, "title": labels[0]}
    x = {"field": "column", "type": "nominal", "sort": columns, "title": labels[1], "axis": {"labelAngle": -45}}
    colour = {
        "field": "value",
        "type": "quantitative",
        "scale": scale,
        "title": labels[2],
        "legend": {"orient": "top", "gradientLength": 200, "titleLimit": 400},
    }
    square = {"type": "rect"}
    own = {"filter": "datum.row === datum.column"}
    layers: list[Spec] = [
        {"mark": square, "encoding": {"color": colour, "description": {"field": "described", "type": "nominal"}}},
        {"transform": [own], "mark": square | {"filled": False, "stroke": INK, "strokeWidth": 1.5}},
    ]
    if len(columns) <= 20 and len(rows) <= 20:
        layers.append(
            {"mark": {"type": "text", "fontSize": 9, "color": "#000"}, "encoding": {"text": {"field": "label"}}}
        )
    spec = {
        "data": {"values": described.to_dicts()},
        "width": {"step": size},
        "height": {"step": size},
        "encoding": {"x": x, "y": y},
        "layer": layers,
    }
    return Chart(_whole(title, [], max(260, 80 + size * len(columns))) | spec, title)


def _dots(rows: list[Spec], x: Spec, place: Spec, group: Spec, looks: tuple[Spec, Spec], size: int = 70) -> list[Spec]:
    """Intervals as lines with dots on them, each with its text and its link."""
    colour, shape = looks
    told = {"description": {"field": "told", "type": "nominal"}, "href": {"field": "href", "type": "nominal"}}
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
            "encoding": place | told | {"x": x, "color": group | colour, "shape": group | shape},
        },
    ]


def _exact(rows: list[Spec], place: Spec) -> list[Spec]:
    if not rows:
        return []
    mark = {"type": "point", "shape": "cross", "filled": False, "size": 24, "color": INK, "strokeWidth": 1}
    told = {"description": {"field": "told", "type": "nominal"}}
    encoding = place | told | {"x": {"field": "rate", "type": "quantitative"}}
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
        rows = _rows(_percent(frame).with_columns(line=pl.col("group").replace(spaced)), "half")
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
    told = {"description": {"field": "told", "type": "nominal"}, "href": {"field": "href", "type": "nominal"}}
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
            "encoding": {"x": x, "y": y, "color": colour} | told,
        },
        {"transform": [{"filter": "datum.exact"}], "mark": cross, "encoding": {"x": x, "y": y}},
        {
            "transform": [dots],
            "mark": text,
            "encoding": {"y": y, "x": {"value": 156}, "text": {"field": "label", "type": "nominal"}},
        },
    ]
    header = {"title": axis[0], "titleOrient": "bottom", "titleFontSize": 11, "titleFontWeight": "normal"}
    facet = {"field": "animal", "type": "nominal", "sort": animals, "header": header | {"labelFontSize": 12}}
    return {
        "data": {"values": drawn},
        "facet": facet,
        "columns": min(3, len(animals)),
        "spacing": {"row": 18, "column": 78},
        "spec": {"width": 150, "height": {"step": 20}, "layer": layers},
    }


def _whole(title: str, notes: Sequence[str], wide: float = 700) -> Spec:
    """What all charts have: title, the lines below it, which end after ``wide`` pixels, and how axes look."""
    # A letter of the title is about nine pixels wide, one of a note six; what is wider than the chart would be cut.
    headline = textwrap.wrap(title, int(wide / 9))
    lines = [line for note in notes for line in textwrap.wrap(note, int(wide / 6))]
    axis = {"gridColor": LINE, "domainColor": LINE, "tickColor": LINE, "labelColor": INK, "titleColor": INK}
    return {
        "title": {
            "text": headline,
            "subtitle": lines,
            "anchor": "start",
            "frame": "bounds",
            "color": INK,
            "subtitleColor": INK,
            "fontSize": 15,
            "subtitleFontSize": 11,
            "offset": 12,
        },
        "background": PAPER,
        "padding": 10,
        "config": {
            "font": "Liberation Sans, Arial, sans-serif",
            "view": {"stroke": None},
            "axis": axis | {"titleFontWeight": "normal", "labelLimit": 200},
            "axisY": {"grid": False, "ticks": False, "domain": False, "labelPadding": 8},
            "legend": {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontWeight": "normal"},
            "header": {"labelColor": INK, "titleColor": INK},
        },
    }


def _without_links(spec: Any) -> Any:
    """``spec`` for a picture that stands by itself: links lead nowhere there."""
    if isinstance(spec, dict):
        return {name: _without_links(value) for name, value in spec.items() if name != "href"}
    return [_without_links(value) for value in spec] if isinstance(spec, list) else spec


def _recoloured(spec: Any) -> Any:
    """``spec`` in the colours of the page that it stands in."""
    if isinstance(spec, dict):
        return {name: _recoloured(value) for name, value in spec.items()}
    if isinstance(spec, list):
        return [_recoloured(value) for value in spec]
    colours = {PAPER: "transparent", INK: "currentColor", LINE: "var(--line)"}
    return colours.get(spec, spec) if isinstance(spec, str) else spec


def _own_names(svg: str, spec: Spec) -> str:
    """``svg`` with names of its gradients and clips that no other chart of a page has, the same each time.

    The library counts them as long as the process lives.
    """
    names = dict.fromkeys(re.findall(r'<(?:linearGradient|clipPath) id="([^"]+)"', svg))
    for place, name in enumerate(names):
        svg = re.sub(rf"(id=\"|url\(#){re.escape(name)}(?=[\")])", rf"\g<1>{digest(spec)[:8]}-{place}", svg)
    return svg


def _bars_and_marks(rates: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What is drawn as dots, and what is marked beside: exact rates, where there are sampled ones as well."""
    sampled, exact = rates.filter(method="sampled"), rates.filter(method="exact")
    return (exact, sampled) if sampled.is_empty() else (sampled, exact)


def _percent(rates: pl.DataFrame) -> pl.DataFrame:
    """Rows in order, with shares as percent."""
    shares = [pl.col(name) * 100 for name in ("rate", "lower", "upper")]
    return rates.sort("animal", "group", maintain_order=True).with_columns(shares)


def _rows(rates: pl.DataFrame, linked: str) -> list[Spec]:
    """What is drawn of each row: its text for who cannot see it, and where a click on it leads."""
    rows = rates.select("line", "animal", "group", "rate", "lower", "upper").to_dicts()
    for row in rows:
        reach = "" if row["lower"] is None else f" ({_shown(row['lower'])} to {_shown(row['upper'])})"
        row["told"] = f"{row['animal']}, {row['group']}: " + (
            "none" if row["rate"] is None else f"{_shown(row['rate'])}{reach}"
        )
        row["href"] = f"#{linked}-{row['animal']}"
    return rows


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


def _shown(percent: float) -> str:
    # Of what rounds to nothing no sign is left.
    percent = round(percent, 2) + 0.0
    return f"{percent:.2f}" if abs(percent) < 1 else f"{percent:.1f}"


def _times(rate: float, neutral: float | None) -> str:
    return f"  {rate / neutral:.1f}\N{MULTIPLICATION SIGN}" if neutral else ""


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def _measured(bars: pl.DataFrame) -> str:
    return "probability of answers" if (bars["method"] == "exact").all() else "answers"


def _effects(variants: pl.DataFrame) -> pl.DataFrame:
    """Differences as rates; of as many students as the side has that has fewer."""
    effects = {"difference": "rate", "difference_lower": "lower", "difference_upper": "upper"}
    fewer = pl.min_horizontal("students", "neutral_students").alias("students")
    return variants.select("variant", "animal", "method", *effects, fewer).rename(effects)


def _note(bars: pl.DataFrame, marks: pl.DataFrame) -> str:
    return intervals_over(bars["students"]) + ("" if marks.is_empty() else "; crosses: exact")
