"""The documentation as a site: it builds without a warning, has every page, and loads nothing from elsewhere."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sl_assets.config import PROJECT

OUTSIDE = re.compile(r"^(https?:)?//", re.IGNORECASE)
LOADING = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "link": "href",
    "use": "href",
}
"""What a browser loads by itself, by element."""

STYLE_LOADS = re.compile(r"""(?:@import\s+|url\(\s*)["']?([^"')\s]+)""")
SCRIPT_LOADS = re.compile(r"""(?:fetch|import|importScripts)\(\s*["'`](https?:[^"'`]+)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, by the command of the Makefile."""
    made = re.search(r"^docs:.*\n\t\$\(BIN\)/python (.*) docs/_site$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert made
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, *made[1].split(), str(folder)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


class Loads(HTMLParser):
    """Addresses that a page loads, and the text of its styles and scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.inside = tag
        if address := values.get(LOADING.get(tag, "")):
            self.found.append(address)
        self.found += STYLE_LOADS.findall(values.get("style") or "")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "style":
            self.found += STYLE_LOADS.findall(data)
        elif self.inside == "script":
            self.found += SCRIPT_LOADS.findall(data)


def loaded(page: str) -> list[str]:
    parser = Loads()
    parser.feed(page)
    return parser.found


def test_what_a_page_loads_is_seen() -> None:
    page = (
        '<link href="https://a/x.css"><style>@import "//b/y.css"; p {background: url(https://c/z.png)}</style>'
        '<script src="http://d/s.js"></script><script>fetch("https://e/data")</script><a href="https://f">f</a>'
    )
    addresses = [address for address in loaded(page) if OUTSIDE.match(address)]
    assert addresses == ["https://a/x.css", "//b/y.css", "https://c/z.png", "http://d/s.js", "https://e/data"]


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    found = {str(page): [at for at in loaded(page.read_text()) if OUTSIDE.match(at)] for page in pages}
    assert {page: addresses for page, addresses in found.items() if addresses} == {}
    for style in (site / "_static").rglob("*.css"):
        assert [at for at in STYLE_LOADS.findall(style.read_text()) if OUTSIDE.match(at)] == [], style
    for script in (site / "_static").rglob("*.js"):
        assert SCRIPT_LOADS.findall(script.read_text()) == [], script


def test_what_pages_load_is_there(site: Path) -> None:
    for page in site.rglob("*.html"):
        for address in loaded(page.read_text()):
            path = address.partition("?")[0].partition("#")[0]
            if path and not path.startswith("data:") and path not in ("genindex.html", "search.html"):
                assert (page.parent / path).exists(), f"{page}: {address}"


def test_every_page_is_in_the_contents(site: Path) -> None:
    contents = (site / "docs" / "index.html").read_text()
    for page in (PROJECT / "docs").rglob("*.md"):
        if page.name != "index.md":
            target = page.relative_to(PROJECT / "docs").with_suffix(".html")
            assert f'class="reference internal" href="{target}"' in contents, page


def test_the_search_finds_words_of_all_kinds_of_pages(site: Path) -> None:
    index = (site / "searchindex.js").read_text()
    assert index.startswith("Search.setIndex(")
    for name in ("README", "docs/tutorial", "docs/reference/tables", "docs/subliminal", "benchmarks/training/README"):
        assert f'"{name}"' in index


def test_the_first_page_leads_to_the_others(site: Path) -> None:
    first = (site / "index.html").read_text()
    target = re.search(r"url=([^\"]+)", first)
    assert target
    assert (site / target[1]).is_file()


def test_flowcharts_are_drawn(site: Path) -> None:
    source = (PROJECT / "docs" / "architecture.md").read_text()
    charts = re.findall(r"```mermaid\n(.*?)```", source, re.DOTALL)
    page = (site / "docs" / "architecture.html").read_text()
    drawings = re.findall(r'<svg class="flowchart".*?</svg>', page, re.DOTALL)
    assert len(drawings) == len(charts) == 2
    for chart, drawing in zip(charts, drawings, strict=True):
        for label in re.findall(r'(?<!\w)\w+(?:\[|\(\[)"([^"]+)"', chart):
            for line in label.split("<br/>"):
                assert f">{line}</text>" in drawing
        arrows = sum(line.count("-->") for line in chart.splitlines())
        assert drawing.count('class="arrow"') == arrows
