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


def loss_curve(steps: Sequence[int], losses: Sequence[float]) -> bytes:
    """PNG of a training loss, in nats a token, by optimiser step."""
    figure, axes = blank_figure(width=5)
    axes.plot(steps, losses, color=BLUE, linewidth=1.2)
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("completion loss (nats a token)")
    return as_png(figure)


def loss_curves(curves: Mapping[str, tuple[Sequence[int], Sequence[float]]]) -> bytes:
    """PNG of the losses of several trainings, in nats a token, by optimiser step: a line a name."""
    import matplotlib

    figure, axes = blank_figure(width=5)
    colours = matplotlib.colormaps["viridis"]
    for place, (name, (steps, losses)) in enumerate(curves.items()):
        colour = colours(place / len(curves))
        axes.plot(steps, losses, color=colour, linewidth=0.9, label=name)
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("completion loss (nats a token)")
    axes.legend(frameon=False, fontsize=8, ncols=2)
    return as_png(figure)


def lines_by_layer(layers: Sequence[int], lines: Mapping[str, Sequence[float]], label: str) -> bytes:
    """PNG of one line a name over ``layers``; ``label`` says what they are and in which unit."""
    figure, axes = blank_figure(width=5)
    for (name, values), colour in zip(lines.items(), (BLUE, ORANGE, GREY), strict=False):
        axes.plot(layers, values, color=colour, marker="o", markersize=3, linewidth=1.2, label=name)
    axes.set_xlabel("layer (0: embedding output)")
    axes.set_ylabel(label)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, fontsize=8)
    return as_png(figure)


def differences_by_layer(statistics: pl.DataFrame) -> bytes:
    """PNG of two panels over layers: mean paired difference with its 95% interval, and Jensen-Shannon divergence.

    Args:
        statistics: a ``projection_differences`` table.
    """
    figure, (left, right) = blank_figure(width=8, panels=2)
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
    return as_png(figure)


def histogram(groups: Mapping[str, "np.ndarray"], label: str, cut: float | None = None) -> bytes:
    """PNG of the distributions of ``groups`` over shared bins, and of where they are cut."""
    import numpy as np

    figure, axes = blank_figure(width=5)
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
    return as_png(figure)


def heatmap(values: "np.ndarray", rows: Sequence[str], columns: Sequence[str], labels: tuple[str, str, str]) -> bytes:
    """PNG of a matrix with its values written in; ``labels`` name the columns' axis, the rows' axis and the values."""
    import numpy as np

    figure, axes = blank_figure(width=3 + 0.5 * len(columns), height=max(2.8, 1.6 + 0.32 * len(rows)))
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
    return as_png(figure)


def blank_figure(width: float, height: float = 3.4, panels: int | None = None, rows: int = 1):  # type: ignore[no-untyped-def]
    """A figure and its axes; a list of them where a number of ``panels`` a row is given."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    axes = list(figure.subplots(rows, panels or 1, squeeze=False).flat)
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes if panels else axes[0]


def as_png(figure: "Figure") -> bytes:
    """``figure`` as a PNG."""
    content = io.BytesIO()
    # Without a software stamp the same figures give the same bytes.
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
