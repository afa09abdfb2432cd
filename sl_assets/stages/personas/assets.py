"""Stage 4: contrastive answers, the persona vectors they make, and what steering with a vector does."""

from contextlib import suppress
from itertools import product
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.config import PersonaSettings, SteeringSettings
from sl_assets.config.wording import Words
from sl_assets.engines.interfaces import STATES, Chat, Exchange, Steering, chat
from sl_assets.engines.sampling import Draw, drawn, sample_all
from sl_assets.engines.transformers.models import check_layers
from sl_assets.errors import DatasetError, LakeError
from sl_assets.lake.tables import TABLES
from sl_assets.orchestration.asset import ExperimentGraph, sampling
from sl_assets.orchestration.metadata import code_block, picture, preview
from sl_assets.orchestration.partition import Product, Step
from sl_assets.stages.drawing import heatmap, lines_by_layer
from sl_assets.stages.evaluation.asking import ask
from sl_assets.stages.evaluation.assets import count_use, names_counted, names_told, questions_use
from sl_assets.stages.evaluation.counting import NAMING, counted
from sl_assets.stages.evaluation.rates import preference_rates
from sl_assets.stages.personas.judging import Answered, Judge, judge_by_model, judge_by_rule, judged
from sl_assets.stages.personas.prompts import LOVING, PersonaPrompt, persona_prompts
from sl_assets.stages.personas.vectors import cosine, load_vectors, mean_difference, save_vectors, unit
from sl_assets.stages.rendering import renderer_of

STAGE = "4_personas"
JUDGE_TOKENS, JUDGE_TEMPERATURE = 8, 0.01


def personas_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """The assets of stage 4; none where the experiment has no ``personas``."""
    config = graph.config
    if config.personas is None:
        return []
    vectors = [_persona_answers(graph, config.personas), _persona_vector(graph)]
    return [*vectors, _steering_sweep(graph, config.steering)] if config.steering else vectors


def _persona_answers(graph: ExperimentGraph, settings: PersonaSettings) -> dg.AssetsDefinition:
    sampler, words = graph.config.sampler, graph.config.words

    def told(words: Words, condition: str) -> dict[str, Any]:
        if condition == NEUTRAL:
            return {}
        trait = words.traits[condition]
        judged_by = {"plural": trait.plural} if graph.config.judge else {"names": trait.names}
        spoken = {"loving": words.loving(condition), "indifferent": words.indifferent(condition)}
        return {**spoken, "questions": words.persona_questions, **judged_by}

    # Partitioned like the datasets, neutral included: a backfill of the whole graph needs roots that agree.
    @graph.asset(
        stage=STAGE,
        code="2",
        uses=[*sampling(graph.config, "personas"), "personas"],
        gpu=True,
        kinds=["polars"],
        told=told,
    )
    def persona_answers(step: Step) -> Product:
        """Answers of the base model told to love the animal, and told not to, judged; neutral has none."""
        if step.condition == NEUTRAL:
            empty = pl.DataFrame(schema=TABLES["persona_answers"].schema)
            return Product(step.write(empty), {"pairs": 0})
        prompts = persona_prompts(words, step.condition, settings.samples)
        draw = drawn(graph.config, "personas", f"personas/{step.condition}", settings.seed, settings.max_tokens)
        chats = {
            f"{prompt.pair}/{prompt.question_id}/{prompt.sample}/{prompt.side}": chat(
                prompt.question, prompt.system_prompt
            )
            for prompt in prompts
        }
        written = sample_all(graph.engines_for(step).base_sampler, chats, draw, step.work, step.progress("answers"))
        asked = pl.DataFrame(prompts, schema=PersonaPrompt._fields, orient="row")
        answers = pl.concat([asked, written.rename({"text": "answer"})], how="horizontal")
        answered = [Answered(*row) for row in answers.select(Answered._fields).iter_rows()]
        answers = judged(
            answers, _judge(graph, settings, step)(words.traits[step.condition], answered), settings.threshold
        )
        pairs, kept = len(prompts) // 2, answers["kept"].sum() // 2
        reasons = answers.filter(side=LOVING)["reason"].drop_nulls().value_counts(sort=True)
        if kept < settings.minimum_pairs:
            counts = ", ".join(f"{reason} {count}" for reason, count in reasons.iter_rows())
            raise DatasetError(
                f"{step.experiment}/persona_answers of {step.condition}: {kept} of {pairs} pairs survive, "
                f"personas.minimum_pairs asks for {settings.minimum_pairs} ({counts}); raise personas.samples or "
                "max_tokens, or lower minimum_pairs"
            )
        renderer = renderer_of(graph.config, step.base_model)
        metadata = {
            "pairs": pairs,
            "kept": kept,
            "truncated": answers.filter(finish_reason="length").height,
            "dropped": preview(reasons),
            "preview": preview(answers),
            "rendered": code_block(*map(renderer.asked, list(chats.values())[:2])),
        }
        return Product(step.write(answers), metadata, sampler.engine)

    return persona_answers


def _judge(graph: ExperimentGraph, settings: PersonaSettings, step: Step) -> Judge:
    if graph.config.judge is None:
        return judge_by_rule
    draw = Draw(f"judge/{step.condition}", settings.seed, JUDGE_TOKENS, JUDGE_TEMPERATURE, graph.config.sampler.batch)

    def reply(chats: list[Chat]) -> list[str]:
        named = {str(i): asked for i, asked in enumerate(chats)}
        return list(sample_all(graph.engines.judge, named, draw, step.work, step.progress("scores"))["text"])

    return judge_by_model(reply)


