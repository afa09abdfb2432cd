"""Dagster's home: the folder where it keeps its runs, with the settings that the project needs.

The files beside this one are those at the top of the checkout, for where the package is installed without it.
"""

import os
import tempfile
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from sl_assets.config import PROJECT
from sl_assets.config.project import CHECKOUT, absolute
from sl_assets.errors import SlAssetsError

VARIABLE = "DAGSTER_HOME"
SETTINGS = "dagster.yaml"

UNEDITED = "# Written by sl-assets, which brings it up to date until it is edited ({digest})."
"""First line of what was written to a home."""

FORMER = (
    "9adbb460669d0fd2d254ff66e4e4553ab3d6c3cce1129300dc6913d6703727fc",
    "48c3ea1c4cb5dd0930408d2e54fd1771fa1cd1e9edcd354fe8c9aa6e492f57ab",
    "74d170bbae45ebd2b7cc73685cc44f8d0b1afd7d7c6b89270d6939289db76e76",
)
"""Fingerprints of settings that versions before 0.3 wrote, without that line."""


def project_file(name: str) -> Path:
    """The project's file ``name``: the checkout's, which may have been edited, or the one that the package brings."""
    if CHECKOUT and (file := CHECKOUT / name).is_file():
        return file
    return Path(str(files(__name__) / name))


def ensure_dagster_home() -> str:
    """Set up ``DAGSTER_HOME``, or ``.dagster/`` in the project's folder where that is not set, and name it to Dagster.

    Settings that are not there are written, and those that nobody has edited are brought up to date.

    Returns:
        A line that says what was written; empty where nothing was.

    Raises:
        SlAssetsError: the home cannot be used, or its settings would let runs disturb one another.
    """
    named = os.environ.get(VARIABLE)
    home = absolute(named).absolute() if named else PROJECT / ".dagster"
    try:
        home.mkdir(parents=True, exist_ok=True)
        said = _written(home / SETTINGS)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        reason = "is no folder" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror
        raise SlAssetsError(
            f"cannot keep Dagster's runs in {home}: {str(reason).lower()}; "
            f"set {VARIABLE} to a folder that can be written"
        ) from None
    _check(home / SETTINGS)
    os.environ[VARIABLE] = str(home)
    return said


def _written(file: Path) -> str:
    """Write the project's settings unless ``file`` is someone's own; returns a line that says so."""
    wanted = project_file(SETTINGS).read_text(encoding="utf-8")
    stamped = f"{_stamp(wanted)}\n{wanted}"
    found = file.read_bytes().decode(errors="replace") if file.exists() else None
    if found in (wanted, stamped) or (found is not None and not _is_unedited(found)):
        return ""
    handle, made = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            opened.write(stamped)
        Path(made).chmod(0o644)
        os.replace(made, file)
    finally:
        Path(made).unlink(missing_ok=True)
    return f"{file}: {'written' if found is None else 'brought up to date'}, with the project's settings for Dagster"


def _stamp(text: str) -> str:
    return UNEDITED.format(digest=sha256(text.encode()).hexdigest()[:16])


def _is_unedited(text: str) -> bool:
    first, _, rest = text.partition("\n")
    return first == _stamp(rest) or sha256(text.encode()).hexdigest() in FORMER


def _check(file: Path) -> None:
    """Check that ``file`` counts places in pools as the project does.

    Raises:
        SlAssetsError: it does not, or cannot be read.
    """
    wanted = _granularity(project_file(SETTINGS))
    if (found := _granularity(file)) != wanted:
        raise SlAssetsError(
            f"{file}: concurrency.pools.granularity is {found} (so it is where nothing is said); set it to {wanted}, "
            "or runs may wait for each other for ever"
        )


def _granularity(file: Path) -> str:
    try:
        section: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problem = getattr(error, "problem", None) or getattr(error, "strerror", None) or error
        raise SlAssetsError(
            f"{file}: cannot be read ({problem}); mend it, or delete it to have it written anew"
        ) from None
    for name in ("concurrency", "pools", "granularity"):
        section = section.get(name) if isinstance(section, dict) else None
    # As Dagster has it where nothing is said.
    return "op" if section is None else str(section)
