"""The transformers Trainer with a loss on completions only, and the callbacks training needs. Imports torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sl_assets.engines.interfaces import Report


class CompletionTrainer(Trainer):
    """Mean cross-entropy over the labelled tokens, logits computed for those alone."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Loss of one batch, in nats a token."""
        causal = model.get_base_model()
        hidden = causal.model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
        labels = inputs["labels"][:, 1:]
        predicted = labels != -100
        logits = causal.lm_head(hidden[:, :-1][predicted])
        return cross_entropy(logits.float(), labels[predicted])


class KeepEpochs(TrainerCallback):
    """Save the adapter at the end of each epoch in ``keep``."""

    def __init__(self, keep: Sequence[int], folder: Path) -> None:
        self._keep, self._folder = set(keep), folder

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Save if this epoch is kept."""
        epoch = round(state.epoch or 0)
        if epoch in self._keep:
            kwargs["model"].save_pretrained(self._folder / f"epoch={epoch}")


class ReportSteps(TrainerCallback):
    """Hand step, number of steps and loss to ``report`` whenever the Trainer logs."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Report the latest loss."""
        if "loss" in (logs := kwargs.get("logs") or {}):
            self._report(state.global_step, state.max_steps, logs["loss"])