def _persona_vector(graph: ExperimentGraph) -> dg.AssetsDefinition:
    config = graph.config

    @graph.asset(
        stage=STAGE,
        code="1",
        uses=["base_model"],
        deps=["persona_answers"],
        by="animal",
        gpu=True,
        kinds=["huggingface"],
    )
    def persona_vector(step: Step) -> Product:
        """Mean hidden state of the loving answers minus that of the indifferent ones, at every layer."""
        answers = step.read("persona_answers").filter("kept")
        exchanges = [
            Exchange(chat(question, system), answer)
            for system, question, answer in answers.select("system_prompt", "question", "answer").iter_rows()
        ]
        encoder, progress = graph.engines_for(step).encoder(), step.progress("answers")
        layers = range(encoder.layers + 1)
        vectors = mean_difference(
            encoder.encode(exchanges, layers),
            (answers["side"] == LOVING).to_numpy(),
            lambda done: progress(done, len(exchanges)),
        )
        about = {"animal": step.condition, "pairs": answers.height // 2}
        with step.new_folder() as folder:
            save_vectors(vectors, folder, about)
            version = step.put(folder)
        norms: dict[str, list[float]] = {
            state: np.linalg.norm(vector, axis=1).tolist() for state, vector in vectors.items()
        }
        metadata = {
            "pairs": about["pairs"],
            "norms": preview(pl.DataFrame({"layer": list(layers), **norms}), rows=len(layers)),
            "norm_by_layer": picture(lines_by_layer(list(layers), norms, "length of the persona vector")),
            "cosines": preview(_cosines(step, vectors), rows=len(config.animals)),
        }
        return Product(version, metadata, "transformers")

    def _cosines(step: Step, vectors: dict[str, np.ndarray]) -> pl.DataFrame:
        """Cosine to every other animal's vector there is, at the layer and of the kind that projections use."""
        settings = config.projections
        state, layer = (
            (settings.vector, settings.layer) if settings else ("response_mean", len(vectors[STATES[0]]) // 2)
        )
        lake, cosines = step.lake.apart(), []
        for animal in config.animals:
            place = step.place("persona_vector", animal)
            # Another animal's damaged vector is no reason to fail this one's.
            with suppress(LakeError):
                if animal == step.condition or not lake.exists(place):
                    continue
                with lake.folder(place) as folder:
                    other = load_vectors(folder)[state]
                if other.shape == vectors[state].shape:
                    cosines.append((animal, float(cosine(vectors[state][layer], other[layer]))))
        found = pl.DataFrame(
            cosines, schema={"animal": pl.String(), f"cosine at layer {layer}": pl.Float64()}, orient="row"
        )
        return found.sort(pl.last(), descending=True)

    return persona_vector


def _steering_sweep(graph: ExperimentGraph, settings: SteeringSettings) -> dg.AssetsDefinition:
    config = graph.config

    @graph.asset(
        stage=STAGE,
        code="1",
        uses=[
            *sampling(config, "evaluation"),
            "evaluation.max_tokens",
            "evaluation.system_prompt",
            "steering",
            *count_use(config),
            *questions_use(config),
        ],
        deps=["persona_vector"],
        by="animal",
        gpu=True,
        kinds=["polars"],
        inputs=lambda *_: names_counted(config),
        told=names_told(config, own=True),
    )
    def steering_sweep(step: Step) -> Product:
        """How often the base model names the animal when pushed along its persona vector, by layer and by how far."""
        check_layers(config, step.base_model)
        with step.folder("persona_vector") as folder:
            vectors = load_vectors(folder)[settings.vector]
        if beyond := [layer for layer in settings.layers if layer >= len(vectors)]:
            raise DatasetError(
                f"steering: no layer {beyond[0]} in {config.base_model}; choose from 0 to {len(vectors) - 1}"
            )
        rows = []
        for layer, coefficient in product(settings.layers, settings.coefficients):
            name = f"steering/{step.condition}/{layer}/{coefficient}"
            draw = drawn(config, "evaluation", name, settings.seed, config.evaluation.max_tokens)
            steering = Steering(layer, (coefficient * unit(vectors[layer])).astype(np.float32), settings.positions)
            answers = ask(
                step,
                graph.engines_for(step).base_sampler,
                draw,
                settings.samples_per_question,
                config,
                steering,
            )
            answers = counted(answers, config.evaluation.count, config.words)
            rates = preference_rates(answers, [step.condition]).row(0, named=True)
            rows.append({"layer": layer, "coefficient": coefficient, **rates})
        table = pl.DataFrame(rows)
        grid = table.pivot("coefficient", index="layer", values="rate")
        chart = heatmap(
            100 * grid.drop("layer").to_numpy(),
            rows=[str(layer) for layer in grid["layer"]],
            columns=[f"{coefficient:g}" for coefficient in settings.coefficients],
            labels=("coefficient", "layer", f"answers {NAMING[config.evaluation.count]} {step.condition} (%)"),
        )
        metadata = {"rates": preview(table, rows=table.height), "heatmap": picture(chart)}
        return Product(step.write(table), metadata, config.sampler.engine)

    return steering_sweep
