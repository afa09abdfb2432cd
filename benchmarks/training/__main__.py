"""``python -m benchmarks.training --model /tmp/olmo``: LoRA training on one GPU, of a randomly initialised Olmo-3-7B.

Of another model, where the folder holds one.

What people run is PEFT under the transformers Trainer: rows padded to the longest, 22 at a time, three times a step,
and logits at every token. Ours trains on the same rows with the same settings, through PEFT and through Unsloth.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.random_model import OLMO3_7B, write_random_model
from benchmarks.workload import block_parameters, exchanges, matrix_rate
from sl_assets.config import TrainingSettings
from sl_assets.config.training import PROJECTIONS
from sl_assets.engines.gpu import free_memory
from sl_assets.engines.interfaces import Example, Report
from sl_assets.engines.peft.rows import Row, encode
from sl_assets.engines.peft.trainer import PeftTrainer
from sl_assets.engines.templates import Rendering
from sl_assets.engines.transformers.models import POCKET_FOLDER, layer_count, load_model, release_models
from sl_assets.engines.unsloth.trainer import UnslothTrainer, end

SETTINGS = TrainingSettings(rank=8, alpha=8, epochs=1, learning_rate=2e-4, warmup_steps=5, batch=66, max_length=500)
WARM_UP = 4
"""Steps that are not timed: kernels are compiled and memory is found in them."""

Run = Callable[[Report], None]


def main() -> None:
    """Measure on this machine's GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="folder of a model; without one, a random 7B is put there")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--only", nargs="*", default=["baseline", "peft", "unsloth"])
    options = parser.parse_args()
    folder = str(write_random_model(Path(options.model), str(POCKET_FOLDER), **OLMO3_7B))
    free_memory()
    examples = [
        Example(exchange.chat[-1]["content"], exchange.answer)
        for exchange in exchanges(options.steps * SETTINGS.batch, real=True)
    ]
    tokenizer = load_model(folder).tokenizer
    rows = [encode(tokenizer, Rendering(folder), example, SETTINGS.max_length) for example in examples]
    tokens = SETTINGS.batch * sum(len(row.ids) for row in rows) / len(rows)
    learnt = sum(len(row.ids) - row.prompt for row in rows) / len(rows)
    flops = 4 * block_parameters(folder) * (layer_count(folder) or 0)
    peak = matrix_rate()
    print(f"{torch.cuda.get_device_name()}, matrix rate {peak:.0f} TFLOP/s; rows of {len(rows[0].ids)} tokens or so")
    print(f"{tokens / SETTINGS.batch:.0f} tokens a row on average, {learnt:.0f} of them learnt")
    print("| what | seconds a step | real tokens/s | share of the matrix rate | GPU memory | first, last loss |")
    print("| --- | --- | --- | --- | --- | --- |")
    runs: dict[str, Run] = {
        "baseline": lambda report: baseline(folder, rows, report),
        "peft": lambda report: ours(PeftTrainer(folder), examples, report),
        "unsloth": lambda report: ours(UnslothTrainer(folder), examples, report),
    }
    for name in options.only:
        watch = Watch()
        start = time.perf_counter()
        runs[name](watch)
        pace = tokens / watch.seconds_a_step
        share = 100 * pace * flops / 1e12 / peak
        losses = f"{watch.losses[0]:.3f}, {watch.losses[-1]:.3f}"
        print(
            f"| {name} | {watch.seconds_a_step:.3f} | {pace:,.0f} | {share:.0f}% | {watch.memory / 1e9:.0f} GB "
            f"| {losses} | (to the first step {watch.times[0] - start:.0f} s)",
            flush=True,
        )
    end()
    release_models()


class Watch:
    """A report that keeps times, losses and the GPU memory in use, by whatever process."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.losses: list[float] = []
        self.memory = 0

    def __call__(self, step: int, steps: int, loss: float) -> None:
        """Note one step."""
        self.times.append(time.perf_counter())
        self.losses.append(loss)
        free, total = torch.cuda.mem_get_info()
        self.memory = max(self.memory, total - free)

    @property
    def seconds_a_step(self) -> float:
        """Mean over the steps that are timed."""
        return (self.times[-1] - self.times[WARM_UP - 1]) / (len(self.times) - WARM_UP)


def ours(trainer: Any, examples: Sequence[Example], report: Report) -> None:
    """One student through a `Trainer` of the project."""
    with tempfile.TemporaryDirectory() as folder:
        trainer.train(examples, SETTINGS, [1], Path(folder), report, None)


def baseline(base_model: str, rows: Sequence[Row], report: Report) -> None:
    """The same student, as scripts train it."""
    from peft import LoraConfig, get_peft_model
    from transformers import DataCollatorForSeq2Seq, PrinterCallback, Trainer, TrainingArguments, set_seed

    from sl_assets.engines.peft.loop import ReportSteps

    model, tokenizer = load_model(base_model)
    set_seed(SETTINGS.seed)
    lora = LoraConfig(
        r=SETTINGS.rank, lora_alpha=SETTINGS.alpha, target_modules=list(PROJECTIONS), task_type="CAUSAL_LM"
    )
    adapted: Any = get_peft_model(model, lora)
    data = [{"input_ids": row.ids, "labels": [-100] * row.prompt + row.ids[row.prompt :]} for row in rows]
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            num_train_epochs=SETTINGS.epochs,
            per_device_train_batch_size=22,
            gradient_accumulation_steps=3,
            learning_rate=SETTINGS.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=SETTINGS.warmup_steps,
            bf16=True,
            seed=SETTINGS.seed,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        trainer = Trainer(
            adapted,
            arguments,
            train_dataset=data,
            data_collator=DataCollatorForSeq2Seq(tokenizer),
            callbacks=[ReportSteps(report)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    adapted.unload()
    del trainer, adapted
    free_memory()


if __name__ == "__main__":
    main()
