"""What pydantic finds wrong with a file, each problem in one line that names the field, its value and the fix."""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails


def problem_line(problem: ErrorDetails, model: type[BaseModel], inside: Sequence[str] = ()) -> str:
    """``problem`` as ``field = value: what to do``.

    Args:
        problem: as pydantic tells of it.
        model: of the whole file.
        inside: sections that the fields of ``model`` stand in.
    """
    loc = problem["loc"]
    # After a field with several kinds of sections pydantic names the kind, which the file does not.
    place: list[str] = []
    for i, part in enumerate(loc):
        if not (i and loc[i - 1] == place[-1] and len(_models_at(model, place)) > 1):
            place.append(str(part))
    field, value = ".".join([*inside, *place]), problem["input"]
    if problem["type"] == "extra_forbidden":
        known = ", ".join(_fields_at(model, place[:-1])) or "none"
        return f"{field} = {value!r}: unknown field; known here: {known}"
    if problem["type"] == "missing":
        return f"{field}: missing; add it"
    message = problem["msg"].removeprefix("Value error, ").replace("valid tuple", "valid list")
    message = message.replace("Tuple should", "List should")
    if problem["type"] == "float_type" and isinstance(value, str) and re.fullmatch(r"\d+e-?\d+", value):
        message = f"write {value.replace('e', '.0e')}; YAML takes a number without a point for text"
    shown = "" if isinstance(value, dict) else f" = {value!r}"
    said = f"{message[:1].lower()}{message[1:]}"
    return f"{field}{shown}: {said}" if field else said


def _fields_at(model: type[BaseModel], place: list[str]) -> list[str]:
    """Field names of the section at ``place``; of each kind where there are several."""
    return sorted({name for found in _models_at(model, place) for name in found.model_fields})


def _models_at(model: type[BaseModel], place: list[str]) -> list[type[BaseModel]]:
    """Sections that may stand at ``place``: several, where a field chooses among kinds."""
    models = [model]
    for name in place:
        annotations = [model.model_fields[name].annotation for model in models if name in model.model_fields]
        models = [model for annotation in annotations for model in _sections(annotation)]
    return models


def _sections(annotation: Any) -> list[type[BaseModel]]:
    options = getattr(annotation, "__args__", (annotation,))
    return [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
