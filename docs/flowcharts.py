"""A Mermaid flowchart as a drawing, for pages that load nothing from elsewhere.

GitHub draws Mermaid by a script of several megabytes; here a chart is SVG in the page. Of Mermaid it knows what
the pages use: boxes (`a["text"]`), round boxes (`a(["text"])`), subgraphs, and arrows with or without a word on them.
Every subgraph is a band across the page, from top to bottom; without subgraphs a box stands below all that point to it.
"""

import re
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

WIDTH, PER_ROW = 760, 3
BOX_HEIGHT, LINE, GAP, TITLE = 38, 14, 30, 22
LETTER = 6.6
"""Pixels of a letter in a box."""

NODE = re.compile(r'(\w+)(?:(\[|\(\[)"([^"]*)"(?:\]\)|\]))?')
ARROW = re.compile(r"\s+--(?:\s+([^-]+?)\s+--)?>\s+")


@dataclass
class Chart:
    """What a flowchart says.

    Attributes:
        texts: lines of each box, by its name.
        round: names of round boxes.
        arrows: from, to, and the word on it.
        bands: title, and names of its boxes.
    """

    texts: dict[str, list[str]] = field(default_factory=dict)
    round: set[str] = field(default_factory=set)
    arrows: list[tuple[str, str, str]] = field(default_factory=list)
    bands: list[tuple[str, list[str]]] = field(default_factory=list)


def parsed(source: str) -> Chart:
    """The chart that ``source`` describes.

    Raises:
        ValueError: a line is none of those that are known.
    """
    chart, inside = Chart(), False
    kind, *lines = (line.strip() for line in source.strip().splitlines())
    if not kind.startswith("flowchart "):
        raise ValueError(f"{kind}: no flowchart")
    for line in lines:
        if line.startswith("subgraph "):
            chart.bands.append((NODE.fullmatch(line.removeprefix("subgraph "))[3], []))
            inside = True
        elif line == "end":
            inside = False
        else:
            _add(chart, line, chart.bands[-1][1] if inside else None)
    if not chart.bands:
        chart.bands = [("", row) for row in _ranks(chart)]
    return chart


def _add(chart: Chart, line: str, band: list[str] | None) -> None:
    # Between the boxes of a chain stand the words on its arrows.
    parts = ARROW.split(line)
    names = []
    for text in parts[::2]:
        found = NODE.fullmatch(text)
        if not found:
            raise ValueError(f"{line}: neither boxes nor arrows")
        name, bracket, label = found.groups()
        if label is not None or name not in chart.texts:
            chart.texts[name] = (label or name).split("<br/>")
        if bracket == "([":
            chart.round.add(name)
        if band is not None:
            band.append(name)
        names.append(name)
    chart.arrows += [(*ends, word or "") for ends, word in zip(pairwise(names), parts[1::2], strict=True)]


def _ranks(chart: Chart) -> list[list[str]]:
    """Boxes by the longest way to them."""
    rank = dict.fromkeys(chart.texts, 0)
    for _ in chart.texts:
        for start, end, _ in chart.arrows:
            rank[end] = max(rank[end], rank[start] + 1)
    return [[name for name in rank if rank[name] == level] for level in range(max(rank.values()) + 1)]


def drawn(source: str) -> str:
    """``source`` as an SVG element whose colours are those of the page."""
    chart = parsed(source)
    centres: dict[str, tuple[float, float]] = {}
    shapes: list[str] = []
    top = 4.0
    for title, names in chart.bands:
        rows = [names[first : first + PER_ROW] for first in range(0, len(names), PER_ROW)]
        height = len(rows) * (BOX_HEIGHT + GAP) + (TITLE if title else 0)
        if title:
            shapes.append(
                f'<rect class="band" x="2" y="{top:g}" width="{WIDTH - 4}" height="{height - GAP / 2 + 4:g}" rx="6"/>'
                f'<text class="title" x="12" y="{top + 16:g}">{escape(title)}</text>'
            )
        for level, row in enumerate(rows):
            middle = top + (TITLE if title else 0) + level * (BOX_HEIGHT + GAP) + BOX_HEIGHT / 2 + 4
            for place, name in enumerate(row):
                centres[name] = (WIDTH * (place + 0.5) / len(row), middle)
        top += height + (GAP / 2 if title else 0)
    arrows = [_arrow(centres[start], centres[end], word) for start, end, word in chart.arrows]
    boxes = [_box(chart, name, *centres[name]) for name in centres]
    return (
        f'<svg class="flowchart" viewBox="0 0 {WIDTH} {top:g}" role="img" aria-label="flowchart">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 8 4 0 8z"/></marker></defs>{"".join(shapes + arrows + boxes)}</svg>'
    )


def _box(chart: Chart, name: str, x: float, y: float) -> str:
    lines = chart.texts[name]
    width = max(map(len, lines)) * LETTER + 16
    corner = BOX_HEIGHT / 2 if name in chart.round else 3
    first = y + 4 - (len(lines) - 1) * LINE / 2
    texts = "".join(f'<text x="{x:g}" y="{first + LINE * n:g}">{escape(line)}</text>' for n, line in enumerate(lines))
    left, top = x - width / 2, y - BOX_HEIGHT / 2
    return f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{BOX_HEIGHT}" rx="{corner:g}"/>{texts}'


def _arrow(start: tuple[float, float], end: tuple[float, float], word: str) -> str:
    (x1, y1), (x2, y2) = start, end
    half = BOX_HEIGHT / 2
    if y1 == y2:
        # Boxes of one row: below them, from one to the other.
        y1, y2, bend = y1 + half, y2 + half, GAP * 0.8
        path = f"M{x1:g} {y1:g}C{x1:g} {y1 + bend:g} {x2:g} {y2 + bend:g} {x2:g} {y2:g}"
    else:
        y1, y2 = (y1 + half, y2 - half) if y1 < y2 else (y1 - half, y2 + half)
        bend = (y2 - y1) / 2
        path = f"M{x1:g} {y1:g}C{x1:g} {y1 + bend:g} {x2:g} {y2 - bend:g} {x2:g} {y2:g}"
    label = f'<text class="word" x="{(x1 + x2) / 2:g}" y="{(y1 + y2) / 2:g}">{escape(word)}</text>' if word else ""
    return f'<path class="arrow" d="{path}" marker-end="url(#tip)"/>{label}'
