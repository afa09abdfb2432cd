"""Subliminal-learning research as partitioned Dagster assets."""

from importlib import import_module
from typing import Any

__all__ = ["SubliminalExperiment"]


def __getattr__(name: str) -> Any:
    # The component is found by Dagster under this name; loading it lazily keeps `import sl_assets.animals` light.
    if name == "SubliminalExperiment":
        return import_module("sl_assets.components").SubliminalExperiment
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
