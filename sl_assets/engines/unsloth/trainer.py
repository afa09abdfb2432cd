"""LoRA training with Unsloth, which fuses and compiles a model's blocks; CUDA only.

Unsloth changes transformers wherever it is imported, so it has a process of its own: one for all partitions of a run,
its model loaded once. It ends when another engine needs the GPU, and with the run. Where Unsloth cannot take a model,
PEFT trains it instead, with a warning; the adapters are of one form.
"""

import logging
import os
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from sl_assets.config import TrainingSettings
from sl_assets.engines.engine_process import EngineProcess
from sl_assets.engines.helper_process import HelperProcess, tell
from sl_assets.engines.installed import require
from sl_assets.engines.interfaces import Example, Report
from sl_assets.engines.templates import Rendering
from sl_assets.engines.transformers.models import model_folder
from sl_assets.errors import SlAssetsError
from sl_assets.lake.work import Work

log = logging.getLogger("sl_assets")

LONGEST_ROW = 4_096
"""Tokens a row may have: what Unsloth prepares positions for."""

_process = EngineProcess("unsloth")

_refused: set[str] = set()
"""Models that Unsloth could not take."""


class UnslothTrainer:
    """Adapters for ``base_model``."""

    def __init__(self, base_model: str, rendering: Rendering | None = None) -> None:
        self.engine = "unsloth"
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
            SlAssetsError: there is no GPU, it is too small, or unsloth is not installed.
        """
        _check_machine()
        if settings.max_length > LONGEST_ROW:
            raise SlAssetsError(
                f"max_length {settings.max_length}: unsloth is prepared for {LONGEST_ROW} tokens; "
                "lower it, or set student.engine to peft"
            )
        helper = self._helper()
        if helper is None:
            from sl_assets.engines.peft.trainer import PeftTrainer

            self.engine = PeftTrainer.engine
            return PeftTrainer(self._base_model, self._rendering).train(examples, settings, keep, folder, report)
        task = partial(_train, self._base_model, self._rendering, list(examples), settings, list(keep), folder)
        try:
            curve: pl.DataFrame = helper.run(task, report)
        except RuntimeError as error:
            _explain(error, "training")
            raise
        return curve

    def _helper(self) -> HelperProcess | None:
        """The process that has the model, started if need be; None where Unsloth cannot take it."""
        name = self._base_model
        if name in _refused:
            return None
        if helper := _process.serving(name):
            return helper
        folder = model_folder(name)
        try:
            return _process.start(name, partial(_load, str(folder)))
        except SlAssetsError:
            raise
        except Exception as error:
            _explain(error, f"loading {name!r}")
            _refused.add(name)
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            log.warning("unsloth cannot take %s, peft trains it instead: %s", name, reason)
            return None


def _check_machine() -> None:
    import torch

    require("student.engine", "unsloth")
    if not torch.cuda.is_available():
        raise SlAssetsError(
            "student.engine unsloth: no GPU here; run it where there is one, or set student.engine to peft"
        )


def _explain(error: Exception, what: str) -> None:
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        raise SlAssetsError(f"the GPU has too little memory for {what}: {str(error).splitlines()[0]}") from error


def end() -> None:
    """End the process that has unsloth, if there is one."""
    _process.end()


_loaded: dict[str, Any] = {}
"""In the helper: model and tokenizer."""


def _load(folder: str) -> None:
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", f"{tempfile.gettempdir()}/unsloth-of-sl_assets-{os.getuid()}")
    from unsloth import FastModel  # isort: skip - before torch and transformers, which it changes
    import torch

    _loaded["model"], _loaded["tokenizer"] = FastModel.from_pretrained(
        folder,
        max_seq_length=LONGEST_ROW,
        dtype=torch.bfloat16,
        load_in_4bit=False,
        use_exact_model_name=True,
        use_gradient_checkpointing=False,
    )


def _train(
    base_model: str,
    rendering: Rendering,
    examples: list[Example],
    settings: TrainingSettings,
    keep: list[int],
    folder: Path,
) -> pl.DataFrame:
    from unsloth import FastModel  # isort: skip
    from transformers import set_seed

    from sl_assets.engines.peft.rows import encode_all
    from sl_assets.engines.peft.trainer import adapter_of, check_modules_are_there, fit_adapter

    tokenizer = _loaded["tokenizer"]
    rows = encode_all(tokenizer, rendering, examples, settings)
    check_modules_are_there(_loaded["model"], settings)
    set_seed(settings.seed)
    adapted = FastModel.get_peft_model(
        _loaded["model"],
        **adapter_of(settings),
        random_state=settings.seed,
        use_gradient_checkpointing=False,
    )
    try:
        # Its kernels are its own, and what they ask of the CPU is not known.
        return fit_adapter(adapted, tokenizer, base_model, rows, settings, keep, folder, tell, record=False)
    finally:
        _loaded["model"] = adapted.unload().requires_grad_(False)
