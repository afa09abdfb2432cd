"""docs/sql.md names views, options and questions that there are."""

import re

import pytest

from sl_assets.cli.commands import cli
from sl_assets.config import PROJECT
from sl_assets.lake.catalogue import CATALOGUE

PAGE = (PROJECT / "docs" / "sql.md").read_text()
QUERIES = (PROJECT / "examples" / "queries.sql").read_text()


def questions() -> list[str]:
    """The questions, without what is said beside them."""
    return [f"{number} {text}" for number, text in re.findall(r"^-- (\d+\.) ([^?]+\?)", QUERIES, flags=re.MULTILINE)]


def test_views_that_the_page_begins_with_are_views() -> None:
    table = "".join(line for line in PAGE.splitlines() if line.startswith("| "))
    named = re.findall(r"`(\w+)`", re.sub(r"`condition = animal`", "", table))
    assert named
    assert set(named) <= set(CATALOGUE)


def test_the_page_has_every_question_and_no_other() -> None:
    assert re.findall(r"^\d+\. .*", PAGE, flags=re.MULTILINE) == questions()


@pytest.mark.parametrize("name", ["sql", "status", "export"])
def test_options_on_the_page_are_the_commands(name: str) -> None:
    options = {option for parameter in cli.commands[name].params for option in parameter.opts if option[0] == "-"}
    said = " ".join(re.findall(rf"sl-assets {name}\b[^\n]*", PAGE))
    used = set(re.findall(r"(?<=\s)--?[a-z]+", said))
    assert used
    assert used <= options


if __name__ == "__main__":
    print("\n".join(questions()))
