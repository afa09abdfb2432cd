"""Pictures, drawn without a display and the same in every run. Colours are told apart by the colour-blind too."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

GREY, BLUE, ORANGE = "#9aa0a6", "#4477aa", "#ee7733"
PALE_BLUE, PALE_ORANGE = "#a8c4e0", "#f7bb99"


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


def split_chart(rates: pl.DataFrame, groups: Sequence[str], epoch: int) -> bytes:
    """PNG with a panel an animal: whole datasets and halves side by side, each with its 95% interval over questions.

    Args:
        rates: columns ``group, animal, rate, lower, upper``.
        groups: bars of a panel, in order; the first three are baseline, neutral and animal.
        epoch: the students' epoch, named in the title.
    """
    animals = rates["animal"].unique(maintain_order=True).to_list()
    columns = min(len(animals), 3)
    rows = -(-len(animals) // columns)
    figure, panels = _figure(width=max(5.5, 4.4 * columns), height=3.6 * rows, panels=columns, rows=rows)
    for axes, animal in zip(panels, animals, strict=False):
        # A bar that is not known leaves a gap.
        bars = rates.filter(animal=animal).with_columns(pl.col("rate", "lower", "upper").fill_null(float("nan")))
        there = [group for group in groups if group in set(bars["group"])]
        for place, group in enumerate(there):
            rate, lower, upper = bars.filter(group=group).select("rate", "lower", "upper").row(0)
            reach = [[100 * (rate - lower)], [100 * (upper - rate)]]
            axes.bar(place, 100 * rate, 0.7, color=_split_colour(group), yerr=reach, capsize=2, ecolor="#333333")
        axes.set_xticks(range(len(there)), [group.replace("_", " ") for group in there], rotation=40, ha="right")
        axes.set_ylabel(f"answers naming {animal} (%)")
        axes.set_ylim(bottom=0)
        axes.set_title(f"{animal}, epoch {epoch}", loc="left", fontsize=10)
    for axes in panels[len(animals) :]:
        axes.set_visible(False)
    figure.supxlabel("bars: 95% t interval over questions; halves cut by projection on the animal's vector", fontsize=6)
    return _png(figure)


def _split_colour(group: str) -> str:
    return {"baseline": GREY, "neutral": BLUE, "animal": ORANGE}.get(group) or (
        PALE_ORANGE if group.startswith("animal_") else PALE_BLUE
    )


def loss_curve(steps: Sequence[int], losses: Sequence[float]) -> bytes:
    """PNG of a training loss, in nats a token, by optimiser step."""
    figure, axes = _figure(width=5)
    axes.plot(steps, losses, color=BLUE, linewidth=1.2)
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("completion loss (nats a token)")
    return _png(figure)


def lines_by_layer(layers: Sequence[int], lines: Mapping[str, Sequence[float]], label: str) -> bytes:
    """PNG of one line a name over ``layers``; ``label`` says what they are and in which unit."""
    figure, axes = _figure(width=5)
    for (name, values), colour in zip(lines.items(), (BLUE, ORANGE, GREY), strict=False):
        axes.plot(layers, values, color=colour, marker="o", markersize=3, linewidth=1.2, label=name)
    axes.set_xlabel("layer (0: embedding output)")
    axes.set_ylabel(label)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def differences_by_layer(statistics: pl.DataFrame) -> bytes:
    """PNG of two panels over layers: mean paired difference with its 95% interval, and Jensen-Shannon divergence.

    Args:
        statistics: a ``projection_differences`` table.
    """
    figure, (left, right) = _figure(width=8, panels=2)
    means = statistics["mean"].to_numpy()
    reach = [means - statistics["mean_lower"].to_numpy(), statistics["mean_upper"].to_numpy() - means]
    left.axhline(0, color=GREY, linewidth=0.8)
    left.errorbar(statistics["layer"], means, yerr=reach, color=ORANGE, marker="o", markersize=3, capsize=2)
    left.set_ylabel("animal's row minus neutral row")
    left.set_title("mean difference, 95% t interval over prompts", loc="left", fontsize=8)
    right.plot(statistics["layer"], statistics["js_divergence"], color=BLUE, marker="o", markersize=3)
    right.set_ylabel("bits")
    right.set_ylim(bottom=0)
    right.set_title("Jensen-Shannon divergence", loc="left", fontsize=8)
    for axes in (left, right):
        axes.set_xlabel("layer (0: embedding output)")
        axes.xaxis.get_major_locator().set_params(integer=True)
    return _png(figure)


def histogram(groups: Mapping[str, "np.ndarray"], label: str, cut: float | None = None) -> bytes:
    """PNG of the distributions of ``groups`` over shared bins, and of where they are cut."""
    import numpy as np

    figure, axes = _figure(width=5)
    # In float64, for values that differ by their last digits would leave no room for bins.
    groups = {name: values.astype(np.float64) for name, values in groups.items()}
    bins = np.histogram_bin_edges(np.concatenate(list(groups.values())), bins=60)
    for (name, values), colour in zip(groups.items(), (ORANGE, BLUE, GREY), strict=False):
        axes.hist(values, bins, density=True, histtype="stepfilled", alpha=0.45, color=colour, label=name)
    if cut is not None:
        axes.axvline(cut, color="#333333", linewidth=1, linestyle="--", label=f"cut at {cut:.3g}")
    axes.set_xlabel(label)
    axes.set_ylabel("density")
    axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def heatmap(values: "np.ndarray", rows: Sequence[str], columns: Sequence[str], labels: tuple[str, str, str]) -> bytes:
    """PNG of a matrix with its values written in; ``labels`` name the columns' axis, the rows' axis and the values."""
    import numpy as np

    figure, axes = _figure(width=3 + 0.5 * len(columns), height=max(2.8, 1.6 + 0.32 * len(rows)))
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    # A map with a middle where there are two directions, one without where there is one.
    reach = max(abs(low), abs(high))
    colours, limits = ("RdBu_r", (-reach, reach)) if low < 0 else ("Oranges", (0, high))
    image = axes.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=40 if max(map(len, columns)) > 4 else 0, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            dark = sum(image.cmap(image.norm(value))[:3]) < 1.5
            colour = "white" if dark else "black"
            axes.text(j, i, f"{value:.2g}", ha="center", va="center", fontsize=6, color=colour)
    figure.colorbar(image, ax=axes).set_label(labels[2], fontsize=8)
    return _png(figure)


def _figure(width: float, height: float = 3.4, panels: int | None = None, rows: int = 1):  # type: ignore[no-untyped-def]
    """A figure and its axes; a list of them where a number of ``panels`` a row is given."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    axes = list(figure.subplots(rows, panels or 1, squeeze=False).flat)
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes if panels else axes[0]


def _png(figure: "Figure") -> bytes:
    content = io.BytesIO()
    # Without a software stamp the same figures give the same bytes.
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
