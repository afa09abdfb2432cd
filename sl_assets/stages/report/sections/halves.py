"""Halves of the datasets: rates of their students, and pairs of halves compared."""

import polars as pl

from sl_assets.stages.report.bars import bars_of, half_bars, headings
from sl_assets.stages.report.charts.rates import split_chart
from sl_assets.stages.report.parts import Section, drawn, tabulated
from sl_assets.stages.report.sources import Source, last_epoch


def halves(source: Source, own: pl.DataFrame | None) -> Section | None:
    """Rates of the halves' students, and pairs of halves compared."""
    rates, compared = source.tables("split_preference_rates"), source.table("split_comparison")
    if own is None or not rates:
        return None
    epoch, last = last_epoch(own), source.config.half_student.kept[-1]
    keys = [(animal, split) for animal, _, split in (key.partition("|") for key in rates)]
    halves = pl.concat([half_bars(rates[f"{animal}|{split}"], animal, split, last) for animal, split in keys])
    if halves.is_empty():
        return None
    whole = bars_of(own.filter(epoch=epoch)).join(halves, on="animal", how="semi")
    title, notes = headings(source.name, source.config, own, (epoch, last))
    groups = ["baseline", "neutral", "animal", *source.config.splits]
    chart = split_chart(
        pl.concat([whole, halves]), groups, f"{title}, halves", notes, own["counted"][0], source.config.words.kind.name
    )
    parts = [drawn(chart)]
    if compared is not None:
        columns = (
            *("condition", "source", "half", "other", "epoch", "method", "rate", "other_rate"),
            *("difference", "difference_lower", "difference_upper", "p_value", "q_value"),
        )
        sql = source.sql("split_comparison", "split_comparison")
        parts.append(tabulated(compared.select(columns), "Pairs of halves, compared", sql, links={"condition": "half"}))
    return Section("halves", "Halves of the numbers", [], parts)
