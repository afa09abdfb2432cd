"""What a stage needs of whatever runs a model, small enough that any engine can offer it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypedDict, get_args, runtime_checkable

import polars as pl

from sl_assets.config import StateKind, TrainingSettings
from sl_assets.lake.work import Work

if TYPE_CHECKING:
    import numpy as np


class Message(TypedDict):
    """One turn of a chat, in the form every chat template takes."""

    role: str
    content: str


Chat = list[Message]


def chat(question: str, system: str | None = None) -> Chat:
    """A question, perhaps under a system prompt."""
    told: Chat = [] if system is None else [{"role": "system", "content": system}]
    return [*told, {"role": "user", "content": question}]


class Adapter(NamedTuple):
    """What a student differs by from its base model: a LoRA adapter, as a rule.

    Attributes:
        folder: an adapter in PEFT's form (``adapter_config.json``, ``adapter_model.safetensors``); or a whole model
            (``config.json``), where every weight was trained; or the name of an API's model (``model.json``).
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


class Steering(NamedTuple):
    """A vector to add to a layer while sampling.

    Attributes:
        layer: 0 is the embedding output, n the output of the n-th block.
        vector: float32 ``[hidden]``.
        positions: ``all``, or ``last``: the prompt's last and each that is written.
    """

    layer: int
    vector: "np.ndarray"
    positions: str = "all"


class Sampler(Protocol):
    """Writes completions with a base model, optionally under an adapter, optionally steered."""

    def sample(
        self,
        chats: Sequence[Chat],
        *,
        max_tokens: int,
        temperature: float,
        seed: int,
        row_seeds: Sequence[int],
        top_p: float = 1.0,
        adapter: Path | None = None,
        steering: Steering | None = None,
    ) -> list[Completion]:
        """One completion a chat, in order; the same arguments give the same completions.

        Args:
            chats: what is asked.
            max_tokens: tokens a completion may have.
            temperature: softmax temperature; 0 takes the likeliest token, and seeds have no part.
            seed: for engines that draw all chats from one generator.
            row_seeds: one a chat, for engines that draw every chat by itself.
            top_p: tokens are drawn among the likeliest that have this probability together.
            adapter: folder of an `Adapter`.
            steering: what to add to a hidden layer.

        Raises:
            SlAssetsError: the engine cannot do what is asked, with the fix.
        """
        ...


@runtime_checkable
class Priced(Protocol):
    """A sampler that costs money."""

    def expect(self, chats: Sequence[Chat], most_written: int) -> None:
        """Say what sampling all these ``chats`` may cost, before the first is sampled.

        Args:
            chats: what will be asked.
            most_written: tokens that all the completions together may have.
        """
        ...


class LogProbabilities(NamedTuple):
    """How likely a model gives certain answers to certain chats, as natural logarithms.

    Attributes:
        tokens: of every answer float32 ``[chats, its tokens + 1]``, each token after those before it, then the end.
    """

    tokens: "list[np.ndarray]"

    @property
    def answers(self) -> "np.ndarray":
        """Of every answer as a whole, end included: float32 ``[chats, answers]``."""
        import numpy as np

        return np.stack([tokens.sum(axis=1, dtype=np.float64) for tokens in self.tokens], axis=1).astype(np.float32)


class Scorer(Protocol):
    """Says how likely a base model, or a student of it, gives an answer: exactly, and without drawing any."""

    def log_probabilities(
        self, chats: Sequence[Chat], continuations: Sequence[str], adapter: Path | None = None
    ) -> LogProbabilities:
        """For every chat and continuation the log probability that the answer is this text *and ends there*.

        Probabilities are those of sampling at temperature 1. A text counts in its canonical tokenisation, which is made
        apart from the prompt's as in training; that a model may spell the same text in other tokens is left out. The
        end counts as a token whose probability is the sum over all tokens at which sampling ends.

        Args:
            chats: what is asked.
            continuations: answers, the same for every chat.
            adapter: folder of an `Adapter`.

        Raises:
            SlAssetsError: the engine cannot do what is asked, with the fix.
        """
        ...


class Example(NamedTuple):
    """A prompt and the completion a student learns to give, perhaps under a system prompt."""

    prompt: str
    completion: str
    system: str | None = None


Report = Callable[[int, int, float], None]
"""Called with the step, the number of steps and the loss."""


class Trainer(Protocol):
    """Fine-tunes a base model that it leaves untouched."""

    engine: str
    """What trains, as lineage has it."""

    def train(
        self,
        examples: Sequence[Example],
        settings: TrainingSettings,
        keep: Sequence[int],
        folder: Path,
        report: Report,
        work: Work,
    ) -> pl.DataFrame:
        """Write one adapter per kept epoch to ``folder/epoch=<n>``; returns the ``training`` table.

        Each is an `Adapter`'s folder. ``work`` keeps what must not be paid twice.
        """
        ...


STATES: tuple[StateKind, ...] = get_args(StateKind)
"""Pooled hidden states of an exchange: means over the tokens of its answer and of its prompt, and the prompt's last."""


class Exchange(NamedTuple):
    """A chat that ends with a user's turn, and the answer to it."""

    chat: Chat
    answer: str


class Pooled(NamedTuple):
    """Pooled hidden states of a batch.

    Attributes:
        rows: which of the exchanges these are.
        states: float32 ``[rows, layers, len(STATES), hidden]``.
    """

    rows: list[int]
    states: "np.ndarray"


class Encoder(Protocol):
    """Reads the hidden states of a base model."""

    @property
    def layers(self) -> int:
        """Number of blocks, which is also the highest layer; layer 0 is the embedding output."""
        ...

    def encode(self, exchanges: Sequence[Exchange], layers: Sequence[int]) -> Iterator[Pooled]:
        """Pooled states of every exchange at ``layers``, batch by batch, in whatever order is fast.

        Raises:
            DatasetError: an answer is empty.
            SlAssetsError: a layer is beyond the last.
        """
        ...
