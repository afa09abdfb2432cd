"""The documentation as a site, by Sphinx: ``make docs``.

Its sources are the Markdown files of the whole project, where they lie, so a link that works in the repository works on
the site, and a file that is no page is copied beside it. The order of pages is that of the links on docs/index.md.
"""

import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))
from flowcharts import drawn

project = "sl_assets"
extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = [
    "*.md",
    "docs/**.md",
    "examples/**.md",
    "benchmarks/**.md",
    "data_lake/*.md",
    "sl_assets/pocket/model/*.md",
]
exclude_patterns = [".*", "**/.*", "docs/_site", "data_lake/experiment=*"]
templates_path = ["_templates"]
# Anchors and punctuation as GitHub shows them.
myst_heading_anchors = 4
smartquotes = False

html_theme = "furo"
html_title = "sl_assets"
html_static_path = ["_static"]
html_css_files = ["site.css"]
# Whoever opens the folder begins on the page of all pages.
html_additional_pages = {"index": "first.html"}
html_copy_source = False
html_show_copyright = False

SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
PAGE_LINK = re.compile(r"^- \[([^]]+)\]\(([^):#]+)\.md\)", re.MULTILINE)


def add_contents(_: Sphinx, page: str, source: list[str]) -> None:
    """Put the pages that docs/index.md links to into the site's contents, section by section."""
    if page != root_doc:
        return
    for title, text in SECTION.findall(source[0]):
        entries = "\n".join(f"{name} <{target}>" for name, target in PAGE_LINK.findall(text))
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{entries}\n```\n"


def draw_flowcharts(_: Sphinx, document: nodes.document) -> None:
    """Put drawings in the place of Mermaid's text."""
    for block in list(document.findall(nodes.literal_block)):
        if block.get("language") == "mermaid":
            block.replace_self(nodes.raw("", drawn(block.astext()), format="html"))


def setup(app: Sphinx) -> None:
    """Connect both to the events of a build."""
    app.connect("source-read", add_contents)
    app.connect("doctree-read", draw_flowcharts)
