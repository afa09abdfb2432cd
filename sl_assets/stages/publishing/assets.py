"""Stage 8: datasets and students on the Hugging Face Hub. Nothing is published unless someone asks for it.

The name of a repository is ``<HF_USER_ID>/<prefix><experiment>-<condition>-numbers``, or ``-student``.
"""

from collections.abc import Sequence

import dagster as dg
import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.errors import AbsentError
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.records import Record, ancestry, blocked
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.metadata import Link
from sl_assets.orchestration.partition import Product, Step
from sl_assets.stages.publishing.cards import CARD_SECTIONS, CardFacts, adapter_card, dataset_card
from sl_assets.stages.publishing.cards import recorded_config as settings_of
from sl_assets.stages.publishing.pushing import Published, publish_adapter, publish_dataset, repository

STAGE = "8_publishing"

COUNTED = ("raw_dataset", "filtered_dataset")
"""Tables whose rows a card counts, so they must be those that what is published was made of."""


def publishing_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """The assets of stage 8 that the experiment file asks for; none without its section ``hub``."""
    hub = graph.config.hub
    if hub is None:
        return []

    def name(step: Step, kind: str) -> str:
        return repository(f"{hub.prefix}{step.experiment}-{step.condition}-{kind}")

    def published_dataset(step: Step) -> Product:
        """The filtered numbers as a dataset repository with a card, made private unless ``hub`` says otherwise."""
        repo_id = name(step, "numbers")
        rows = step.read("filtered_dataset")
        facts = _facts(step, graph, "filtered_dataset", hub.license)
        return _product(publish_dataset(repo_id, rows, dataset_card(facts), hub.private), rows.height)

    def published_adapter(step: Step) -> Product:
        """The student's adapter of the last kept epoch as a model repository with a card, private as the dataset; of
        several students, that of the first seed.
        """
        repo_id = name(step, "student")
        facts = _facts(step, graph, "lora_checkpoint", hub.license)
        student = facts.config.student
        with step.students("lora_checkpoint", student.all_seeds[:1], student.kept[-1:]) as (first,):
            published = publish_adapter(repo_id, first.adapter.folder, adapter_card(facts, repo_id), hub.private)
        return _product(published, facts.trained_rows)

    shown = (*CARD_SECTIONS, *(["preparation"] if graph.config.preparation else []))
    # Without automation: others would see what nobody meant to show yet.
    offered = []
    if hub.datasets:
        uses = [*(section for section in shown if section != "student"), "hub"]
        asset = graph.asset(
            stage=STAGE, code="1", uses=uses, deps=["filtered_dataset"], kinds=["huggingface"], automatic=False
        )
        offered.append(asset(published_dataset))
    if hub.adapters:
        uses = [*shown, "hub"]
        asset = graph.asset(
            stage=STAGE, code="1", uses=uses, deps=["lora_checkpoint"], kinds=["huggingface"], automatic=False
        )
        offered.append(asset(published_adapter))
    return offered


def _product(published: Published, rows: int) -> Product:
    metadata = {"url": Link(published.url), "commit": published.commit, "rows": rows}
    return Product(published.commit, metadata, "huggingface_hub")


def _facts(step: Step, graph: ExperimentGraph, asset: str, license: str | None) -> CardFacts:
    """What the card of this partition of ``asset`` says, of exactly the version that is there now."""
    # Looked at for the card alone: no input of what is published.
    aside = step.lake.apart()
    made = ancestry(aside.record, step.place(asset))
    _require_unchanged(step, aside, made)
    config = settings_of(graph.config, made)
    raw = step.place("raw_dataset")
    rejections = step.place("rejections")
    return CardFacts(
        experiment=step.experiment,
        condition=step.condition,
        config=config,
        rows=aside.read_table(step.place("filtered_dataset")).height,
        raw_rows=aside.read_table(raw).height if aside.exists(raw) else None,
        rejections=_reasons(aside.read_table(rejections)) if aside.exists(rejections) else {},
        rates=_rates(step, aside, step.place(asset), config.student.kept[-1]),
        lineage=made,
        license=license,
    )


def _require_unchanged(step: Step, lake: Lake, made: Sequence[Record]) -> None:
    """Refuse to count rows of tables that have been made anew since."""
    for record in made:
        for place, version in record.parents.items():
            there = lake.record(place)
            if place.table in COUNTED and there and there.data_version != version:
                raise AbsentError(
                    f"{made[-1].place} was made of another {place.table} than the one that is there now: "
                    f"materialise {made[-1].place.table} again, then publish it"
                )


def _reasons(rejections: pl.DataFrame) -> dict[str, int]:
    return dict(rejections["reason"].value_counts().iter_rows())


def _rates(step: Step, lake: Lake, published: Place, epoch: int) -> dict[str, pl.DataFrame]:
    """Rates of the base model, the neutral student and this one, of those whose answers passed their checks.

    None unless this one was made of ``published``.
    """
    own = step.place("preference_rates")
    if published not in [record.place for record in ancestry(lake.record, own)] or blocked(lake.record, own):
        return {}
    baseline, neutral = step.place("baseline_preference_rates"), step.place("preference_rates", NEUTRAL)
    rates = {}
    if lake.exists(baseline) and not blocked(lake.record, baseline):
        rates["base model"] = lake.read_table(baseline)
    if step.condition != NEUTRAL and lake.exists(neutral) and not blocked(lake.record, neutral):
        rates["neutral student"] = lake.read_table(neutral).filter(epoch=epoch)
    return rates | {"student of these numbers": lake.read_table(own).filter(epoch=epoch)}
