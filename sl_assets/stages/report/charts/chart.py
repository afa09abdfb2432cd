"""A chart: a specification, of Vega-Lite, that is drawn for the UI, for print and for the page."""

import re
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from sl_assets.lake.fingerprint import digest

GREY, BLUE, ORANGE, GREEN = "#767676", "#0072b2", "#d55e00", "#009e73"
"""Told apart by the colour-blind (after Okabe and Ito), on white and on black."""

PAPER, INK, LINE = "#ffffff", "#222222", "#dddddd"
SCALE = 1.2
"""Pixels of a PNG for one of the specification."""

Spec = dict[str, Any]

TOLD: Spec = {"description": {"field": "told", "type": "nominal"}}
"""Encoding of a mark whose row says in ``told`` what it shows, for who cannot see it."""

LINKED: Spec = TOLD | {"href": {"field": "href", "type": "nominal"}}
"""The same of one that a click on leads to ``href``."""


def panel_titles(below: str) -> Spec:
    """Headers of small multiples: what each is of, and under all of them what they show."""
    return {
        "title": below,
        "titleOrient": "bottom",
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "labelFontSize": 12,
    }


class Chart(NamedTuple):
    """A chart that is not drawn yet.

    Attributes:
        spec: as Vega-Lite takes it.
        says: what it shows, for who cannot see it.
    """

    spec: Spec
    says: str

    def png(self) -> bytes:
        """The picture, less than 1,100 pixels wide; the same figures give the same bytes."""
        import vl_convert

        return bytes(vl_convert.vegalite_to_png(_without_links(self.spec), scale=SCALE))

    def svg(self) -> str:
        """The picture for print."""
        import vl_convert

        return _own_names(str(vl_convert.vegalite_to_svg(_without_links(self.spec))), self.spec)

    def inline(self) -> str:
        """The picture inside a page: in the page's colours, its marks linked; ``--wide`` is its width in pixels."""
        import vl_convert

        drawn = _own_names(str(vl_convert.vegalite_to_svg(_recoloured(self.spec))), self.spec)
        # A hundredth of a pixel is seen by nobody, and thousands of marks have places.
        drawn = re.sub(r'(?<= )(?:d|transform|x|y|x1|y1|x2|y2|width|height)="[^"]*"', _rounded, drawn)
        # A link without an address of its own would lead to one that the library assumes.
        drawn = re.sub(r'xlink:href="[^"#]*#', 'href="#', drawn)
        # Cells are too many to stop at with a keyboard; the table beside has the same links.
        drawn = re.sub(r'<a (?=href="[^"]*"><path [^>]*="rect mark")', '<a tabindex="-1" ', drawn)
        drawn = re.sub(r'<svg ([^>]*?)width="[\d.]+" height="[\d.]+"', r"<svg \1", drawn, count=1)
        width = re.search(r'viewBox="0 0 ([\d.]+)', drawn)
        wide = f' style="--wide:{float(width[1]):.0f}px"' if width else ""
        return drawn.replace("<svg ", f'<svg role="group" aria-label="{_attribute(self.says)}"{wide} ', 1)


def whole(title: str, notes: Sequence[str], wide: float = 700) -> Spec:
    """What all charts have: title, the lines below it, which end after ``wide`` pixels, and how axes look."""
    # A letter of the title is about nine pixels wide, one of a note six; what is wider than the chart would be cut.
    headline = textwrap.wrap(title, int(wide / 9))
    lines = [line for note in notes for line in textwrap.wrap(note, int(wide / 6))]
    axis = {"gridColor": LINE, "domainColor": LINE, "tickColor": LINE, "labelColor": INK, "titleColor": INK}
    return {
        "title": {
            "text": headline,
            "subtitle": lines,
            "anchor": "start",
            "frame": "bounds",
            "color": INK,
            "subtitleColor": INK,
            "fontSize": 15,
            "subtitleFontSize": 11,
            "offset": 12,
        },
        "background": PAPER,
        "padding": 10,
        "config": {
            "font": "Liberation Sans, Arial, sans-serif",
            "view": {"stroke": None},
            "axis": axis | {"titleFontWeight": "normal", "labelLimit": 200},
            "axisY": {"grid": False, "ticks": False, "domain": False, "labelPadding": 8},
            "legend": {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontWeight": "normal"},
            "header": {"labelColor": INK, "titleColor": INK},
        },
    }


def _without_links(spec: Any) -> Any:
    """``spec`` for a picture that stands by itself: links lead nowhere there."""
    if isinstance(spec, dict):
        return {name: _without_links(value) for name, value in spec.items() if name != "href"}
    return [_without_links(value) for value in spec] if isinstance(spec, list) else spec


def _recoloured(spec: Any) -> Any:
    """``spec`` in the colours of the page that it stands in."""
    if isinstance(spec, dict):
        return {name: _recoloured(value) for name, value in spec.items()}
    if isinstance(spec, list):
        return [_recoloured(value) for value in spec]
    colours = {PAPER: "transparent", INK: "currentColor", LINE: "var(--line)"}
    return colours.get(spec, spec) if isinstance(spec, str) else spec


def _own_names(svg: str, spec: Spec) -> str:
    """``svg`` with names of its gradients and clips that no other chart of a page has, the same each time.

    The library counts them as long as the process lives.
    """
    names = dict.fromkeys(re.findall(r'<(?:linearGradient|clipPath) id="([^"]+)"', svg))
    for place, name in enumerate(names):
        svg = re.sub(rf"(id=\"|url\(#){re.escape(name)}(?=[\")])", rf"\g<1>{digest(spec)[:8]}-{place}", svg)
    return svg


def shown(percent: float) -> str:
    """Percent as they are read: two decimals below one, else one."""
    # Of what rounds to nothing no sign is left.
    percent = round(percent, 2) + 0.0
    return f"{percent:.2f}" if abs(percent) < 1 else f"{percent:.1f}"


def _rounded(attribute: re.Match[str]) -> str:
    return re.sub(r"(\.\d)\d+", r"\1", attribute[0])


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
