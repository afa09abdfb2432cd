"""What README and docs promise exists: commands, files, tables, settings, and SQL that runs."""

import re
from typing import Any

import pytest
import yaml

from sl_assets.cli.commands import cli
from sl_assets.config import PROJECT
from sl_assets.config.reading import validated
from sl_assets.lake.lake import Lake
from sl_assets.lake.views import query
from sl_assets_tests.conftest import HALVES, Bench, tiny_settings

README = (PROJECT / "README.md").read_text()
PAGES = {
    path: path.read_text()
    for path in [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *PROJECT.glob("docs/**/*.md")]
}
EVERYTHING = "\n".join(PAGES.values())
BLOCKS = re.findall(r"```\n(.*?)```", EVERYTHING, flags=re.DOTALL)
LINK = re.compile(r"\]\((?!http)([^)#\s]*)(#[^)]*)?\)")


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^make (\w+)", "".join(BLOCKS), flags=re.MULTILINE))))
def test_every_make_command_is_a_target(target: str) -> None:
    assert re.search(rf"^{target}:", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"sl-assets (\w+)", "".join(BLOCKS)))))
def test_every_subcommand_exists(name: str) -> None:
    assert name in cli.commands


def anchor(heading: str) -> str:
    """The name by which a heading is linked to, as GitHub makes it."""
    kept = "".join(letter for letter in heading.lower() if letter.isalnum() or letter in " -_")
    return kept.strip().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_link_leads_somewhere(page: Any) -> None:
    for path, place in LINK.findall(PAGES[page]):
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), path
        if place and file.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", file.read_text(), flags=re.MULTILINE)
            assert place[1:] in map(anchor, headings), f"{path}{place}"


QUESTIONS = re.findall(r"^\| [^|]*\? \| `([^`]+)` \|", README, flags=re.MULTILINE)
ASKED = PAGES[PROJECT / "docs" / "subliminal.md"].partition("## Asking it here")[2]
QUESTIONS += re.findall(r"`([a-z]+: \{.+?\})`", ASKED)
BESIDE: dict[str, dict[str, Any]] = {"splits": {name: HALVES[name] for name in ("personas", "projections")}}
"""What settings are written beside."""


# A wording is a file beside the experiment's, which the page about it has.
@pytest.mark.parametrize("line", [line for line in QUESTIONS if not line.startswith("wording:")])
def test_every_question_is_settings_that_are_taken(line: str) -> None:
    settings = yaml.safe_load(line)
    beside = next((BESIDE[section] for section in settings if section in BESIDE), {})
    validated(tiny_settings(checks={}, **beside, **settings))


def test_there_are_questions() -> None:
    assert len(QUESTIONS) > 14


def test_every_query_runs(halved: Bench) -> None:
    lake = Lake(str(halved.root))
    statements = re.findall(r'sl-assets sql "([^"]+)"', README + PAGES[PROJECT / "docs" / "results.md"])
    assert statements
    for statement in statements:
        assert query(lake, statement).height


def test_the_tree_names_real_places() -> None:
    for name in re.findall(r"^  (\w+(?:/|\.py)) ", PAGES[PROJECT / "CONTRIBUTING.md"], flags=re.MULTILINE):
        assert (PROJECT / "sl_assets" / name).exists()
