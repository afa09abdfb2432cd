"""What an experiment file may be; what is wrong with one is said in one line.

Files are loaded by Dagster's loader of components, which calls `validated`; `check_form` comes before it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sl_assets.config import ExperimentConfig
from sl_assets.config.documents import documents_in
from sl_assets.config.problems import problem_line
from sl_assets.errors import ExperimentFileError

COMPONENT_TYPE = "sl_assets.SubliminalExperiment"


SECTIONS = ("type", "attributes", "requirements", "template_vars_module", "post_processing")
"""What Dagster allows a component's file to have."""


def check_form(file: Path) -> None:
    """Check that ``file`` is one component of our type, each of its sections there once.

    Raises:
        ExperimentFileError: names the file, what is wrong with it and the fix, in one line.
    """
    documents = documents_in(file)
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
        lines = (problem_line(problem, ExperimentConfig, ["attributes"]) for problem in error.errors())
        raise ExperimentFileError(*lines) from None
