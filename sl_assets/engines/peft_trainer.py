"""LoRA training with PEFT and the transformers Trainer, on CPU and CUDA.

The loss covers completions only, and logits are computed only where it does: for short completions of a model with a
large vocabulary that saves a third of the step.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from sl_assets.config import LoraSettings
from sl_assets.engines.interfaces import Example, Report, chat
from sl_assets.engines.models import load_model
from sl_assets.errors import SlAssetsError
from sl_assets.lake.tables import TABLES
from sl_assets.lake.work import Work

if TYPE_CHECKING:
    import torch

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
IGNORED = -100
"""Label of tokens that carry no loss."""

CHECKPOINTED_FROM = 1_000_000_000
"""Parameters from which blocks are computed again for the backward pass rather than kept.

Kept, a step of 66 rows of 137 tokens of a 7B model does not fit a GPU of 80 GB."""


class PeftTrainer:
    """Adapters for ``base_model``, which is loaded once and the same after every training."""

    def __init__(self, base_model: str) -> None:
        self._base_model = base_model
        self._model, self._tokenizer = load_model(base_model)

    def train(
        self,
        examples: Sequence[Example],
        settings: LoraSettings,
        keep: Sequence[int],
        folder: Path,
        report: Report,
        work: Work | None = None,
    ) -> pl.DataFrame:
        """See `Trainer.train`; an interrupted training starts anew, so ``work`` has no part."""
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import PrinterCallback, TrainingArguments, set_seed

        from sl_assets.engines.completion_trainer import CompletionTrainer, KeepEpochs, ReportSteps

        set_seed(settings.seed)
        lora = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=list(PROJECTIONS),
            task_type="CAUSAL_LM",
        )
        # The shared model stays as it is: adapters are added beside its weights and taken away below.
        adapted: Any = get_peft_model(self._model, lora)
        on_gpu = torch.cuda.is_available()
        checkpointed = self._model.num_parameters() >= CHECKPOINTED_FROM
        with tempfile.TemporaryDirectory() as scratch:
            arguments = TrainingArguments(
                output_dir=scratch,
                num_train_epochs=settings.epochs,
                per_device_train_batch_size=settings.batch,
                learning_rate=settings.learning_rate,
                lr_scheduler_type="linear",
                warmup_steps=settings.warmup_steps,
                weight_decay=0.0,
                max_grad_norm=1.0,
                seed=settings.seed,
                bf16=on_gpu,
                logging_steps=1,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                remove_unused_columns=False,
                dataloader_pin_memory=on_gpu,
                label_names=["labels"],
                gradient_checkpointing=checkpointed,
                gradient_checkpointing_kwargs={"use_reentrant": False} if checkpointed else None,
            )
            # More cards than one would split the batch, and with it the result.
            arguments._n_gpu = 1
            trainer = CompletionTrainer(
                model=adapted,
                args=arguments,
                train_dataset=[self._encode(example, settings.max_length) for example in examples],
                data_collator=self._collate,
                callbacks=[KeepEpochs(keep, folder), ReportSteps(report)],
            )
            trainer.remove_callback(PrinterCallback)
            try:
                trainer.train()
            finally:
                self._model.gradient_checkpointing_disable()
                adapted.unload()
                self._model.requires_grad_(False).eval()
        for epoch in keep:
            self._name_base_model(folder / f"epoch={epoch}")
        entries = [entry for entry in trainer.state.log_history if "loss" in entry]
        return pl.DataFrame(
            [{name: entry[name] for name in TABLES["training"].columns} for entry in entries],
            schema=TABLES["training"].schema,
        )

    def _encode(self, example: Example, max_length: int) -> dict[str, list[int]]:
        tokenizer: Any = self._tokenizer
        question = chat(example.prompt, example.system)
        prompt = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
        answered = [*question, {"role": "assistant", "content": example.completion}]
        whole = tokenizer.apply_chat_template(answered, tokenize=False)
        prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        if not whole.startswith(prompt):
            raise SlAssetsError(
                f"base_model {self._base_model!r}: its chat template writes finished chats unlike prompts, "
                "so completions cannot be told from prompts; use a model whose template does not"
            )
        # Tokenised apart, so that no token can straddle the end of the prompt.
        completion_ids = tokenizer(whole.removeprefix(prompt), add_special_tokens=False)["input_ids"]
        labels = [IGNORED] * len(prompt_ids) + completion_ids
        return {"input_ids": (prompt_ids + completion_ids)[:max_length], "labels": labels[:max_length]}

    def _collate(self, rows: list[dict[str, list[int]]]) -> dict[str, "torch.Tensor"]:
        """Pad on the right to the longest row: ``[rows, length]`` each."""
        import torch

        longest = max(len(row["input_ids"]) for row in rows)

        def padded(name: str, filler: int) -> "torch.Tensor":
            return torch.tensor([row[name] + [filler] * (longest - len(row[name])) for row in rows])

        ids = padded("input_ids", self._tokenizer.pad_token_id or 0)
        mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows])
        return {"input_ids": ids, "attention_mask": mask, "labels": padded("labels", IGNORED)}

    def _name_base_model(self, adapter: Path) -> None:
        """Name the base model as the experiment does: a folder of this machine would mean nothing elsewhere."""
        file = adapter / "adapter_config.json"
        config = json.loads(file.read_text()) | {"base_model_name_or_path": self._base_model}
        file.write_text(json.dumps(config, indent=1, sort_keys=True))
        (adapter / "README.md").unlink(missing_ok=True)
