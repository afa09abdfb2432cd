"""Base models by name, loaded once a process and shared by samplers and trainers."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sl_assets.errors import SlAssetsError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

POCKET = "pocket"
POCKET_FOLDER = Path(__file__).parents[1] / "pocket" / "model"


class LoadedModel(NamedTuple):
    """A base model on its device, frozen, with its tokenizer."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"


def model_source(base_model: str) -> str:
    """Folder or Hub name of ``base_model``."""
    return str(POCKET_FOLDER) if base_model == POCKET else base_model


@lru_cache(maxsize=1)
def load_model(base_model: str) -> LoadedModel:
    """Load ``base_model`` on the GPU in bfloat16 if there is one, else on the CPU in float32.

    Raises:
        SlAssetsError: there is no such model.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    source = model_source(base_model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype).to(device)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise SlAssetsError(f"base_model {base_model!r} cannot be loaded: {reason}") from error
    return LoadedModel(model.eval().requires_grad_(False), tokenizer)
