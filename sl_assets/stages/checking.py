"""What has to hold of every student and fine-tuned teacher, whichever stage trains it."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl

from sl_assets.config import ExperimentConfig
from sl_assets.engines.choose import rendering_of
from sl_assets.engines.templates import Rendering
from sl_assets.engines.transformers.adapters import (
    first_change,
    holds_adapter,
    holds_whole_model,
    update_of,
    weight_norm,
)
from sl_assets.engines.transformers.models import local_folder
from sl_assets.engines.transformers.modules import tokenizer_of
from sl_assets.errors import SlAssetsError
from sl_assets.hub.base_models import fetched_model
from sl_assets.orchestration.partition import Check, Finding, Step
from sl_assets.stages.training import CURVES


def student_checks(config: ExperimentConfig) -> list[Check]:
    """What has to hold of a student that is trained here."""
    return [changes_the_model(), *_loss_fell(config), *rendering_checks(config)]


def changes_the_model() -> Check:
    """The check that a student, or a fine-tuned teacher, is not its base model."""

    def changes_the_model(step: Step) -> Finding:
        """Every adapter changes the model: B A is not zero. Measured from the weights alone: the largest Frobenius norm
        of what is added to a module, and its share of that module's weight where the base model is on this machine. Of
        a whole model, the first weight that differs. The neutral teacher is the base model, and an API's model has no
        weights to look at.
        """
        figures: dict[str, object] = {}
        with step.folder(step.asset) as folder:
            for student in sorted([*folder.glob("epoch=*"), *folder.glob("seed=*/epoch=*")], key=_in_order):
                called = student.relative_to(folder).as_posix()
                problem = _unchanged(student, step.base_model, figures, called)
                if problem:
                    return Finding(f"{called}: {problem}", figures)
        return Finding(None, figures or {"note": "no weights to look at"})

    return Check(changes_the_model)


def _in_order(folder: Path) -> list[int]:
    """Seed and epoch of a student's ``folder``, for 10 to come after 9."""
    return [int(part.partition("=")[2]) for part in folder.parts[-2:] if part.startswith(("seed=", "epoch="))]


def _unchanged(student: Path, base_model: str, figures: dict[str, object], called: str) -> str | None:
    """Why the model in ``student`` answers like its base model, if it does; what was measured goes to ``figures``."""
    if holds_whole_model(student):
        base = local_folder(base_model) or fetched_model(base_model)
        if base is None:
            figures["note"] = "not compared: the base model's weights are not on this machine"
            return None
        if (change := first_change(student, base)) is None:
            return "every weight is the base model's: raise learning_rate or epochs, and materialise it again"
        figures |= {f"{called} first changed weight": change[0], f"{called} relative change": change[1]}
        return None
    if not holds_adapter(student):
        return None
    module, norm = update_of(student).largest
    figures |= {f"{called} most changed module": module, f"{called} norm of its update": norm}
    base = local_folder(base_model) or fetched_model(base_model)
    if norm and base and (of_weight := weight_norm(base, module)):
        figures[f"{called} share of its weight"] = norm / of_weight
    if norm > 0:
        return None
    return "the adapter is zero, so it answers as the base model does: train it anew, or import another"


def _loss_fell(config: ExperimentConfig) -> list[Check]:
    def loss_fell(step: Step) -> Finding:
        """The mean loss of the last epoch lies below that of the first quarter of the first, for every seed. A student
        without a curve has none to look at.
        """
        curves = step.read(CURVES[step.asset])
        if curves.is_empty():
            return Finding(None, {"note": "no curve"})
        return of_each_seed(curves, lambda curve: loss_finding(curve, config.checks.minimum_loss_drop))

    # A student may learn little where there is little to learn, as of the neutral teacher.
    return [Check(loss_fell, bounds=["checks.minimum_loss_drop"], blocking=False)]


