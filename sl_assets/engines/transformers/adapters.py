"""What a student's folder holds, looked at before an engine reads it, whose words for a broken file name no folder."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from sl_assets.errors import SlAssetsError


def holds_whole_model(folder: Path) -> bool:
    """Whether a student's folder holds a model by itself, every weight of it trained, rather than an adapter."""
    return (folder / "config.json").is_file()


class Shape(NamedTuple):
    """What has to fit.

    Attributes:
        rank: of the adapter.
        widths: sizes of hidden and inner states that its weights are for, by the name a model's configuration has.
    """

    rank: int
    widths: dict[str, int]


INPUTS = {"q_proj": "hidden_size", "down_proj": "intermediate_size"}
"""Projections whose inputs tell a model's sizes."""


def adapter_shape(folder: Path) -> Shape:
    """The shape of the adapter in ``folder``.

    Raises:
        SlAssetsError: there is none, or its weights were cut short.
    """
    from safetensors import SafetensorError, safe_open

    try:
        rank = json.loads((folder / "adapter_config.json").read_text())["r"]
        with safe_open(folder / "adapter_model.safetensors", "pt") as weights:
            names = list(weights.keys())
            first = {part: next((n for n in names if f"{part}.lora_A" in n), None) for part in INPUTS}
            widths = {INPUTS[part]: weights.get_slice(name).get_shape()[1] for part, name in first.items() if name}
            return Shape(rank, widths)
    except (KeyError, TypeError, OSError, ValueError, SafetensorError) as error:
        raise SlAssetsError(
            f"no whole LoRA adapter with safetensors in {folder} ({error}): materialise it again"
        ) from error


def check_widths(folder: Path, shape: Shape, config: Any) -> None:
    """Refuse an adapter of another model than the one of ``config``.

    Raises:
        SlAssetsError: it is for states of another width.
    """
    for name, width in shape.widths.items():
        if width != (here := getattr(config, name, width)):
            raise SlAssetsError(
                f"the adapter in {folder} is for a model of {name} {width}, and this one has {here}: "
                "name the base_model that it was trained on"
            )
