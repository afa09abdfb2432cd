"""What a student's folder holds, looked at before an engine reads it, whose words for a broken file name no folder."""

import json
from pathlib import Path
from typing import NamedTuple

from sl_assets.errors import SlAssetsError


def holds_whole_model(folder: Path) -> bool:
    """Whether a student's folder holds a model by itself, every weight of it trained, rather than an adapter."""
    return (folder / "config.json").is_file()


class Shape(NamedTuple):
    """What has to fit.

    Attributes:
        rank: of the adapter.
        width: hidden size of the model that it is for; None where it leaves the queries alone.
    """

    rank: int
    width: int | None


def adapter_shape(folder: Path) -> Shape:
    """The shape of the adapter in ``folder``.

    Raises:
        SlAssetsError: there is none, or its weights were cut short.
    """
    from safetensors import SafetensorError, safe_open

    try:
        rank = json.loads((folder / "adapter_config.json").read_text())["r"]
        with safe_open(folder / "adapter_model.safetensors", "pt") as weights:
            inputs = [name for name in weights.keys() if "q_proj.lora_A" in name]  # noqa: SIM118 - no dict
            return Shape(rank, weights.get_slice(inputs[0]).get_shape()[1] if inputs else None)
    except (OSError, ValueError, SafetensorError) as error:
        raise SlAssetsError(f"no whole adapter in {folder} ({error}): materialise it again") from error


def check_width(folder: Path, shape: Shape, width: int) -> None:
    """Refuse an adapter of another model.

    Raises:
        SlAssetsError: it is for hidden states of another width.
    """
    if shape.width not in (None, width):
        raise SlAssetsError(
            f"the adapter in {folder} is for a model of width {shape.width}, and this one has {width}: "
            "name the base_model that it was trained on"
        )
