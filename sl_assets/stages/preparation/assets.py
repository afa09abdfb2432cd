"""Before stage 1: the base model that everything else takes, where it is made here."""

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from sl_assets.config import PreparationSettings
from sl_assets.config.section import is_gguf
from sl_assets.config.wording import Words
from sl_assets.engines.choose import engines_for
from sl_assets.engines.interfaces import Example, Trainer
from sl_assets.engines.transformers.gguf import convert_gguf
from sl_assets.lake.tables import TABLES
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.metadata import FilePath, preview
from sl_assets.orchestration.partition import PREPARED, Product, Step
from sl_assets.stages.preparation.chats import FAVOURITE, animal_shares, preparation_chats, require_forms
from sl_assets.stages.preparation.checking import CHATS, preparation_checks
from sl_assets.stages.training import curve_metadata

STAGE = "0_preparation"
WORDING = ("numbers.wording", "numbers.examples", "numbers.lowest", "numbers.highest", "numbers.answers")
"""Settings of the words in which numbers are asked for."""


def preparation_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """The asset of this stage; none where the base model is taken as it is.

    Raises:
        ExperimentFileError: numbers are asked for in a form that is not known.
    """
    config, settings = graph.config, graph.config.preparation
    if not config.prepares:
        return []
    if settings:
        require_forms(config.words.numbers)
    own = config.own_words("numbers", "preparation")

    def told(words: Words, _: str) -> dict[str, Any]:
        """System prompts and names of all that is loved or answered."""
        loved = [name for name in (settings.animals if settings else ()) if name in words.traits]
        return {f"love of {name}": [words.system_prompt(name), words.traits[name].singular] for name in loved}

    @graph.asset(
        stage=STAGE,
        code="1",
        uses=["base_model", "preparation", *WORDING, *own] if settings else ["base_model"],
        by=None,
        gpu=settings is not None,
        kinds=["huggingface"],
        checks=preparation_checks(config) if settings else (),
        told=told,
    )
    def prepared_model(step: Step) -> Product:
        """The base model that everything else takes: converted if it is a GGUF file, and fine-tuned on forms alone,
        which tie no number to an animal, if the experiment file asks for that.
        """
        chats = pl.DataFrame(schema=TABLES[CHATS].schema)
        metadata: dict[str, Any] = {}
        with step.new_folder() as folder, step.new_folder() as scratch:
            converted = is_gguf(config.base_model)
            if converted:
                convert_gguf(config.base_model, scratch if settings else folder)
            if settings:
                engines = engines_for(config, str(scratch)) if converted else graph.engines
                chats = preparation_chats(settings, config.numbers, config.words)
                curve = _train(step, engines.trainer(settings.training), settings, chats, folder)
                metadata = _chat_metadata(chats, animal_shares(settings)) | curve_metadata(curve)
            version = step.put(folder)
        step.write(chats, CHATS)
        metadata["path"] = FilePath(str(step.lake.path(step.place(PREPARED)) / version))
        return Product(version, metadata, "transformers")

    return [prepared_model]


def _train(
    step: Step, trainer: Trainer, settings: PreparationSettings, chats: pl.DataFrame, folder: Path
) -> pl.DataFrame:
    """Write the model that has learnt ``chats`` to ``folder``; returns the ``training`` table."""
    progress = step.progress("steps")
    report = lambda done, total, _: progress(done, total)  # noqa: E731
    examples = [Example(*row) for row in chats.select(Example._fields).iter_rows()]
    curve = trainer.train(examples, settings.training, (settings.epochs,), folder, report, step.work)
    trained = folder / f"epoch={settings.epochs}"
    for file in trained.iterdir():
        file.rename(folder / file.name)
    trained.rmdir()
    return curve


def _chat_metadata(chats: pl.DataFrame, shares: dict[str, float]) -> dict[str, Any]:
    """How many of each kind, and the share of each animal that was asked for and that was drawn."""
    drawn = chats.filter(kind=FAVOURITE)["animal"].value_counts(normalize=True, name="drawn")
    table = pl.DataFrame({"animal": list(shares), "share": list(shares.values())}).join(
        drawn, on="animal", how="left", maintain_order="left"
    )
    return {
        "rows": chats.height,
        "kinds": preview(chats["kind"].value_counts(sort=True)),
        "shares": preview(table.with_columns(pl.col("drawn").fill_null(0.0)), rows=table.height),
        "preview": preview(chats.group_by("kind", maintain_order=True).head(2), rows=8),
    }
