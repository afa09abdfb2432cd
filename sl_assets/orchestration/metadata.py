"""What the UI shows of a materialisation: previews, pictures, links. Plain values, until they are handed to Dagster."""

import base64
import re
from typing import Any, NamedTuple

import polars as pl

PREVIEW_ROWS = 5
PREVIEW_WIDTH = 90
CODE_LENGTH = 3_000
"""Characters of a text that the UI shows as it is."""


class Markdown(NamedTuple):
    """Text that the UI renders."""

    text: str


class Link(NamedTuple):
    """A page elsewhere."""

    url: str


class FilePath(NamedTuple):
    """A file or folder of this machine."""

    path: str


def preview(frame: pl.DataFrame, rows: int = PREVIEW_ROWS) -> Markdown:
    """The first ``rows`` as a Markdown table, long texts cut."""
    head = frame.head(rows)
    lines = ["| " + " | ".join(head.columns) + " |", "|" + " --- |" * head.width]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in head.iter_rows()]
    return Markdown("\n".join(lines))


def _figure(value: float) -> str:
    # What is small has its leading digits, too: of a learning rate or a p-value three decimals show nothing.
    return f"{value:.3g}" if 0 < abs(value) < 0.1 else f"{value:.3f}"


def code_block(*texts: str) -> Markdown:
    """Texts as they are, each in a block of its own; what is too long is cut."""
    return Markdown("\n\n".join(map(_code_block, texts)))


def _code_block(text: str) -> str:
    shown = text if len(text) <= CODE_LENGTH else text[: CODE_LENGTH - 1] + "…"
    # A fence ends at the first that is as long, so that no text may hold one.
    longest = max(map(len, re.findall("`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown}\n{fence}"


def picture(png: bytes) -> Markdown:
    """A PNG inside the metadata itself, so that the UI shows it wherever the lake is."""
    return Markdown(f"![chart](data:image/png;base64,{base64.b64encode(png).decode()})")


def rounded(value: Any) -> Any:
    """A float to six significant digits, or all those before its point; anything else as it is."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if abs(value) < 1e6 else round(value, 0)


def _cell(value: object) -> str:
    text = "" if value is None else _figure(value) if isinstance(value, float) else str(value)
    text = text.replace("|", "\\|").replace("\n", " ⏎ ")
    return text if len(text) <= PREVIEW_WIDTH else text[: PREVIEW_WIDTH - 1] + "…"
