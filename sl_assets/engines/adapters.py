"""What a student's folder holds, looked at before an engine reads it, whose words for a broken file name no folder."""

import json
from pathlib import Path
from typing import Any

from sl_assets.errors import SlAssetsError


def holds_whole_model(folder: Path) -> bool:
    """Whether a student's folder holds a model by itself, every weight of it trained, rather than an adapter."""
    return (folder / "config.json").is_file()


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """PEFT's configuration of the adapter in ``folder``.

    Raises:
        SlAssetsError: there is none, or its weights were cut short.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / "adapter_model.safetensors", "pt"):
            config: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text())
            return config
    except (OSError, ValueError, SafetensorError) as error:
        raise SlAssetsError(f"no whole adapter in {folder} ({error}): materialise it again") from error
