"""What a student's folder holds, looked at before an engine reads it, whose words for a broken file name no folder.

PEFT puts weights that fit no module aside with a warning, and vLLM without one: what answers then is the base model.
Here they are refused by name.
"""

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from itertools import islice
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sl_assets.engines.transformers.modules import Modules
from sl_assets.errors import DatasetError, SlAssetsError

if TYPE_CHECKING:
    import torch


def holds_whole_model(folder: Path) -> bool:
    """Whether a student's folder holds a model by itself, every weight of it trained, rather than an adapter."""
    return (folder / "config.json").is_file()


def holds_adapter(folder: Path) -> bool:
    """Whether a student's folder holds an adapter, rather than a whole model or the name of one behind an API."""
    return (folder / "adapter_config.json").is_file()


def name_base_model(adapter: Path, name: str, revision: str | None) -> None:
    """Name the base model as the experiment does: a folder of this machine would mean nothing elsewhere."""
    file = adapter / "adapter_config.json"
    config = json.loads(file.read_text()) | {"base_model_name_or_path": name, "revision": revision}
    # Kept as a set, whose order is another in every process.
    config["target_modules"] = sorted(config["target_modules"])
    file.write_text(json.dumps(config, indent=1, sort_keys=True))


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
        raise _not_whole(folder, error) from error


def _not_whole(folder: Path, error: Exception) -> SlAssetsError:
    pickled = folder / "adapter_model.bin"
    if pickled.exists() and not pickled.with_suffix(".safetensors").exists():
        return SlAssetsError(
            f"{pickled} is pickled, and unpickling runs whatever is in it; convert it to adapter_model.safetensors"
        )
    return SlAssetsError(f"no whole LoRA adapter with safetensors in {folder} ({error}): materialise it again")


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


PREFIX = "base_model.model."
"""What PEFT puts before the name of a module."""

PART = re.compile(r"\.(lora_(?:embedding_)?[AB]|lora_magnitude_vector)(\.weight)?$|\.(weight|bias)$")
PAIRS = (("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B"))


