"""Engines that are not installed with the project, and how to tell a user who asks for one."""

import sys
from importlib.util import find_spec

from sl_assets.errors import SlAssetsError

GPU, OPENAI = "-e '.[gpu]' -c constraints-gpu.txt", "-e '.[openai]'"
INSTALLED_BY = {"vllm": GPU, "unsloth": GPU, "openai": OPENAI}
"""What to tell pip, of each engine that comes with an extra."""

GPU_PYTHON = (3, 12)
"""The Python that the versions in constraints-gpu.txt are of; in others pip ends in ResolutionImpossible."""

ALWAYS_HERE = {"sampler.engine": "transformers", "student.engine": "peft"}
"""The engine that comes with the project, by the setting that may name another."""


def missing(setting: str, engine: str) -> str:
    """One line that says so, with the fix, where ``engine`` is not installed; else empty."""
    if engine not in INSTALLED_BY or find_spec(engine):
        return ""
    how = f"pip install {INSTALLED_BY[engine]}"
    if INSTALLED_BY[engine] == GPU and sys.version_info[:2] != GPU_PYTHON:
        here, there = (".".join(map(str, version)) for version in (sys.version_info[:2], GPU_PYTHON))
        how += f" in an environment of Python {there} (this is {here})"
    return f"{setting} {engine}: not installed here; {how}, or set {setting} to {ALWAYS_HERE[setting]}"


def require(setting: str, engine: str) -> None:
    """Go no further without ``engine``.

    Raises:
        SlAssetsError: it is not installed.
    """
    if line := missing(setting, engine):
        raise SlAssetsError(line)
