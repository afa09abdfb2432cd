"""The modules of a base model by name, and its tokenizer: known without its weights."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from sl_assets.config.section import is_gguf
from sl_assets.engines.transformers.gguf import gguf_problem, tokenizer_in_gguf
from sl_assets.engines.transformers.models import local_folder, require_data_alone, weights_fingerprint
from sl_assets.errors import SlAssetsError
from sl_assets.hub.base_models import cached_description, fetch_description, pinned_name

Modules = Mapping[str, tuple[int, int] | None]
"""Modules of a model by name, each with the sizes of its output and input where it is a linear map."""


def module_shapes(base_model: str) -> Modules:
    """The modules that adapters of ``base_model`` can be for, as transformers builds it; no weights are read.

    Raises:
        SlAssetsError: there is no such model, or transformers cannot build it.
    """
    return _module_shapes(pinned_name(base_model), weights_fingerprint(base_model))


@lru_cache(maxsize=4)
def _module_shapes(base_model: str, fingerprint: str | None) -> Modules:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = description_folder(base_model)
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    except (OSError, ValueError, KeyError) as error:
        raise SlAssetsError(f"base_model {base_model!r} cannot be built: {str(error).splitlines()[0]}") from error
    return shapes_of(model)


def shapes_of(model: Any) -> Modules:
    """The modules of a model that is there."""
    from torch.nn import Linear

    return {
        name: (module.out_features, module.in_features) if isinstance(module, Linear) else None
        for name, module in model.named_modules()
        if name
    }


def description_folder(base_model: str) -> Path:
    """A folder with the configuration and tokenizer of ``base_model``, and perhaps with its weights.

    Raises:
        HubError: it is a model of the Hub, which does not give them.
        SlAssetsError: to load it would run code that it brings.
    """
    folder = local_folder(base_model) or fetch_description(base_model)
    require_data_alone(folder, base_model)
    return folder


def tokenizer_of(base_model: str) -> Any:
    """The tokenizer of ``base_model``, without its weights.

    Raises:
        SlAssetsError: there is none.
    """
    return _tokenizer_of(pinned_name(base_model), weights_fingerprint(base_model))


@lru_cache(maxsize=2)
def _tokenizer_of(base_model: str, fingerprint: str | None) -> Any:
    return _tokenizer_in(description_folder(base_model), base_model)


def _tokenizer_in(folder: Path, base_model: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise SlAssetsError(f"base_model {base_model!r} has no tokenizer: {str(error).splitlines()[0]}") from error


def tokenizer_here(base_model: str) -> Any:
    """The tokenizer of ``base_model`` or of a GGUF file, if it is on this machine; None where it would be fetched.

    Raises:
        SlAssetsError: its files cannot be read.
    """
    if is_gguf(base_model):
        return None if gguf_problem(base_model) else tokenizer_in_gguf(base_model)
    if folder := local_folder(base_model):
        return tokenizer_of(base_model) if folder.is_dir() else None
    fetched = cached_description(base_model)
    return _tokenizer_in(fetched, base_model) if fetched else None
