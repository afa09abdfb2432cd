"""Where it all comes from: settings, records, and how to make it again and to cite it."""

import polars as pl
import yaml

from sl_assets.stages.report.parts import Part, Section, tabulated
from sl_assets.stages.report.sources import Source

PAPER = "https://arxiv.org/abs/2507.14805"


def settings(source: Source) -> Section:
    """What differs from the defaults, as the experiment file has it."""
    written = source.config.model_dump(mode="json", exclude_defaults=True)
    text = yaml.safe_dump(written, sort_keys=False, allow_unicode=True, width=100)
    words = ["What differs from the defaults; the command below prints every setting."]
    code = f"{text}\n# sl-assets check --explain {source.name.partition('.')[0]}"
    return Section("settings", "Settings", words, [Part(code=code)])


def lineage(source: Source) -> Section:
    """Every asset and partition, with its version."""
    rows = []
    for asset, keys in source.assets.items():
        records = [record for key in keys if (record := source.record(asset, key))]
        stale = sum(source.place(asset, key) in source.stale for key in keys)
        rows.append(
            {
                "asset": asset,
                "made": len(records),
                "stale": stale,
                "missing": len(keys) - len(records),
                "code": ", ".join(sorted({record.code_version for record in records})),
                "engine": ", ".join(sorted({record.engine for record in records})),
                "seconds": sum(record.seconds for record in records),
                "last made (UTC)": f"{max(record.finished for record in records):%Y-%m-%d %H:%M}" if records else "",
            }
        )
    every = sorted(source.records(), key=lambda record: record.finished)
    detail = [
        {"asset": str(record.place), "version": record.data_version, "seconds": record.seconds, "rows": record.rows}
        for record in every
    ]
    sql = f"SELECT * FROM lineage WHERE experiment = '{source.whose('transfer')}'"
    parts = [tabulated(pl.DataFrame(rows), "Assets, in the order of the graph", sql)]
    if detail:
        parts.append(tabulated(pl.DataFrame(detail, infer_schema_length=None), "Every partition", folded=True))
    return Section("lineage", "Lineage", [], parts)


def again(source: Source) -> Section:
    """Commands, commits and library versions."""
    commits = sorted({record.model_commit for record in source.records() if record.model_commit})
    libraries = sorted({f"{name}=={value}" for record in source.records() for name, value in record.libraries.items()})
    lines = [
        f"sl-assets run {source.name} --dry-run    # what would be made, and why",
        f"sl-assets run {source.name}",
        f"sl-assets report {source.name}",
        f"sl-assets trace {source.name} transfer    # a result back to its prompts",
        *(f"# base model at commit {commit}" for commit in commits),
        *([f"# made with {' '.join(libraries)}"] if libraries else []),
    ]
    words = [
        "With the settings above in the experiment's file, equal inputs give equal results on the same kind of machine."
    ]
    return Section("again", "How to make it again", words, [Part(code="\n".join(lines))])


def citing() -> Section:
    """What to name beside the results."""
    from importlib.metadata import version

    words = ["The effect: Cloud et al., Subliminal Learning, 2025. The program that made these results:"]
    code = f"sl_assets {version('sl_assets')}, MIT licence"
    return Section("citing", "How to cite", words, [Part(code=code)], links=[(PAPER, "arXiv 2507.14805")])
