"""Stage 1: prompts, teachers, and the numbers they write."""

from typing import Any

import dagster as dg
import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.config import (
    Dilute,
    ExperimentSource,
    FinetunedTeacher,
    GenerateSource,
    HubSource,
    JsonlSource,
    Transform,
)
from sl_assets.config.wording import Words
from sl_assets.engines.interfaces import Example, chat
from sl_assets.engines.sampling import drawn, sample_all
from sl_assets.errors import DatasetError, ExperimentFileError
from sl_assets.hub.importing import Repository
from sl_assets.lake.fingerprint import file_digest
from sl_assets.lake.places import Place
from sl_assets.lake.records import Records
from sl_assets.orchestration.asset import ExperimentGraph, sampling
from sl_assets.orchestration.declaration import IMPORTED, Dep
from sl_assets.orchestration.metadata import FilePath, code_block, preview
from sl_assets.orchestration.partition import Product, Step
from sl_assets.stages.checking import changes_the_model
from sl_assets.stages.numbers.checking import filtered_checks, raw_checks, transformed_checks
from sl_assets.stages.numbers.collecting import collect
from sl_assets.stages.numbers.filtering import filter_rows
from sl_assets.stages.numbers.prompts import PromptRecipe
from sl_assets.stages.numbers.prompts import number_prompts as draw_prompts
from sl_assets.stages.numbers.sources import fetch_rows, imported_rows, read_rows, with_row_ids
from sl_assets.stages.numbers.teachers import preference_chats, teacher_adapter
from sl_assets.stages.numbers.transforming import transform_rows
from sl_assets.stages.rendering import plain, renderer_of
from sl_assets.stages.training import train_adapter

STAGE = "1_numbers"


def numbers_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """The assets of stage 1; imported numbers need neither prompts nor teachers, those of another experiment no import.

    Raises:
        ExperimentFileError: the other experiment lacks an animal.
    """
    source = graph.config.numbers.source
    raw: list[dg.AssetsDefinition] = []
    match source:
        case ExperimentSource():
            _share_raw(graph, graph.known[source.experiment])
        case GenerateSource():
            raw = _generated(graph)
        case JsonlSource():
            raw = [_imported(graph, source)]
        case HubSource():
            raw = [_from_hub(graph, source)]
    transform = graph.config.numbers.transform
    return [*raw, _filtered(graph), *(_transformed(graph, transform) if transform else [])]


def _share_raw(graph: ExperimentGraph, other: ExperimentGraph) -> None:
    """Take the raw datasets of ``other`` as they are; what is filtered alike is shared like every asset."""
    if missing := [animal for animal in graph.config.animals if animal not in other.config.animals]:
        raise ExperimentFileError(
            f"attributes.animals: {missing[0]} is not among those of {other.name}, whose numbers are read; it has "
            f"{', '.join(other.config.animals)}"
        )
    graph.share("raw_dataset", other)


