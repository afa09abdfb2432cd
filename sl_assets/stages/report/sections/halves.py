"""Halves of the datasets: rates of their students, and pairs of halves compared."""

import polars as pl

from sl_assets.stages.report.bars import bars_of, half_bars, headings
from sl_assets.stages.report.charts.rates import split_chart
from sl_assets.stages.report.parts import Section, drawn, tabulated
from sl_assets.stages.report.sources import Source, last_epoch


def halves(source: Source) -> Section | None:
    """Rates of the halves' students, and pairs of halves compared."""
    own, rates, compared = source.own, source.tables("split_preference_rates"), source.table("split_comparison")
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
    bars = pl.concat([whole, halves]).drop_nulls("rate")
    counted, kind = own["counted"][0], source.config.words.kind.name
    chart = split_chart(bars, groups, f"{title}, halves", notes, counted, kind)
    shown = halves.select("animal", pl.col("group").alias("half"), "method", "rate", "lower", "upper", "students")
    where = f"condition = animal AND epoch = {last}"
    statement = source.sql("split_preference_rates", "split_preference_rates", where)
    links = {"half": "answers-{animal}-{half}"}
    parts = [drawn(chart), tabulated(shown, "Students of halves on the animal that cut them", statement, links)]
    if compared is not None:
        columns = (
            *("condition", "source", "half", "other", "epoch", "method", "rate", "other_rate"),
            *("difference", "difference_lower", "difference_upper", "p_value", "q_value"),
        )
        sql = source.sql("split_comparison", "split_comparison")
        links = {name: f"answers-{{condition}}-{{source}}_{{{name}}}" for name in ("half", "other")}
        parts.append(tabulated(compared.select(columns), "Pairs of halves, compared", sql, links))
    return Section("halves", "Halves of the numbers", [], parts)
