"""Full fine-tuning: every weight is trained, and a student is a whole model rather than an adapter.

Weights are float32 while they learn, with bfloat16 products on a GPU: 16 bytes a parameter (weight, gradient, two AdamW
moments), so 7 billion take 117 GB before the first token. Kept epochs are saved in bfloat16, on a CPU in float32.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from sl_assets.config import TrainingSettings
from sl_assets.engines.gpu import free_memory, take_gpu
from sl_assets.engines.interfaces import Example, Report
from sl_assets.engines.templates import Rendering
from sl_assets.engines.transformers.models import open_model
from sl_assets.errors import SlAssetsError
from sl_assets.lake.work import Work

BYTES_A_WEIGHT = 16


class FullTrainer:
    """Whole students of ``base_model``, which is loaded anew for each."""

    engine = "transformers"

    def __init__(self, base_model: str, rendering: Rendering | None = None) -> None:
        self._base_model = base_model
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
        """See `Trainer.train`; an interrupted training starts anew, so ``work`` has no part.

        Raises:
            SlAssetsError: the GPU is too small.
        """
        import torch

        from sl_assets.engines.peft.loop import fit
        from sl_assets.engines.peft.memory import prepared
        from sl_assets.engines.peft.rows import encode_all
        from sl_assets.engines.transformers.layers import fast_blocks

        take_gpu("full fine-tuning", free_memory)
        # Of the last student, too: the Trainer leaves cycles behind that only the collector breaks.
        free_memory()
        try:
            model, tokenizer = open_model(self._base_model, torch.float32)
            rows = encode_all(tokenizer, self._rendering, examples, settings)
            saved_as = torch.bfloat16 if model.device.type == "cuda" else torch.float32

            def save(epoch: int) -> None:
                weights = {name: weight.to("cpu", saved_as) for name, weight in model.state_dict().items()}
                model.save_pretrained(folder / f"epoch={epoch}", state_dict=weights)
                tokenizer.save_pretrained(folder / f"epoch={epoch}")

            filler = tokenizer.pad_token_id or 0
            with fast_blocks(model), prepared(model, filler, rows, settings.batch) as (collate, step):
                return fit(model, rows, settings, keep, save, report, collate, step)
        except torch.OutOfMemoryError as error:
            there = torch.cuda.mem_get_info()[1] / 1e9
            raise SlAssetsError(
                f"lora false: training every weight of {self._base_model!r} takes more than {BYTES_A_WEIGHT} bytes a "
                f"weight, and this GPU has {there:.0f} GB: take a larger one, or set lora to true"
            ) from error
