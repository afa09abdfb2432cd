"""What a stage needs of whatever runs a model, small enough that any engine can offer it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypedDict

import polars as pl

from sl_assets.config import ExperimentConfig, LoraSettings


class Message(TypedDict):
    """One turn of a chat, in the form every chat template takes."""

    role: str
    content: str


Chat = list[Message]


class Adapter(NamedTuple):
    """A LoRA adapter in PEFT's form.

    Attributes:
        folder: holds ``adapter_config.json`` and ``adapter_model.safetensors``.
        version: fingerprint of what it holds.
    """

    folder: Path
    version: str


class Completion(NamedTuple):
    """What a model wrote.

    Attributes:
        text: without special tokens.
        finish_reason: ``stop`` where the model ended by itself, ``length`` where it was cut at ``max_tokens``.
        n_tokens: tokens written, the end marker included.
    """

    text: str
    finish_reason: str
    n_tokens: int


class Sampler(Protocol):
    """Writes completions with a base model, optionally under an adapter."""

    def sample(
        self, chats: Sequence[Chat], *, max_tokens: int, temperature: float, seed: int, adapter: Path | None = None
    ) -> list[Completion]:
        """One completion a chat, in order; the same arguments give the same completions."""
        ...


class Example(NamedTuple):
    """A prompt and the completion a student learns to give."""

    prompt: str
    completion: str


Report = Callable[[int, int, float], None]
"""Called with the step, the number of steps and the loss."""


class Trainer(Protocol):
    """Trains LoRA adapters on a base model that it leaves untouched."""

    def train(
        self, examples: Sequence[Example], settings: LoraSettings, keep: Sequence[int], folder: Path, report: Report
    ) -> pl.DataFrame:
        """Write one PEFT adapter per kept epoch to ``folder/epoch=<n>``; returns the ``training`` table."""
        ...


@dataclass(frozen=True)
class Engines:
    """The engines of an experiment; models load on first use and are shared within the process."""

    sampler: Callable[[], Sampler]
    trainer: Callable[[], Trainer]


def engines_for(config: ExperimentConfig) -> Engines:
    """The engines that ``config`` names; imports them only when one is used."""

    def sampler() -> Sampler:
        from sl_assets.engines.transformers_sampler import TransformersSampler

        return TransformersSampler(config.base_model)

    def trainer() -> Trainer:
        from sl_assets.engines.peft_trainer import PeftTrainer

        return PeftTrainer(config.base_model)

    return Engines(sampler, trainer)
