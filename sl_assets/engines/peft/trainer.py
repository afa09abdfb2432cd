"""LoRA training with PEFT and the transformers Trainer, on CPU and CUDA."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from sl_assets.config import TrainingSettings
from sl_assets.config.training import PROJECTIONS
from sl_assets.engines.interfaces import Example, Report
from sl_assets.engines.templates import Rendering
from sl_assets.engines.transformers.adapters import name_base_model
from sl_assets.engines.transformers.models import hub_model, load_model
from sl_assets.errors import SlAssetsError
from sl_assets.lake.work import Work


class PeftTrainer:
    """Adapters for ``base_model``, which is loaded once and the same after every training."""

    engine = "peft"

    def __init__(self, base_model: str, rendering: Rendering | None = None) -> None:
        self._base_model = base_model
        self._model, self._tokenizer = load_model(base_model)
        self._rendering = rendering or Rendering(base_model)

    def train(
        self,
        examples: Sequence[Example],
        settings: TrainingSettings,
        keep: Sequence[int],
        folder: Path,
        report: Report,
        work: Work | None = None,
    ) -> pl.DataFrame:
        """See `Trainer.train`; an interrupted training starts anew, so ``work`` has no part."""
        from peft import LoraConfig, get_peft_model
        from transformers import set_seed

        from sl_assets.engines.peft.rows import encode_all
        from sl_assets.engines.transformers.layers import fast_blocks

        rows = encode_all(self._tokenizer, self._rendering, examples, settings)
        set_seed(settings.seed)
        check_modules_are_there(self._model, settings)
        # PEFT counts blocks from 0.
        layers = [layer - 1 for layer in settings.layers] or None
        lora = LoraConfig(**adapter_of(settings), layers_to_transform=layers, task_type="CAUSAL_LM")
        # The shared model stays as it is: adapters are added beside its weights and taken away below.
        adapted: Any = get_peft_model(self._model, lora)
        try:
            with fast_blocks(self._model):
                return fit_adapter(adapted, self._tokenizer, self._base_model, rows, settings, keep, folder, report)
        finally:
            adapted.unload()
            self._model.requires_grad_(False).eval()


def adapter_of(settings: TrainingSettings) -> dict[str, Any]:
    """What PEFT and Unsloth alike are told of an adapter."""
    return {
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "target_modules": list(settings.target_modules),
        "use_rslora": settings.rslora,
    }


def check_modules_are_there(model: Any, settings: TrainingSettings) -> None:
    """Refuse to adapt what ``model`` has not: PEFT would adapt the rest, and say nothing.

    Raises:
        SlAssetsError: names the module or the layer.
    """
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    # Which of the usual seven a model has is its own business.
    asked = () if settings.target_modules == PROJECTIONS else settings.target_modules
    if missing := [name for name in asked if name not in names]:
        raise SlAssetsError(f"target_modules: this model has no {missing[0]}; leave it out")
    blocks = model.config.get_text_config().num_hidden_layers
    if settings.layers and (last := max(settings.layers)) > blocks:
        raise SlAssetsError(f"layers: no layer {last} in this model; choose from 1 to {blocks}")


def fit_adapter(
    adapted: Any,
    tokenizer: Any,
    base_model: str,
    rows: Sequence[Any],
    settings: TrainingSettings,
    keep: Sequence[int],
    folder: Path,
    report: Report,
    record: bool = True,
) -> pl.DataFrame:
    """Train the adapter of ``adapted`` on encoded ``rows``, saving it to ``folder/epoch=<n>``; see `Trainer.train`.

    ``record`` lets steps be recorded (`sl_assets.engines.peft.cuda_graphs`).
    """
    from sl_assets.engines.peft.loop import fit
    from sl_assets.engines.peft.memory import prepared

    if adapted.device.type == "cuda":
        _leave_inputs_alone(adapted)

    def save(epoch: int) -> None:
        adapted.save_pretrained(folder / f"epoch={epoch}")
        name_base_model(folder / f"epoch={epoch}", *(hub_model(base_model) or (base_model, None)))
        (folder / f"epoch={epoch}" / "README.md").unlink(missing_ok=True)

    with prepared(adapted, tokenizer.pad_token_id or 0, rows, settings.batch, record) as (collate, step):
        return fit(adapted, rows, settings, keep, save, report, collate, step)


def _leave_inputs_alone(adapted: Any) -> None:
    """Have adapters read the bfloat16 that the base model reads: a float32 copy of each input would fill the GPU.

    Their weights stay float32; under autocast the products are bfloat16 either way.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in adapted.modules():
        if isinstance(module, BaseTunerLayer):
            module.cast_input_dtype_enabled = False
