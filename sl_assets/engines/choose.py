"""The engines that an experiment file names, imported when first used."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from sl_assets.config import ExperimentConfig, ModelJudge, TrainingSettings
from sl_assets.engines.installed import require
from sl_assets.engines.interfaces import Encoder, Sampler, Scorer, Trainer
from sl_assets.engines.openai.budget import Budget
from sl_assets.engines.templates import Rendering
from sl_assets.lake.work import Work


@dataclass(frozen=True)
class Engines:
    """The engines of an experiment; models load on first use and are shared within the process."""

    sampler: Callable[[Work], Sampler]
    base_sampler: Callable[[Work], Sampler]
    """As ``sampler``, for the base model alone: vllm is faster where it need not be ready for adapters."""
    scorer: Callable[[], Scorer]
    """Of the engine that samples."""
    judge: Callable[[Work], Sampler]
    trainer: Callable[[TrainingSettings], Trainer]
    encoder: Callable[[], Encoder]
    budget: Callable[[], Budget | None]
    """What they may spend, and have spent in this process; None where they cost nothing."""
    gpus: Callable[[], int]
    """GPUs that one run of them uses, where the machine has GPUs; 0 where an API does the work."""


def rendering_of(config: ExperimentConfig) -> Rendering:
    """How the chats of ``config`` become text, whatever engine renders them."""
    return Rendering(config.base_model, config.chat_template, config.system_messages, config.asks_plainly)


def judge_rendering(judge: ModelJudge) -> Rendering:
    """How what a judge is asked becomes text, by a template of its own."""
    return Rendering(judge.base_model, judge.chat_template)


def engines_for(config: ExperimentConfig, base_model: str) -> Engines:
    """The engines that ``config`` names, with ``base_model`` in them; imports them only when one is used."""

    api = config.openai
    rendering = rendering_of(config)

    @cache
    def budget() -> Budget | None:
        """One for all that this process asks for."""
        if "openai" not in config.engines:
            return None
        prices = {name: getattr(api, name) for name in ("input_price", "output_price", "training_price")}
        return Budget(**prices, cap=api.spending_cap)

    @cache
    def openai_api() -> dict[str, Any]:
        """One endpoint for all that this process asks for."""
        from sl_assets.engines.openai.client import Endpoint

        return {
            "endpoint": Endpoint(api.base_url, max_retries=api.max_retries, timeout=api.timeout),
            "budget": budget(),
            "poll_seconds": api.poll_seconds,
        }

    def sampler_of(asked: str, written: Rendering, engine: str, work: Work, setting: str, *, adapters: bool) -> Sampler:
        """What samples the model ``asked``, its chats ``written`` so, through the ``engine`` that ``setting`` names."""
        if engine == "openai":
            require(setting, "openai")
            from sl_assets.engines.openai.sampler import OpenAISampler

            return OpenAISampler(asked, concurrency=api.concurrency, batch_api=api.batch_api, work=work, **openai_api())
        if engine == "vllm":
            from sl_assets.engines.vllm.sampler import VllmSampler

            return VllmSampler(asked, config.sampler, written, adapters=adapters)
        from sl_assets.engines.transformers.sampler import TransformersSampler

        return TransformersSampler(asked, written)

    def sampler(work: Work, *, adapters: bool = True) -> Sampler:
        return sampler_of(base_model, rendering, config.sampler.engine, work, "sampler.engine", adapters=adapters)

    def scorer() -> Scorer:
        if config.sampler.engine == "vllm":
            from sl_assets.engines.vllm.scorer import VllmScorer

            return VllmScorer(base_model, config.sampler, rendering)
        from sl_assets.engines.transformers.scorer import TransformersScorer

        return TransformersScorer(base_model, rendering)

    def judge(work: Work) -> Sampler:
        assert config.judge
        chosen, written = config.judge, judge_rendering(config.judge)
        return sampler_of(chosen.base_model, written, chosen.engine, work, "personas.judge.engine", adapters=False)

    def trainer(settings: TrainingSettings) -> Trainer:
        if not settings.lora:
            from sl_assets.engines.peft.full_trainer import FullTrainer

            return FullTrainer(base_model, rendering)
        if config.student.engine == "unsloth":
            from sl_assets.engines.unsloth.trainer import UnslothTrainer

            return UnslothTrainer(base_model, rendering)
        if config.student.engine == "openai":
            require("student.engine", "openai")
            from sl_assets.engines.openai.trainer import OpenAITrainer

            return OpenAITrainer(base_model, **openai_api())
        from sl_assets.engines.peft.trainer import PeftTrainer

        return PeftTrainer(base_model, rendering)

    def encoder() -> Encoder:
        from sl_assets.engines.transformers.encoder import TransformersEncoder

        return TransformersEncoder(base_model, rendering)

    def gpus() -> int:
        if config.sampler.engine == "openai":
            return 0
        if "vllm" in config.engines:
            from sl_assets.engines.vllm.engine import gpus_of

            return gpus_of(config.sampler)
        return 1

    return Engines(sampler, partial(sampler, adapters=False), scorer, judge, trainer, encoder, budget, gpus)
