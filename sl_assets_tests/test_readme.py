"""What the README promises exists: commands, files, tables, and SQL that runs."""

import re

import pytest

from sl_assets.cli.commands import cli
from sl_assets.config import PROJECT
from sl_assets.lake.lake import Lake
from sl_assets.lake.views import query
from sl_assets_tests.conftest import Bench

README = (PROJECT / "README.md").read_text()
BLOCKS = re.findall(r"```\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^make (\w+)", "".join(BLOCKS), flags=re.MULTILINE))))
def test_every_make_command_is_a_target(target: str) -> None:
    assert re.search(rf"^{target}:", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"sl-assets (\w+)", README))))
def test_every_subcommand_exists(name: str) -> None:
    assert name in cli.commands


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_every_link_leads_to_a_file(path: str) -> None:
    assert (PROJECT / path).is_file()


def test_every_query_runs_and_every_table_exists(halved: Bench) -> None:
    lake = Lake(str(halved.root))
    statements = re.findall(r'sl-assets sql "([^"]+)"', README)
    assert statements
    for statement in statements:
        assert query(lake, statement).height
    for table in re.findall(r"^\| `(\w+)` \|", README, flags=re.MULTILINE):
        assert {"experiment", "animal"} <= set(query(lake, f"SELECT * FROM {table} LIMIT 1").columns)


def test_the_tree_names_real_places() -> None:
    for name in re.findall(r"^  (\w+(?:/|\.py)) ", README, flags=re.MULTILINE):
        assert (PROJECT / "sl_assets" / name).exists()
