"""Where a wording comes from: one that is built in, a file, or what an experiment file writes itself."""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sl_assets.config.documents import documents_in
from sl_assets.config.problems import problem_line
from sl_assets.config.project import absolute
from sl_assets.config.wording.wording import ASSEMBLED, Wording
from sl_assets.errors import ExperimentFileError

BUILT_IN = ("full", "short")
"""Names of the wordings that are built in, each a file beside this module."""

EXTENDS = "extends"


@cache
def built_in(name: str) -> Wording:
    """The wording that goes by ``name``, one of `BUILT_IN`."""
    return Wording.model_validate(_content(name, Path(), ()))


def wording_of(written: Any) -> Any:
    """What ``written`` under ``wording`` comes to, for pydantic: a `Wording`, or a mapping that it has to look at.

    Args:
        written: a built-in's name, the path of a file (relative to the project's folder), or a mapping with all that a
            file may have.

    Raises:
        ValueError: a file that it names is none, or not what it should be.
    """
    try:
        if isinstance(written, str):
            return built_in(written) if written in BUILT_IN else _read(_path(written, Path()))
        return _filled_in(written, Path(), ()) if isinstance(written, Mapping) else written
    except ExperimentFileError as error:
        raise ValueError(str(error)) from None


def located(written: Any, folder: Path) -> Any:
    """``written`` under ``wording`` of an experiment file, with the paths of files made to start at its ``folder``."""
    if isinstance(written, str):
        return written if written in BUILT_IN else str(_path(written, folder))
    if isinstance(written, Mapping) and isinstance(written.get(EXTENDS), str):
        return {**written, EXTENDS: located(written[EXTENDS], folder)}
    return written


def _path(name: str, folder: Path) -> Path:
    """The file that is called ``name`` in a file of ``folder``."""
    return folder / name if folder.is_absolute() and not name.startswith("~") else absolute(name)


def _read(file: Path) -> Wording:
    try:
        return Wording.model_validate(_content_of(file, ()))
    except ValidationError as error:
        lines = (f"{file}: {problem_line(problem, Wording)}" for problem in error.errors())
        raise ExperimentFileError(*lines) from None


def _content(name: str, folder: Path, before: tuple[Path, ...]) -> dict[str, Any]:
    """All that the wording ``name`` says, be it built in or a file."""
    file = Path(__file__).with_name(f"{name}.yaml") if name in BUILT_IN else _path(name, folder)
    return _content_of(file, before)


def _content_of(file: Path, before: tuple[Path, ...]) -> dict[str, Any]:
    if file in before:
        raise ExperimentFileError(f"{file}: extends itself; name another, or leave it out")
    if not file.is_file():
        known = f"the path of a file, or {' or '.join(BUILT_IN)}"
        raise ExperimentFileError(f"{file}: no such file; write {known}")
    documents = documents_in(file)
    content = documents[0] if documents else None
    if len(documents) > 1 or not isinstance(content, dict):
        raise ExperimentFileError(f"{file}: no wording; write its parts as name: value, beginning with 'extends: full'")
    return _filled_in(content, file.parent, (*before, file))


def _filled_in(content: Mapping[str, Any], folder: Path, before: tuple[Path, ...]) -> dict[str, Any]:
    """``content`` on top of what it extends."""
    own = {name: deepcopy(value) for name, value in content.items() if name != EXTENDS}
    extended = content.get(EXTENDS)
    if extended is None:
        return own
    if not isinstance(extended, str):
        raise ExperimentFileError(f"{EXTENDS} = {extended!r}: name {' or '.join(BUILT_IN)}, or the path of a file")
    return _on_top(_content(extended, folder, before), own)


def _on_top(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the parts of ``own`` in place of its own, field by field, and trait by trait."""
    found = dict(base)
    for name, value in own.items():
        below = found.get(name)
        if not isinstance(value, Mapping) or not isinstance(below, Mapping) or name == "kind":
            found[name] = value
        else:
            found[name] = {**(_kept_numbers(below, value) if name == "numbers" else below), **value}
    return found


def _kept_numbers(below: Mapping[str, Any], own: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of the number prompts ``below``, what goes with ``own``: whole prompts and parts take each other's place."""
    replaced = ASSEMBLED if "prompts" in own else ("prompts",)
    return {name: value for name, value in below.items() if name not in replaced}