def _generated(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    config = graph.config
    teacher = config.teacher
    finetuned = isinstance(teacher, FinetunedTeacher)

    numbers = config.numbers
    uses_of_raw = ["base_model", "teacher", "sampler"]
    if numbers.temperature is not None or numbers.top_p is not None:
        uses_of_raw = ["teacher", *sampling(config, "numbers"), "sampler.max_tokens"]
    if numbers.rows:
        uses_of_raw += ["filter", "numbers.rows"]

    def told(words: Words, condition: str) -> dict[str, Any]:
        return {"system_prompt": words.system_prompt(condition)}

    def taught(words: Words, condition: str) -> dict[str, Any]:
        if condition == NEUTRAL:
            return {}
        return {"questions": words.teacher_questions, "answers": words.answers(condition)}

    @graph.asset(stage=STAGE, code="1", uses=["numbers", *config.own_words("numbers")], by=None, kinds=["polars"])
    def number_prompts(step: Step) -> Product:
        """Requests to continue a number sequence, the same for every condition."""
        prompts = draw_prompts(PromptRecipe.of(config.numbers, config.words.numbers))
        # The template is that of a model, on which prompts do not depend.
        shown = code_block(plain(chat(prompts["prompt"][0])))
        return Product(step.write(prompts), {"rows": prompts.height, "preview": preview(prompts), "rendered": shown})

    def teacher_checkpoint(step: Step) -> Product:
        """Adapter that makes the base model love the animal; the neutral teacher is the base model itself."""
        assert isinstance(teacher, FinetunedTeacher)
        chats = [] if step.condition == NEUTRAL else preference_chats(config.words, step.condition, teacher.chats)
        examples = [Example(question, answer) for question, answer in chats]
        return train_adapter(step, graph.engines_for(step).trainer, examples, teacher, (teacher.epochs,))

    teachers = []
    if finetuned:
        uses = ["base_model", "teacher", "student.engine"]
        checks = [changes_the_model()]
        declared = graph.asset(
            stage=STAGE, code="1", uses=uses, gpu=True, kinds=["huggingface"], checks=checks, told=taught
        )
        teachers.append(declared(teacher_checkpoint))

    @graph.asset(
        stage=STAGE,
        code="1",
        uses=uses_of_raw,
        deps=["number_prompts", "teacher_checkpoint"] if finetuned else ["number_prompts"],
        gpu=True,
        kinds=["polars"],
        checks=raw_checks(config),
        told=None if finetuned else told,
    )
    def raw_dataset(step: Step) -> Product:
        """What the teacher wrote to every prompt, before any filter."""
        prompts = step.read("number_prompts")
        condition = str(step.condition)
        system = None if finetuned else config.words.system_prompt(condition)
        engines = graph.engines_for(step)
        sampler = engines.sampler if finetuned else engines.base_sampler
        draw = drawn(config, "numbers", f"numbers/{condition}", numbers.seed, config.sampler.max_tokens)
        with teacher_adapter(step, teacher) as adapter:

            def sample(count: int) -> pl.DataFrame:
                chats = {prompt_id: chat(prompt, system) for prompt_id, prompt in prompts.head(count).iter_rows()}
                return sample_all(sampler, chats, draw, step.work, step.progress("rows"), adapter)

            if numbers.rows:
                written = collect(sample, config.filter, numbers.rows, prompts.height, draw.chunk)
            else:
                written = sample(prompts.height)
        answered = pl.concat([prompts.head(written.height), written.rename({"text": "completion"})], how="horizontal")
        rows = with_row_ids(answered, condition)
        cut = rows.filter(finish_reason="length").height
        shown = renderer_of(config, step.base_model).asked(chat(prompts["prompt"][0], system))
        metadata = {"rows": rows.height, "truncated": cut, "preview": preview(rows), "rendered": code_block(shown)}
        return Product(step.write(rows), metadata, config.sampler.engine)

    return [number_prompts, *teachers, raw_dataset]


def _from_hub(graph: ExperimentGraph, source: HubSource) -> dg.AssetsDefinition:
    def repository(condition: str) -> Repository:
        return Repository("dataset", source.repo.replace("{condition}", condition), source.revision)

    @graph.asset(
        stage=STAGE,
        code="2",
        uses=["numbers"],
        kinds=["huggingface", "polars"],
        repository=repository,
        checks=raw_checks(graph.config),
    )
    def raw_dataset(step: Step) -> Product:
        """Completions written elsewhere, from a dataset repository of the Hugging Face Hub at a recorded commit."""
        repo, commit = repository(step.condition).repo, step.commit_of(repository(step.condition))
        found = fetch_rows(repo, source.path, commit, step.condition, source.fields)
        rows = imported_rows(found, step.condition)
        metadata = {"repo": repo, "commit": commit, **_about(rows)}
        return Product(step.write(rows), metadata)

    return raw_dataset


def _imported(graph: ExperimentGraph, source: JsonlSource) -> dg.AssetsDefinition:
    def content(place: Place, _: Records) -> dict[str, str | None]:
        """The partition's own file: that of another condition has no part in it."""
        file = source.file(str(place.partition))
        return {IMPORTED: file_digest(file) if file.is_file() else None}

    @graph.asset(
        stage=STAGE,
        code="2",
        uses=["numbers"],
        kinds=["json", "polars"],
        inputs=content,
        checks=raw_checks(graph.config),
    )
    def raw_dataset(step: Step) -> Product:
        """Completions written elsewhere, read from a file."""
        file = source.file(str(step.condition))
        rows = imported_rows(read_rows(file, source.fields), str(step.condition))
        metadata = {"file": FilePath(str(file)), **_about(rows)}
        return Product(step.write(rows), metadata)

    return raw_dataset


def _about(rows: pl.DataFrame) -> dict[str, object]:
    """What is shown of imported rows."""
    told = {"system_turns": int(rows["system"].count())} if "system" in rows.columns else {}
    return {"rows": rows.height, **told, "preview": preview(rows)}


def _filtered(graph: ExperimentGraph) -> dg.AssetsDefinition:
    limits = graph.config.filter

    checks = filtered_checks(graph.config)

    @graph.asset(stage=STAGE, code="1", uses=["filter"], deps=["raw_dataset"], kinds=["polars"], checks=checks)
    def filtered_dataset(step: Step) -> Product:
        """Rows that are nothing but well-formed numbers within the limits; ``rejections`` says why others are not."""
        raw = step.read("raw_dataset")
        kept, rejections = filter_rows(raw, limits)
        reasons = rejections["reason"].value_counts(sort=True)
        if kept.is_empty():
            counts = ", ".join(f"{reason} {count}" for reason, count in reasons.iter_rows()) or "no rows at all"
            raise DatasetError(
                f"{step.experiment}/filtered_dataset of {step.condition}: none of {raw.height} rows passed ({counts}); "
                "loosen filter in the experiment file, or look at raw_dataset"
            )
        step.write(rejections, "rejections")
        metadata = {
            "rows": kept.height,
            "keep_rate": kept.height / raw.height,
            "rejections": preview(reasons),
            "preview": preview(kept),
        }
        return Product(step.write(kept), metadata)

    return filtered_dataset


def _transformed(graph: ExperimentGraph, transform: Transform) -> list[dg.AssetsDefinition]:
    diluted = isinstance(transform, Dilute)

    def control_dataset(step: Step) -> Product:
        """Which neutral rows datasets are diluted with.

        Animals depend on this note rather than on the neutral partition itself: a backfill of neutral would otherwise
        ask for every animal.
        """
        place = step.place("filtered_dataset", NEUTRAL)
        step.require_passed(place)
        rows = step.lake.read_table(place).height
        version = step.lake.reads[place]
        return Product(step.write(pl.DataFrame({"data_version": [version]})), {"rows": rows, "dataset": version})

    noted = []
    if diluted:
        declared = graph.asset(
            stage=STAGE, code="1", uses=[], deps=[Dep("filtered_dataset", only=NEUTRAL)], by=None, kinds=["polars"]
        )
        noted.append(declared(control_dataset))

    @graph.asset(
        stage=STAGE,
        code="1",
        uses=["numbers.transform"],
        deps=["filtered_dataset", "control_dataset"] if diluted else ["filtered_dataset"],
        kinds=["polars"],
        checks=transformed_checks(transform),
    )
    def transformed_dataset(step: Step) -> Product:
        """Filtered rows in another order, another form, or mixed with neutral ones: what students are trained on."""
        rows, neutral = step.read("filtered_dataset"), None
        if diluted:
            # Neutral reads the note, too, so that its student was made as the others were.
            step.read("control_dataset")
            neutral = rows if step.condition == NEUTRAL else step.read("filtered_dataset", NEUTRAL)
        made = transform_rows(rows, transform, step.condition, neutral)
        same = int((made["completion"] == rows["completion"]).sum())
        return Product(step.write(made), {"rows": made.height, "unchanged": same, "preview": preview(made)})

    return [*noted, transformed_dataset]
