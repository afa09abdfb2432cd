"""What an experiment file may be; what is wrong with one is said in one line.

Files are loaded by Dagster's loader of components, which calls `validated`; `check_form` comes before it.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sl_assets.config import ExperimentConfig
from sl_assets.errors import ExperimentFileError

COMPONENT_TYPE = "sl_assets.SubliminalExperiment"


SECTIONS = ("type", "attributes", "requirements", "template_vars_module", "post_processing")
"""What Dagster allows a component's file to have."""


class _OnceOnly(yaml.SafeLoader):
    """YAML in which a section that stands there twice is an error; else the last would count, and nobody would know."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names: list[Any] = []
        for key, _ in node.value:
            names.append(self.construct_object(key, deep=True))
            if names[-1] in names[:-1]:
                problem = f"{names[-1]} stands there twice"
                raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)


def check_form(file: Path) -> None:
    """Check that ``file`` is one component of our type, each of its sections there once.

    Raises:
        ExperimentFileError: names the file, what is wrong with it and the fix, in one line.
    """
    try:
        documents = list(yaml.load_all(file.read_text(encoding="utf-8"), _OnceOnly))
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentFileError(f"{file}: cannot be read ({getattr(error, 'strerror', error)})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        problem = " ".join(str(getattr(error, "problem", error)).split())
        raise ExperimentFileError(f"{file}:{line} not YAML ({problem})") from None
    if len(documents) > 1:
        raise ExperimentFileError(f"{file}: {len(documents)} documents; give each experiment a folder of its own")
    content = documents[0] if documents else None
    if not isinstance(content, dict) or content.get("type") != COMPONENT_TYPE:
        raise ExperimentFileError(f"{file}: begin with 'type: {COMPONENT_TYPE}'")
    if unknown := [name for name in content if name not in SECTIONS]:
        raise ExperimentFileError(f"{file}: {unknown[0]}: unknown beside type; settings stand under attributes")


def validated(attributes: Mapping[str, Any], context: Any = None) -> ExperimentConfig:
    """The experiment that ``attributes`` describe; ``context`` is handed to their validators.

    Raises:
        ExperimentFileError: names the field, its value and the fix, in one line.
    """
    try:
        return ExperimentConfig.model_validate(attributes, context=context)
    except ValidationError as error:
        raise ExperimentFileError(*map(_line, error.errors())) from None


CHOSEN_BY_KIND = ("teacher", "source", "judge", "transform")


def _line(problem: ErrorDetails) -> str:
    """``problem`` as ``field = value: what to do``."""
    loc = problem["loc"]
    # After a field with several kinds of sections pydantic names the kind, which the file does not.
    place = [str(part) for i, part in enumerate(loc) if not (i and loc[i - 1] in CHOSEN_BY_KIND)]
    field, value = ".".join(["attributes", *place]), problem["input"]
    if problem["type"] == "extra_forbidden":
        known = ", ".join(_fields_at(place[:-1])) or "none"
        return f"{field} = {value!r}: unknown field; known here: {known}"
    if problem["type"] == "missing":
        return f"{field}: missing; add it"
    message = problem["msg"].removeprefix("Value error, ").replace("valid tuple", "valid list")
    if problem["type"] == "float_type" and isinstance(value, str) and re.fullmatch(r"\d+e-?\d+", value):
        message = f"write {value.replace('e', '.0e')}; YAML takes a number without a point for text"
    shown = "" if isinstance(value, dict) else f" = {value!r}"
    return f"{field}{shown}: {message[:1].lower()}{message[1:]}"


def _fields_at(place: list[str]) -> list[str]:
    """Field names of the section at ``place``; of each variant where there are several."""
    models: list[type[BaseModel]] = [ExperimentConfig]
    for name in place:
        annotations = [model.model_fields[name].annotation for model in models if name in model.model_fields]
        models = [model for annotation in annotations for model in _sections(annotation)]
    return sorted({name for model in models for name in model.model_fields})


def _sections(annotation: Any) -> list[type[BaseModel]]:
    options = getattr(annotation, "__args__", (annotation,))
    return [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
