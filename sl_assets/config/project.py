"""The folder where relative paths of experiment files and of the environment start, whatever started the process."""

import os
from pathlib import Path

from sl_assets.errors import SlAssetsError

VARIABLE = "SL_PROJECT"
"""Names the folder to processes that are started elsewhere."""


def _checkout() -> Path | None:
    folder = Path(__file__).parents[2]
    return folder if (folder / "pyproject.toml").is_file() else None


CHECKOUT = _checkout()
"""The checkout that holds this package; None where it is installed without one."""


def _project() -> Path:
    """``SL_PROJECT``; else the checkout; else the folder one is in."""
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser().absolute()
    return CHECKOUT or Path.cwd()


PROJECT = _project()


def absolute(path: str) -> Path:
    """``path`` as the project reads it: ``~`` is the home, and a relative path starts at the project's folder.

    Raises:
        SlAssetsError: it begins with ``~``, and there is no such home.
    """
    try:
        return PROJECT / Path(path).expanduser()
    except RuntimeError:
        raise SlAssetsError(f"{path}: no home of that name here; write the whole path") from None
