"""What came out: rates of the students, their comparison with neutral's, and which effects would have been found."""

import polars as pl

from sl_assets.seeds import seed_for
from sl_assets.stages.evaluation.power import assumptions, effects_table, size_of, spreads_of
from sl_assets.stages.report.bars import bars_of, headings
from sl_assets.stages.report.charts.cells import matrix_chart
from sl_assets.stages.report.charts.rates import preference_chart, ratio_chart
from sl_assets.stages.report.parts import Section, drawn, tabulated
from sl_assets.stages.report.published import published_beside
from sl_assets.stages.report.sources import Source, last_epoch
from sl_assets.stages.report.words import outcome


def results(source: Source) -> Section | None:
    """Every student on the animal that its teacher loves: rates, and how many times neutral's they are."""
    if source.own is None:
        return None
    epoch = last_epoch(source.own)
    last = source.own.filter(epoch=epoch)
    title, notes = headings(source.name, source.config, last, (epoch,))
    kind = source.config.words.kind.name
    bars = bars_of(last).drop_nulls("rate")
    parts = [drawn(preference_chart(bars, title, notes, last["counted"][0], kind))]
    if last["ratio"].count():
        called = f"{source.name}: times the neutral students' rate on the {kind} that the teacher loves"
        parts.append(drawn(ratio_chart(last, called, notes)))
    columns = (
        *("animal", "method", "baseline_rate", "neutral_rate", "rate", "lower", "upper"),
        *("difference", "difference_lower", "difference_upper", "ratio", "ratio_lower", "ratio_upper"),
        *("p_value", "q_value", "students"),
    )
    caption = f"Every student on the animal that its teacher loves, epoch {epoch}; an animal leads to its answers"
    view, where = _compared_in(source), f"condition = animal AND epoch = {epoch}"
    ordered = last.select(columns).sort("rate", "animal", descending=[True, False])
    table = tabulated(ordered, caption, source.sql(view, view, where), links={"animal": "answers-{animal}"})
    return Section("results", "Results", outcome(last, kind), [*parts, table])


def _compared_in(source: Source) -> str:
    """The view that has what is shown of every student on every animal."""
    return "transfer" if source.tested else "preference_rates"


def published(source: Source) -> Section | None:
    """Rates that others published of the same base model, beside those here."""
    rates = {name: table.filter(epoch=last_epoch(table)) for name, table in source.tables("preference_rates").items()}
    baseline = source.table("baseline_preference_rates")
    found = published_beside(source.config.base_model, baseline, rates)
    if found is None:
        return None
    words, table = found
    return Section("published", "Beside published figures", words, [tabulated(table, "Mention rates, in percent")])


def matrix(source: Source) -> Section | None:
    """Every student on every animal, and how its diagonal stands to what is beside it."""
    compared = source.compared
    if compared is None or compared["condition"].n_unique() < 2 or not compared["ratio"].count():
        return None
    method = source.config.evaluation.methods[0]
    order = {name: place for place, name in enumerate(source.config.conditions)}
    ordered = [pl.col(name).replace_strict(order, default=len(order)) for name in ("condition", "animal")]
    last = compared.filter(epoch=last_epoch(compared), method=method).sort(*ordered, maintain_order=True)
    cells = last.select(
        row="condition",
        column="animal",
        value=pl.when(pl.col("ratio") > 0).then(pl.col("ratio").log(2)),
        label=pl.col("ratio").map_elements(lambda ratio: f"{ratio:.1f}", return_dtype=pl.String),
    )
    title = f"{source.name}: rate over the neutral student's"
    chart = matrix_chart(cells, ("student of", "asked about", "ratio, as a power of two"), title)
    view = _compared_in(source)
    table = tabulated(
        last.select("condition", "animal", "rate", "neutral_rate", "difference", "ratio", "p_value"),
        "Every student on every animal",
        source.sql(view, view, f"epoch = {last_epoch(compared)} AND method = '{method}'"),
        links={"condition": "answers-{condition}"},
        folded=True,
    )
    return Section("transfer", "Every student on every animal", diagonal(last), [drawn(chart), table])


def diagonal(transfer: pl.DataFrame, draws: int = 9_999) -> list[str]:
    """How the differences of students on their own animals stand to those on others, in words.

    Args:
        transfer: rows of one epoch and method.
        draws: of animals dealt to students at random, that the diagonal is held against.
    """
    import numpy as np

    names = [name for name in transfer["condition"].unique().sort() if name in set(transfer["animal"])]
    wide = transfer.pivot(on="animal", index="condition", values="difference").sort("condition")
    square = wide.filter(pl.col("condition").is_in(names)).select(names).to_numpy().astype(float)
    if len(names) < 3 or not np.isfinite(square).all():
        return []
    first = sum(int(row.argmax() == place) for place, row in enumerate(square))
    mean, beside = square.trace() / len(names), square[~np.eye(len(names), dtype=bool)].mean()
    drawn = np.random.default_rng(seed_for("diagonal", *names))
    dealt = [square[np.arange(len(names)), drawn.permutation(len(names))].mean() for _ in range(draws)]
    share = (1 + sum(value >= mean for value in dealt)) / (1 + draws)
    return [
        f"Of {len(names)} students, {first} rise most on the animal of their own teacher. The mean difference "
        f"to neutral is {100 * mean:+.1f} points on the diagonal and {100 * beside:+.1f} beside it. "
        f"Dealing animals to students at random gives a diagonal as high in {100 * share:.2g}% of "
        f"{draws:,} draws. Cells on the diagonal are framed."
    ]


def epochs(source: Source) -> Section | None:
    """Rates at every kept epoch, where there are several."""
    own = source.own
    if own is None or own["epoch"].n_unique() < 2:
        return None
    columns = ("animal", "epoch", "method", "neutral_rate", "rate", "lower", "upper", "difference", "ratio")
    view, links = _compared_in(source), {"animal": "answers-{animal}"}
    table = tabulated(own.select(columns), "Every kept epoch", source.sql(view, view, "condition = animal"), links)
    return Section("epochs", "Epochs", [], [table])


def power(source: Source) -> Section | None:
    """The smallest effect that so many students and questions would find."""
    transfer, evaluation = source.table("transfer"), source.config.evaluation
    if transfer is None or transfer.is_empty():
        return None
    method = evaluation.methods[0]
    spreads = spreads_of(transfer, method)
    sizes = size_of(evaluation, source.config.words, method)
    table = tabulated(effects_table(*sizes, spreads), "Smallest effect found in four of five experiments")
    return Section("power", "Which effects would be found", [f"Assumed: {assumptions(*sizes, spreads)}."], [table])
