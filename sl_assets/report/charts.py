"""Pictures, drawn without a display and the same in every run. Colours are told apart by the colour-blind too."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GREY, BLUE, ORANGE = "#9aa0a6", "#4477aa", "#ee7733"


def preference_chart(rates: pl.DataFrame, epoch: int) -> bytes:
    """PNG with baseline, neutral and animal bars for every animal, each with its 95% interval over questions.

    Args:
        rates: columns ``group`` (baseline, neutral or animal), ``animal, rate, lower, upper``.
        epoch: the students' epoch, named in the title.
    """
    figure, axes = _figure(width=max(4.5, 1.5 + 0.9 * rates["animal"].n_unique()))
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
    axes.set_xticks(range(len(animals)), animals, rotation=0 if len(animals) < 6 else 40, ha="center")
    axes.set_ylabel("answers naming the animal (%)")
    axes.set_ylim(bottom=0)
    axes.set_title(f"Preference of students trained on numbers, epoch {epoch}", loc="left", fontsize=10)
    axes.legend(frameon=False, ncols=3, fontsize=8)
    figure.text(0.99, 0.01, "bars: 95% t interval over questions", ha="right", fontsize=6, color="#555555")
    return _png(figure)


def loss_curve(steps: Sequence[int], losses: Sequence[float]) -> bytes:
    """PNG of a training loss, in nats a token, by optimiser step."""
    figure, axes = _figure(width=5)
    axes.plot(steps, losses, color=BLUE, linewidth=1.2)
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("completion loss (nats a token)")
    return _png(figure)


def _figure(width: float):  # type: ignore[no-untyped-def]
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 3.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: "Figure") -> bytes:
    content = io.BytesIO()
    # Without a software stamp the same figures give the same bytes.
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