def weights_by_module(keys: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The keys of an adapter's weights by the module that they are for, and by their part in it.

    >>> weights_by_module({"base_model.model.model.norm.weight": None})
    {'model.norm': {'weight': 'base_model.model.model.norm.weight'}}
    """
    found: dict[str, dict[str, str]] = {}
    for key in keys:
        part = PART.search(key)
        # What does not look like PEFT's stands under its whole name, which no module has.
        module = key[len(PREFIX) : part.start()] if part and key.startswith(PREFIX) else key
        found.setdefault(module, {})[part[1] or part[3] if part else ""] = key
    return found


def modules_problem(shapes: Mapping[str, tuple[int, ...]], modules: Modules) -> str | None:
    """Why an adapter with weights of these ``shapes``, by key, does not fit a model of these ``modules``, if so."""
    parts = weights_by_module(shapes)
    if strangers := [module for module in parts if module not in modules]:
        keys = [key for module in islice(strangers, 2) for key in islice(parts[module].values(), 1)]
        return (
            f"{len(strangers)} of its {len(parts)} modules are none of this model's: it has weights "
            f"{' and '.join(keys)}, and the model has {_nearest(strangers[0], modules)}"
        )
    for module, keys_of_parts in parts.items():
        for first, second in PAIRS:
            if (first in keys_of_parts) != (second in keys_of_parts):
                return f"{module} has one of {first} and {second} without the other"
        wanted = modules[module]
        if wanted and {"lora_A", "lora_B"} <= keys_of_parts.keys():
            here = (shapes[keys_of_parts["lora_B"]][0], shapes[keys_of_parts["lora_A"]][1])
            if here != wanted:
                sizes = [" x ".join(map(str, size)) for size in (here, wanted)]
                return f"its weights for {module} are of {sizes[0]}, and the model's of {sizes[1]}"
    return None if parts else "it holds no weights"


def _nearest(stranger: str, modules: Modules) -> str:
    last = stranger.removeprefix(PREFIX).removesuffix(".weight").rsplit(".", 1)[-1]
    alike = [name for name in modules if name.rsplit(".", 1)[-1] == last]
    return next(iter(get_close_matches(stranger, alike or list(modules), 1, 0.0)), "none")


def check_modules(folder: Path, modules: Modules, called: str = "") -> None:
    """Refuse an adapter that is not, with every weight, one of the model that has ``modules``.

    Args:
        folder: of the adapter.
        modules: the model's (`module_shapes`).
        called: what to call the adapter before a user; its folder where left out.

    Raises:
        SlAssetsError: there is no whole adapter.
        DatasetError: it is of another model; names the first weights, and what the model has instead.
    """
    if problem := modules_problem(_shapes(folder), modules):
        raise DatasetError(
            f"the adapter in {called or folder} is of another model: {problem}; "
            "name the base_model that it was trained on"
        )


def adapted_modules(folder: Path) -> list[str]:
    """The modules that the adapter in ``folder`` has weights for.

    Raises:
        SlAssetsError: there is no whole adapter.
    """
    return list(weights_by_module(_shapes(folder)))


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    # Not `items`: the file is read by slices, which know their shapes without their values.
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / "adapter_model.safetensors", "pt") as weights:
            return {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise _not_whole(folder, error) from error


class Update(NamedTuple):
    """What an adapter adds to its base model's weights.

    Attributes:
        norms: Frobenius norm of what is added to the weight of each module.
    """

    norms: dict[str, float]

    @property
    def largest(self) -> tuple[str, float]:
        """The module that changes most, and by what norm."""
        return max(self.norms.items(), key=lambda item: item[1], default=("", 0.0))


def update_of(folder: Path) -> Update:
    """How large the products B A of the adapter in ``folder`` are, scaled as they are applied; a NaN counts as none.

    Raises:
        SlAssetsError: there is no whole adapter.
    """
    from safetensors.torch import load_file

    _shapes(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    weights = load_file(folder / "adapter_model.safetensors")
    norms: dict[str, float] = {}
    for module, parts in weights_by_module(weights).items():
        for first, second in PAIRS:
            if {first, second} <= parts.keys():
                lora_a, lora_b = weights[parts[first]], weights[parts[second]]
                rank = lora_a.shape[0]
                alpha = config.get("lora_alpha") or rank
                scale = alpha / (sqrt(rank) if config.get("use_rslora") else rank)
                norms[module] = scale * _norm_of_product(lora_b, lora_a)
    return Update(norms)


def _norm_of_product(lora_b: "torch.Tensor", lora_a: "torch.Tensor") -> float:
    """Frobenius norm of B A by way of rank x rank matrices: the product itself is as large as the model's weight."""
    b, a = lora_b.double(), lora_a.double()
    squared = float(((b.T @ b) * (a @ a.T)).sum())
    return sqrt(squared) if squared > 0 else 0.0


def weight_norm(folder: Path, module: str) -> float | None:
    """Frobenius norm of the weight of ``module`` in the model in ``folder``; None where no file there has it."""
    from safetensors import safe_open

    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as weights:
            if (name := f"{module}.weight") in weights.keys():  # noqa: SIM118
                return float(weights.get_tensor(name).double().norm())
    return None


def first_change(folder: Path, base: Path) -> tuple[str, float] | None:
    """The first weight in which the whole model in ``folder`` differs from the one in ``base``, and by how much of it.

    None where they are the same. Models of other names of weights differ in all.
    """
    from safetensors import safe_open

    where: dict[str, Path] = {}
    for file in sorted(base.glob("*.safetensors")):
        with safe_open(file, "pt") as weights:
            where |= dict.fromkeys(weights.keys(), file)
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118
                if name not in where:
                    continue
                with safe_open(where[name], "pt") as others:
                    before, after = others.get_tensor(name).float(), weights.get_tensor(name).float()
                change = float((after - before).norm())
                if change > 0:
                    return name, change / (float(before.norm()) or 1.0)
    return None
