"""The folder where relative paths of experiment files and of the environment start, whatever started the process."""

import os
from pathlib import Path

VARIABLE = "SL_PROJECT"
"""Names the folder to processes that are started elsewhere."""


def _project() -> Path:
    """``SL_PROJECT``; else the checkout that holds this package; else, where it is installed, the folder one is in."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    checkout = Path(__file__).parents[2]
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


PROJECT = _project()


def absolute(path: str) -> Path:
    """``path`` as the project reads it: ``~`` is the home, and a relative path starts at the project's folder."""
    return PROJECT / Path(path).expanduser()
