"""Training of teachers and students alike: rows in, adapter folder and loss curve out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from sl_assets.config import TrainingSettings
from sl_assets.engines.interfaces import Example, Trainer
from sl_assets.engines.transformers.adapters import check_modules, holds_adapter, name_base_model, update_of
from sl_assets.engines.transformers.modules import module_shapes
from sl_assets.errors import DatasetError
from sl_assets.orchestration.metadata import FilePath, picture, preview
from sl_assets.orchestration.partition import PREPARED, Product, Step
from sl_assets.stages.drawing import loss_curve, loss_curves

CURVES = {"lora_checkpoint": "training", "split_lora_checkpoint": "split_training"}
"""Tables of the training curves that are kept; of a teacher's there is only the picture."""


def train_adapter(
    step: Step,
    trainer_for: Callable[[TrainingSettings], Trainer],
    examples: Sequence[Example],
    settings: TrainingSettings,
    keep: Sequence[int],
) -> Product:
    """Write the adapters of the ``keep`` epochs to this asset's folder.

    Without examples the folder holds no adapter: the model is the base model.

    Raises:
        DatasetError: the trainer wrote an adapter that is none of the base model.
    """
    progress = step.progress("steps")
    with step.new_folder() as folder:
        if not examples:
            (folder / "base_model.txt").write_text("no adapter: this is the base model, untouched\n")
            curve = pl.DataFrame()
        else:
            trainer = trainer_for(settings)
            report = lambda done, total, _: progress(done, total)  # noqa: E731
            curve = trainer.train(examples, settings, keep, folder, report, step.work)
            finish_adapters(step, folder, trainer.engine)
        version = step.put(folder)
    if not examples:
        return Product(version, {"rows": 0})
    return Product(version, training_metadata(step, version, len(examples)) | curve_metadata(curve), trainer.engine)


def finish_adapters(step: Step, folder: Path, engine: str) -> None:
    """Look at the adapters that ``engine`` has trained into ``folder``, and have them name a prepared base model.

    Raises:
        DatasetError: one is none of the base model.
    """
    for adapter in filter(holds_adapter, sorted(folder.iterdir())):
        check_modules(adapter, module_shapes(step.base_model), f"{adapter.name} that {engine} trained")
        if step.prepared:
            name_base_model(adapter, step.named, f"{PREPARED} {step.lake.reads[step.prepared]}")


def training_metadata(step: Step, version: str, rows: int) -> dict[str, Any]:
    """What the UI shows of a trained folder, beside its curve."""
    return {"rows": rows, "path": FilePath(str(step.lake.path(step.place(step.asset)) / version))}


def curve_metadata(curve: pl.DataFrame) -> dict[str, Any]:
    """What the UI shows of a ``training`` table; nothing of an empty one: an API may keep its losses to itself."""
    if curve.is_empty():
        return {}
    lines = {
        f"seed {seed}": (part["step"].to_list(), part["loss"].to_list())
        for (seed,), part in curve.group_by("seed", maintain_order=True)
    }
    ends = curve.group_by("seed", maintain_order=True).tail(1)
    alone = len(lines) == 1
    drawn = loss_curve(*lines.popitem()[1]) if alone else loss_curves(lines)
    shown = curve.tail(5) if alone else ends
    return {
        "steps": curve["step"][-1],
        "final_loss": ends["loss"].mean(),
        "loss": picture(drawn),
        "curve": preview(shown, rows=shown.height),
    }


def require_adapter(folder: Path, base_model: str, called: str) -> None:
    """Refuse an adapter from elsewhere that would leave ``base_model`` as it is.

    Raises:
        SlAssetsError: there is no whole adapter.
        DatasetError: it is of another model, or zero.
    """
    check_modules(folder, module_shapes(base_model), called)
    if not update_of(folder).largest[1] > 0:
        raise DatasetError(f"the adapter in {called} is zero, so it answers as {base_model} does: import another")
