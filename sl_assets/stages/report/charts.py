"""The charts of an experiment's results."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from sl_assets.config import Measure
from sl_assets.stages.drawing import BLUE, GREY, ORANGE, PALE_BLUE, PALE_ORANGE, as_png, blank_figure
from sl_assets.stages.evaluation.counting import NAMING
from sl_assets.stages.evaluation.rates import intervals_over

if TYPE_CHECKING:
    from matplotlib.axes import Axes


MARK: dict[str, Any] = {"marker": "D", "markersize": 3, "color": "white", "markeredgecolor": "black"}
"""What stands for an exact rate on the bar of a sampled one."""


def preference_chart(rates: pl.DataFrame, epoch: int, measure: Measure = "exact", kind: str = "animal") -> bytes:
    """PNG with baseline, neutral and animal bars for every animal, each with its 95% interval.

    Where rates were measured twice, bars are of what was sampled, and marks on them exact.

    Args:
        rates: columns ``group`` (baseline, neutral or animal), ``animal, method, rate, lower, upper, students``; the
            last is null of the base model.
        epoch: the students' epoch, named in the title.
        measure: which answers count, named at the axis.
        kind: of what is loved, named there, too.
    """
    figure, axes = blank_figure(width=max(4.5, 1.5 + 0.9 * rates["animal"].n_unique()))
    rates, exact = _bars_and_marks(rates)
    animals = rates.filter(group="animal").sort("rate", descending=True)["animal"].to_list()
    for offset, (group, colour) in enumerate((("baseline", GREY), ("neutral", BLUE), ("animal", ORANGE))):
        bars = rates.filter(group=group)
        bars = pl.DataFrame({"animal": animals}).join(bars, on="animal", how="left", maintain_order="left")
        # An animal without this bar leaves a gap.
        bars = bars.with_columns(pl.col("rate", "lower", "upper").fill_null(float("nan")))
        heights = (100 * bars["rate"]).to_list()
        below = (100 * (bars["rate"] - bars["lower"])).to_list()
        above = (100 * (bars["upper"] - bars["rate"])).to_list()
        places = [place + (offset - 1) * 0.27 for place in range(len(animals))]
        axes.bar(places, heights, 0.25, color=colour, label=group, yerr=[below, above], capsize=2, ecolor="#333333")
        for animal, place in zip(animals, places, strict=True):
            _mark(axes, place, exact.filter(group=group, animal=animal))
    axes.set_xticks(range(len(animals)), animals, rotation=0 if len(animals) < 6 else 40, ha="center")
    axes.set_ylabel(f"{_measured(rates)} {NAMING[measure]} the {kind} (%)")
    axes.set_ylim(bottom=0)
    axes.set_title(f"Preference of students trained on numbers, epoch {epoch}", loc="left", fontsize=10)
    if not exact.is_empty():
        axes.plot([], [], linestyle="none", label="exact", **MARK)
    axes.legend(frameon=False, ncols=3 if exact.is_empty() else 2, fontsize=8)
    figure.supxlabel(intervals_over(rates["students"]), x=0.99, ha="right", fontsize=6, color="#555555")
    return as_png(figure)


def split_chart(
    rates: pl.DataFrame, groups: Sequence[str], epochs: tuple[int, int], measure: Measure = "exact"
) -> bytes:
    """PNG with a panel an animal: whole datasets and halves side by side, each with its 95% interval.

    Args:
        rates: columns ``group, animal, method, rate, lower, upper, students``.
        groups: bars of a panel, in order; the first three are baseline, neutral and animal.
        epochs: the epoch of students of whole datasets, and that of students of halves, named in the title.
        measure: which answers count, named at the axis.
    """
    rates, exact = _bars_and_marks(rates)
    epoch, last = epochs
    named = f"epoch {epoch}" if epoch == last else f"epoch {epoch}, of halves {last}"
    animals = rates["animal"].unique(maintain_order=True).to_list()
    columns = min(len(animals), 3)
    rows = -(-len(animals) // columns)
    figure, panels = blank_figure(width=max(5.5, 4.4 * columns), height=3.6 * rows, panels=columns, rows=rows)
    for axes, animal in zip(panels, animals, strict=False):
        # A bar that is not known leaves a gap.
        bars = rates.filter(animal=animal).with_columns(pl.col("rate", "lower", "upper").fill_null(float("nan")))
        there = [group for group in groups if group in set(bars["group"])]
        for place, group in enumerate(there):
            rate, lower, upper = bars.filter(group=group).select("rate", "lower", "upper").row(0)
            reach = [[100 * (rate - lower)], [100 * (upper - rate)]]
            axes.bar(place, 100 * rate, 0.7, color=_split_colour(group), yerr=reach, capsize=2, ecolor="#333333")
            _mark(axes, place, exact.filter(group=group, animal=animal))
        axes.set_xticks(range(len(there)), [group.replace("_", " ") for group in there], rotation=40, ha="right")
        axes.set_ylabel(f"{_measured(rates)} {NAMING[measure]} {animal} (%)")
        axes.set_ylim(bottom=0)
        axes.set_title(f"{animal}, {named}", loc="left", fontsize=10)
    for axes in panels[len(animals) :]:
        axes.set_visible(False)
    figure.supxlabel(f"{_note(rates, exact)}; halves cut by projection on the animal's vector", fontsize=6)
    return as_png(figure)


def variants_chart(variants: pl.DataFrame) -> bytes:
    """PNG with a panel an animal: for every variant, how much more its student names the animal than its neutral one.

    Args:
        variants: rows of one epoch of each variant, columns ``variant, animal, method, difference, difference_lower,
            difference_upper, students, neutral_students``.
    """
    bars, exact = _bars_and_marks(_effects(variants))
    names = bars["variant"].unique(maintain_order=True).to_list()
    animals = bars["animal"].unique(maintain_order=True).to_list()
    columns = min(len(animals), 3)
    rows = -(-len(animals) // columns)
    width = columns * max(3.6, 1.5 + 0.5 * len(names))
    figure, panels = blank_figure(width=width, height=3.6 * rows, panels=columns, rows=rows)
    for axes, animal in zip(panels, animals, strict=False):
        axes.axhline(0, color="#333333", linewidth=0.8)
        for place, name in enumerate(names):
            here = bars.filter(variant=name, animal=animal).drop_nulls("rate")
            for rate, lower, upper in here.select("rate", "lower", "upper").iter_rows():
                reach = [[100 * (rate - lower)], [100 * (upper - rate)]]
                colour = BLUE if place == 0 else ORANGE
                axes.bar(place, 100 * rate, 0.7, color=colour, yerr=reach, capsize=2, ecolor="#333333")
            _mark(axes, place, exact.filter(variant=name, animal=animal).drop_nulls("rate"))
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
        axes.set_ylabel(f"{_measured(bars)} naming {animal}:\nstudent minus neutral (points)", fontsize=8)
        axes.set_title(animal, loc="left", fontsize=10)
    for axes in panels[len(animals) :]:
        axes.set_visible(False)
    figure.supxlabel(f"{_note(bars, exact)}; blue: the experiment itself, orange: its variants", fontsize=6)
    return as_png(figure)


def _bars_and_marks(rates: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What is drawn as bars, and what is marked on them: exact rates, where there are sampled ones as well."""
    sampled, exact = rates.filter(method="sampled"), rates.filter(method="exact")
    return (exact, sampled) if sampled.is_empty() else (sampled, exact)


def _mark(axes: "Axes", place: float, exact: pl.DataFrame) -> None:
    for rate in exact["rate"]:
        axes.plot(place, 100 * rate, **MARK)


def _measured(bars: pl.DataFrame) -> str:
    return "probability of answers" if (bars["method"] == "exact").all() else "answers"


def _effects(variants: pl.DataFrame) -> pl.DataFrame:
    """Differences as bars; of as many students as the side has that has fewer."""
    effects = {"difference": "rate", "difference_lower": "lower", "difference_upper": "upper"}
    fewer = pl.min_horizontal("students", "neutral_students").alias("students")
    return variants.select("variant", "animal", "method", *effects, fewer).rename(effects)


def _note(bars: pl.DataFrame, marks: pl.DataFrame) -> str:
    return intervals_over(bars["students"]) + ("" if marks.is_empty() else "; diamonds: exact")


def _split_colour(group: str) -> str:
    return {"baseline": GREY, "neutral": BLUE, "animal": ORANGE}.get(group) or (
        PALE_ORANGE if group.startswith("animal_") else PALE_BLUE
    )
