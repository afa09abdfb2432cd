"""docs/reference is what the code has: commands, tables, and variables of the environment."""

import ast
import re
from pathlib import Path

import sl_assets
from sl_assets.cli import reference as commands
from sl_assets.config import PROJECT
from sl_assets.lake import reference as tables

FOLDER = PROJECT / "docs" / "reference"
PACKAGE = Path(sl_assets.__file__).parent
OF_LIBRARIES = {"HF_HUB_OFFLINE", "HF_HOME", "SL_LOGS_BUCKET", "DAGSTER_POSTGRES_URL", "RAY_ADDRESS"}
"""Variables that a library reads, or Dagster for it."""


def test_the_page_of_commands_is_up_to_date() -> None:
    assert (FOLDER / "cli.md").read_text() == commands.page(), "make reference writes it anew"


def test_the_page_of_tables_is_up_to_date() -> None:
    assert (FOLDER / "tables.md").read_text() == tables.page(), "make reference writes it anew"


def test_every_option_and_column_says_what_it_means() -> None:
    for page in ("cli.md", "tables.md"):
        assert re.findall(r"^\|.*\|\s*\|$", (FOLDER / page).read_text(), re.MULTILINE) == []


ASKING = ("os.environ.get", "os.getenv", "number", "whole_number")


def read_by(file: Path) -> set[str]:
    """Variables whose value ``file`` asks for, by name or by a constant of its own."""
    tree = ast.parse(file.read_text())
    constants = {
        ast.unparse(node.targets[0]): node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    asked = [
        node.args[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and node.args and ast.unparse(node.func) in ASKING
    ]
    names = {arg.value if isinstance(arg, ast.Constant) else constants.get(ast.unparse(arg)) for arg in asked}
    return {str(name) for name in names if name}


def test_variables_are_all_there_and_no_others() -> None:
    page = (FOLDER / "environment.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    read = set().union(*map(read_by, PACKAGE.rglob("*.py")))
    assert {"SL_DATA_LAKE", "SL_EXPERIMENTS", "SL_GPUS", "OPENAI_API_KEY"} <= read
    assert len(set(listed)) == len(listed)
    assert set(listed) == read | OF_LIBRARIES
    offered = re.findall(r"^# (\w+)=", (PROJECT / ".env.example").read_text(), re.MULTILINE)
    assert set(offered) <= set(listed)
