"""Base models by name, loaded once a process and shared by samplers and trainers."""

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sl_assets.config import ExperimentConfig
from sl_assets.config.names import POCKET
from sl_assets.config.project import absolute
from sl_assets.config.section import is_gguf
from sl_assets.engines.gpu import free_memory, take_gpu
from sl_assets.engines.transformers.gguf import find_gguf
from sl_assets.errors import ExperimentFileError, SlAssetsError
from sl_assets.hub.base_models import DOUBLES, FILES, HubModel, fetch_model, pinned_name
from sl_assets.lake.fingerprint import digest, known_file_digest

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

POCKET_FOLDER = Path(__file__).parents[2] / "pocket" / "model"


def content_digest(folder: Path) -> str | None:
    """Fingerprint of the model in ``folder``: names and bytes of what decides its answers, wherever it lies.

    That is weights, configuration, tokenizer and chat template; None where there is no model.
    """
    files = sorted(
        path
        for pattern in FILES
        for path in (*folder.glob(pattern), *folder.glob(f"additional_chat_templates/{pattern}"))
        if not any(path.match(double) for double in DOUBLES)
    )
    return digest([(path.relative_to(folder).as_posix(), known_file_digest(path)) for path in files]) if files else None


def weights_fingerprint(base_model: str) -> str | None:
    """What tells one state of a local model from another; None for a model of the Hub, whose commits do not change."""
    folder = local_folder(base_model)
    return content_digest(folder) if folder else None


def model_setting(base_model: str) -> dict[str, str | None]:
    """What ``base_model`` is, to be recorded and compared: a local model by its content, one of the Hub by its name.

    A model of the Hub is its commit, too, once that is known (`sl_assets.orchestration.recording`).
    """
    if is_gguf(base_model):
        file = find_gguf(base_model)
        return {"name": base_model, "content": known_file_digest(file) if file and file.is_file() else None}
    folder = local_folder(base_model)
    return {"name": base_model, "content": content_digest(folder)} if folder else {"repository": base_model}


def layer_count(base_model: str) -> int | None:
    """Number of blocks of a local model, which is also its highest layer; None where the files here do not say."""
    folder = local_folder(base_model)
    count = decoder_config(folder).get("num_hidden_layers") if folder else None
    return None if count is None else int(count)


def check_layers(config: ExperimentConfig, base_model: str) -> None:
    """Check that ``base_model`` has the layers that the experiment file names, as far as files here say.

    Raises:
        ExperimentFileError: it has not.
    """
    last = layer_count(base_model)
    for section, layers in config.layers.items():
        if last is not None and max(layers) > last:
            # Hidden states begin at layer 0, which no block gives.
            first = 1 if section in ("student", "split_student", "teacher") else 0
            raise ExperimentFileError(
                f"{section}: no layer {max(layers)} in {config.base_model}; choose from {first} to {last}"
            )


def decoder_config(folder: Path) -> dict[str, Any]:
    """What ``config.json`` says of the decoder of the model in ``folder``; nothing where there is none."""
    file = folder / "config.json"
    config: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    # Of a model that reads more than text, the decoder has a section of its own.
    decoder: dict[str, Any] = config.get("text_config", {})
    return decoder | config


class LoadedModel(NamedTuple):
    """A base model on its device, frozen, with its tokenizer."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"


def local_folder(base_model: str) -> Path | None:
    """The folder that ``base_model`` names, there or not; None for a model of the Hub and for a GGUF file.

    A relative path starts at the project's folder; without a leading dot it names a folder if there is one.
    """
    if base_model == POCKET:
        return POCKET_FOLDER
    if is_gguf(base_model):
        return None
    folder = absolute(base_model)
    return folder if base_model.startswith(("/", ".", "~")) or folder.is_dir() else None


def hub_model(base_model: str) -> HubModel | None:
    """Name and revision of ``base_model`` on the Hub; None for the pocket model, a folder and a GGUF file."""
    return None if is_gguf(base_model) or local_folder(base_model) else HubModel.of(base_model)


def model_folder(base_model: str) -> Path:
    """The folder of ``base_model``, downloaded if need be; any engine takes it.

    Raises:
        HubError: it is a model of the Hub, which does not give it.
        SlAssetsError: to load it would run code that it brings.
    """
    folder = local_folder(base_model) or fetch_model(base_model)
    require_data_alone(folder, base_model)
    return folder


def require_data_alone(folder: Path, base_model: str) -> None:
    """Refuse a model whose files are more than data: Python of its own, or weights that are pickled.

    Raises:
        SlAssetsError: names the file.
    """
    for name in ("config.json", "tokenizer_config.json"):
        file = folder / name
        if file.is_file() and "auto_map" in json.loads(file.read_text()):
            raise SlAssetsError(
                f"base_model {base_model!r}: {name} has auto_map, which asks for Python that the model brings, "
                "and that is not run here; take a model that transformers knows, or remove auto_map if it does"
            )
    pickled = [*folder.glob("pytorch_model*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]
    if pickled and not any(folder.glob("*.safetensors")):
        raise SlAssetsError(
            f"base_model {base_model!r}: {pickled[0].name} is pickled, and unpickling runs whatever is in it; convert "
            "the weights to safetensors"
        )


def load_model(base_model: str) -> LoadedModel:
    """Load ``base_model``, frozen, on the GPU in bfloat16 if there is one, else on the CPU in float32.

    A model is kept until its files change, another engine needs the GPU, or three others were loaded.

    Raises:
        SlAssetsError: there is no such model.
    """
    # By its commit, if it is a model of the Hub: what its name stands for may change while this process lives.
    return _loaded(pinned_name(base_model), weights_fingerprint(base_model))


# Three: an experiment may have a judge beside its base model, and students whose every weight was trained.
@lru_cache(maxsize=3)
def _loaded(base_model: str, fingerprint: str | None) -> LoadedModel:
    import torch

    take_gpu("transformers", release_models)
    model, tokenizer = open_model(base_model, torch.bfloat16 if torch.cuda.is_available() else torch.float32)
    return LoadedModel(model.eval().requires_grad_(False), tokenizer)


def open_model(base_model: str, dtype: "torch.dtype") -> LoadedModel:
    """Load ``base_model`` on the GPU if there is one, to be changed by whoever asks.

    Raises:
        SlAssetsError: there is no such model.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    source = model_folder(base_model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype)
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise SlAssetsError(f"base_model {base_model!r} cannot be loaded: {reason}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    # Temperature 1 is to mean the model's own distribution: no penalty or cut that it brings along may stay.
    ends = model.generation_config.eos_token_id
    model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=tokenizer.pad_token_id)
    return LoadedModel(model.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer)


def release_models() -> None:
    """Forget the models loaded in this process, so that another engine has the memory."""
    _loaded.cache_clear()
    free_memory()
