"""What the UI shows of a materialisation: previews and pictures."""

import base64

import dagster as dg
import polars as pl

PREVIEW_ROWS = 5
PREVIEW_WIDTH = 90


def preview(frame: pl.DataFrame, rows: int = PREVIEW_ROWS) -> dg.MarkdownMetadataValue:
    """The first ``rows`` as a Markdown table, long texts cut."""
    head = frame.head(rows)
    lines = ["| " + " | ".join(head.columns) + " |", "|" + " --- |" * head.width]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in head.iter_rows()]
    return dg.MetadataValue.md("\n".join(lines))


def picture(png: bytes) -> dg.MarkdownMetadataValue:
    """A PNG inside the metadata itself, so that the UI shows it wherever the lake is."""
    return dg.MetadataValue.md(f"![chart](data:image/png;base64,{base64.b64encode(png).decode()})")


def _cell(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    text = text.replace("|", "\\|").replace("\n", " ⏎ ")
    return text if len(text) <= PREVIEW_WIDTH else text[: PREVIEW_WIDTH - 1] + "…"
