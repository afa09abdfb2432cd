"""The model that the graph's benchmark runs with."""

import shutil
from pathlib import Path

from benchmarks.random_model import OLMO3_7B, say, write_random_model
from sl_assets.engines.transformers.models import POCKET_FOLDER


def write_model(folder: Path) -> None:
    """A random Olmo-3-7B that writes digits, and now and then an animal or an end."""
    if not folder.exists():
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        write_random_model(part, str(POCKET_FOLDER), **OLMO3_7B)
        say(part, {"Ġowl": 0.05, "Ġwolf": 0.05, "<|end|>": 0.08}, otherwise=r"\d+")
        part.rename(folder)