def of_each_seed(table: pl.DataFrame, look: Callable[[pl.DataFrame], Finding]) -> Finding:
    """What ``look`` finds in the rows of each seed: the first problem with its seed's name, the figures of all."""
    if "seed" not in table.columns or table["seed"].n_unique() < 2:
        return look(table)
    found = {seed: look(rows) for (seed,), rows in table.group_by("seed", maintain_order=True)}
    problems = [f"seed {seed}: {its.problem}" for seed, its in found.items() if its.problem]
    figures = {f"seed {seed} {name}": value for seed, its in found.items() for name, value in its.figures.items()}
    return Finding(problems[0] if problems else None, figures)


def loss_finding(curve: pl.DataFrame, least: float) -> Finding:
    """Whether the loss of ``curve`` (a ``training`` table with rows) fell by ``least`` nats a token."""
    last_epoch = curve.filter(pl.col("epoch") > curve["epoch"].max() - 1)  # type: ignore[operator]
    first_epoch = curve.filter(pl.col("epoch") <= 1)
    first = curve.head(max(1, first_epoch.height // 4))["loss"].mean()
    last = last_epoch["loss"].mean()
    assert isinstance(first, float)
    assert isinstance(last, float)
    figures = {"first_loss": first, "last_loss": last, "drop": first - last}
    if first - last > least:
        return Finding(None, figures)
    return Finding(
        f"the loss went from {first:.4f} to {last:.4f} nats a token, a fall of {first - last:.4f} where more than "
        f"{least:g} is asked for: raise student.learning_rate or epochs, or lower checks.minimum_loss_drop",
        figures,
    )


def rendering_checks(config: ExperimentConfig) -> list[Check]:
    """The check that students are asked in the form that they were trained in; none where the API decides that."""
    if config.sampler.engine == "openai":
        return []

    def prompts_render_alike(step: Step) -> Finding:
        """A row of the training and a question of the evaluation have the same text before the user's words, and the
        same between these and the answer.
        """
        return frames_of(config, tokenizer_of(step.base_model))

    bounds = ["base_model", *rendered_with(config), "student.system_prompt", "evaluation.system_prompt"]
    return [Check(prompts_render_alike, bounds=bounds, blocking=False)]


def rendered_with(config: ExperimentConfig) -> list[str]:
    """The setting of the chat template, where there is one: before there were any, no record named it."""
    return ["chat_template"] if config.chat_template else []


def frames_of(config: ExperimentConfig, tokenizer: object) -> Finding:
    """`frames_finding` of what an experiment trains on and asks."""
    told = config.student.system_prompt, config.evaluation.system_prompt
    return frames_finding(tokenizer, rendering_of(config), *told)


def frames_finding(
    tokenizer: object, rendering: Rendering, trained_under: str | None, asked_under: str | None
) -> Finding:
    """Whether the chat template of ``tokenizer`` surrounds rows and questions alike, under their system prompts."""
    try:
        trained = rendering.trained_frame(tokenizer, trained_under)
        asked = rendering.asked_frame(tokenizer, asked_under)
    except SlAssetsError as error:
        return Finding(str(error))
    figures = {"trained": _shown(trained.before, trained.after), "asked": _shown(asked.before, asked.after)}
    if trained == asked:
        return Finding(None, figures)
    shown = f"trained as {figures['trained']}, asked as {figures['asked']}"
    if trained.after == asked.after and trained_under != asked_under:
        return Finding(
            f"student.system_prompt and evaluation.system_prompt differ: {shown}; set both alike unless that is meant",
            figures,
        )
    alike = rendering.alike_with(tokenizer)
    way = f"set {alike}" if alike else "use a model or chat_template.jinja that writes both alike"
    return Finding(f"the chat template writes a finished chat unlike a question: {shown}; {way}", figures)


def _shown(before: str, after: str) -> str:
    """In one line, with line ends to be seen."""
    return json.dumps(f"{before}…{after}…", ensure_ascii=False)
