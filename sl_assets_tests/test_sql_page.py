"""docs/sql.md lists the views, what is exported and the queries as they are in the code."""

import re

import pytest

from sl_assets.cli.commands import cli
from sl_assets.config import PROJECT
from sl_assets.lake.catalogue import CATALOGUE

PAGE = (PROJECT / "docs" / "sql.md").read_text()
QUERIES = (PROJECT / "examples" / "queries.sql").read_text()


def rows() -> list[str]:
    """The rows of the page's table of views."""
    return [
        f"| `{name}` | {view.row} | {'with --rows' if view.of_rows else 'yes'} |" for name, view in CATALOGUE.items()
    ]


def questions() -> list[str]:
    """The questions, without what is said beside them."""
    return [f"{number} {text}" for number, text in re.findall(r"^-- (\d+\.) ([^?]+\?)", QUERIES, flags=re.MULTILINE)]


def test_the_page_has_every_view_and_no_other() -> None:
    assert [line for line in PAGE.splitlines() if line.startswith("| `")] == rows()


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
    print("\n".join([*rows(), *questions()]))
