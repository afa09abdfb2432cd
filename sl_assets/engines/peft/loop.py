"""Training on the tokens to be learnt, with the transformers Trainer: for LoRA and full fine-tuning. Imports torch."""

import math
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import polars as pl
import torch
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sl_assets.config import TrainingSettings
from sl_assets.engines.interfaces import Report
from sl_assets.engines.peft.rows import Collator, Part, Row
from sl_assets.engines.peft.schedule import share_of_peak
from sl_assets.errors import SlAssetsError
from sl_assets.lake.tables import TABLES

OPTIMISERS = {"adamw": "adamw_torch_fused", "adafactor": "adafactor", "sgd": "sgd"}
"""As transformers calls them."""

Save = Callable[[int], None]
"""Saves the model as it is at the end of an epoch."""

Step = Callable[[Sequence[Part]], torch.Tensor]
"""Loss of the parts of a batch, in nats a token, which leaves their gradients in the weights."""


def fit(
    model: Any,
    rows: Sequence[Row],
    settings: TrainingSettings,
    keep: Sequence[int],
    save: Save,
    report: Report,
    collate: Collator,
    step: Step | None = None,
) -> pl.DataFrame:
    """Train ``model``, saving it after each epoch of ``keep``; returns the ``training`` table.

    With a ``step``, that is how loss and gradients of a batch come about.

    Raises:
        SlAssetsError: the model's logits are more than its output layer gives, or the loss is no number any more.
    """
    _check_head(model)
    on_gpu = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            num_train_epochs=settings.epochs,
            per_device_train_batch_size=settings.batch,
            learning_rate=settings.learning_rate,
            optim=OPTIMISERS[settings.optimiser],
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.gradient_clipping,
            seed=settings.seed,
            bf16=on_gpu,
            logging_steps=1,
            # Else the Trainer logs a loss that is no number as 0.
            logging_nan_inf_filter=False,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            # The parts of a batch are small, and lists of them cannot be pinned.
            dataloader_pin_memory=False,
        )
        # More cards than one would split the batch, and with it the result.
        arguments._n_gpu = 1
        trainer = CompletionTrainer(
            settings,
            step,
            model=model,
            args=arguments,
            train_dataset=list(rows),
            data_collator=collate,
            callbacks=[KeepEpochs(keep, save), ReportSteps(report)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    logged = ("step", "epoch", "loss", "learning_rate")
    return pl.DataFrame(
        [{"seed": settings.seed} | {name: entry[name] for name in logged} for entry in entries],
        schema=TABLES["training"].schema,
    )


def _check_head(model: Any) -> None:
    config = model.config.get_text_config()
    for name in ("final_logit_softcapping", "logits_scaling", "logit_scale"):
        if getattr(config, name, None) not in (None, 1):
            raise SlAssetsError(
                f"training: {config.model_type} models change their logits ({name}), which our loss does not know; "
                "choose another base_model"
            )


def base_of(model: Any) -> Any:
    """The transformers model in ``model``, which may have an adapter around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def completion_loss(model: Any, part: Part) -> torch.Tensor:
    """Mean cross-entropy over the targets of ``part``, in nats a token.

    Logits are computed only where they count: for short completions of a model with a large vocabulary that saves a
    third of the step.
    """
    causal = base_of(model)
    inputs = {name: part[name] for name in part if name not in ("predicting", "targets", "share")}
    # The Trainer's own autocast is around ``model.forward``, which is not called here.
    with torch.autocast("cuda", torch.bfloat16, enabled=causal.device.type == "cuda"):
        hidden = causal.get_decoder()(**inputs, use_cache=False).last_hidden_state
        logits = causal.get_output_embeddings()(hidden.flatten(0, 1)[part["predicting"]])
    loss: torch.Tensor = cross_entropy(logits.float(), part["targets"])
    return loss


class CompletionTrainer(Trainer):
    """Steps over batches in parts, whose weighted losses add up to the mean over the batch's targets."""

    def __init__(self, settings: TrainingSettings, step: Step | None, **arguments: Any) -> None:
        """As the Trainer, with the schedule of ``settings``; a ``step`` takes the place of its own."""
        super().__init__(**arguments)
        self._settings, self._step = settings, step

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The schedule of the settings, over all steps."""
        share = partial(share_of_peak, steps=num_training_steps, settings=self._settings)
        self.lr_scheduler = LambdaLR(optimizer or self.optimizer, share)
        return self.lr_scheduler

    def training_step(
        self, model: Any, inputs: dict[str, list[Part]], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Loss of one batch, in nats a token; gradients of all its parts are added up."""
        if self._step:
            model.train()
            return self._step(inputs["parts"])
        losses: list[torch.Tensor] = []
        for part in inputs["parts"]:
            losses.append(super().training_step(model, part, num_items_in_batch))
        return torch.stack(losses).sum()

    def compute_loss(
        self,
        model: Any,
        inputs: Part,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """What a part adds to the loss of its batch."""
        share: float = inputs["share"]
        return completion_loss(model, inputs) * share

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: nobody reads it, and for parts the Trainer could not."""
        return 0


class KeepEpochs(TrainerCallback):
    """Save the model at the end of each epoch in ``keep``."""

    def __init__(self, keep: Sequence[int], save: Save) -> None:
        self._keep, self._save = set(keep), save

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Save if this epoch is kept."""
        if (epoch := round(state.epoch or 0)) in self._keep:
            self._save(epoch)


class ReportSteps(TrainerCallback):
    """Hand step, number of steps and loss to ``report`` whenever the Trainer logs."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Report the latest loss."""
        if "loss" in (logs := kwargs.get("logs") or {}):
            if not math.isfinite(logs["loss"]):
                raise SlAssetsError(
                    f"training: the loss of step {state.global_step} is {logs['loss']}; "
                    f"lower learning_rate {args.learning_rate:g}"
                )
            self._report(state.global_step, state.max_steps, logs["loss"])
