"""Variants of an experiment: its settings with some of them replaced, each an experiment of its own.

A variant is written as the sections that differ, or comes of ``grid``, which has one for every combination of values.
"""

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from itertools import product
from typing import Any

from sl_assets.config.experiment import RECORDED, ExperimentConfig
from sl_assets.config.names import VARIANT_OF
from sl_assets.config.reading import validated
from sl_assets.config.unused import unused_settings
from sl_assets.errors import ExperimentFileError

Changes = Mapping[str, Any]
"""Sections of an experiment file, of which only what differs is written."""

LONGEST_VALUE = 40
"""Characters of a value in a variant's name."""


def variant_name(experiment: str, variant: str) -> str:
    """Name of a variant as an experiment: ``pocket__rank2``."""
    return f"{experiment}{VARIANT_OF}{variant}"


def changes_of(config: ExperimentConfig) -> dict[str, Changes]:
    """What each variant of ``config`` changes, by the variant's name; those of the grid last.

    Raises:
        ExperimentFileError: two have the same name.
    """
    found: dict[str, Changes] = dict(config.variants)
    for name, changes in _points(config.grid):
        if name in found:
            raise ExperimentFileError(f"attributes.grid: two variants are called {name}; write them under variants")
        found[name] = changes
    return found


def variants_of(written: Mapping[str, Any], config: ExperimentConfig) -> dict[str, ExperimentConfig]:
    """The settings of each variant, by its name. A point of the grid that is the experiment itself is none.

    Args:
        written: attributes of the experiment file.
        config: what they come to.

    Raises:
        ExperimentFileError: names the variant, the field, its value and the fix.
    """
    own = {name: value for name, value in written.items() if name not in ("variants", "grid")}
    itself = config.model_copy(update={"variants": {}, "grid": {}})
    found: dict[str, ExperimentConfig] = {}
    for name, changes in changes_of(config).items():
        place = f"attributes.variants.{name}" if name in config.variants else f"attributes.grid ({name})"
        variant = _validated(own, changes, place)
        if strangers := [animal for animal in variant.animals if animal not in config.animals]:
            raise ExperimentFileError(
                f"{place}.animals: {strangers[0]} is not among the experiment's; add it there, or leave it out"
            )
        if variant != itself:
            found[name] = variant
        elif name in config.variants:
            raise ExperimentFileError(f"{place}: is the experiment as it is; change a setting, or leave it out")
    return found


def merged(settings: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    """``settings`` with ``changes``, section by section; a section of another kind takes the place of the first."""
    found = dict(settings)
    for name, value in changes.items():
        before = found.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping) and _is_alike(before, value):
            found[name] = merged(before, value)
        else:
            found[name] = value
    return found


def _is_alike(before: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    return "kind" not in value or value["kind"] == before.get("kind")


def _validated(own: Mapping[str, Any], changes: Changes, place: str) -> ExperimentConfig:
    """The variant that makes ``changes``; what it takes over and has no effect in it is left out."""
    settings = merged(deepcopy(dict(own)), deepcopy(dict(changes)))
    try:
        for field, _ in unused_settings(validated(settings, RECORDED)):
            section, _, name = field.partition(".")
            if section not in changes or (name and name not in changes[section]):
                _leave_out(settings, section, name)
        return validated(settings)
    except ExperimentFileError as error:
        raise ExperimentFileError(*(line.replace("attributes", place, 1) for line in error.lines)) from None


def _leave_out(settings: dict[str, Any], section: str, name: str) -> None:
    if name:
        del settings[section][name]
    else:
        del settings[section]


def _points(grid: Mapping[str, list[Any]]) -> Iterator[tuple[str, Changes]]:
    """Every combination of the values of ``grid``, each with a name that says which."""
    labels = _labels(list(grid))
    for values in product(*grid.values()) if grid else ():
        parts = (f"{label}{_text(value)}" for label, value in zip(labels, values, strict=True))
        changes: dict[str, Any] = {}
        for field, value in zip(grid, values, strict=True):
            changes = merged(changes, _nested(field.split("."), value))
        yield "_".join(parts), changes


def _labels(fields: list[str]) -> list[str]:
    """The last part of each field's name; the whole of it where two have the same last part."""
    last = [field.rpartition(".")[2] for field in fields]
    return [
        name if last.count(name) == 1 else field.replace(".", "_") for field, name in zip(fields, last, strict=True)
    ]


def _text(value: Any) -> str:
    """``value`` after the name of its field: ``rank`` and ``2``, ``lora`` and ``_false``."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return str(value)
    words = "none" if value is None else "empty" if value == "" else str(value).lower()
    return f"_{re.sub(r'[^A-Za-z0-9]+', '_', words).strip('_')[:LONGEST_VALUE]}"


def _nested(names: list[str], value: Any) -> dict[str, Any]:
    head, *others = names
    return {head: _nested(others, value) if others else value}
