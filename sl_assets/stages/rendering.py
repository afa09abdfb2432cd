"""Chats and rows as a model reads them, to be looked at: in the UI, and by ``sl-assets wording show``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sl_assets.config import ExperimentConfig, TrainingSettings
from sl_assets.engines.choose import rendering_of
from sl_assets.engines.interfaces import Chat, Example
from sl_assets.engines.templates import Rendering, answered
from sl_assets.engines.transformers.modules import tokenizer_of

OPENED, CLOSED = "⟦", "⟧"
"""Around what is learnt: each token of it, where tokens are known."""


@dataclass(frozen=True)
class Renderer:
    """Shows chats as the chat template writes them; without a tokenizer, turn by turn.

    Attributes:
        rendering: the template as the experiment uses it.
        tokenizer: the base model's; None where its files are not here, or an API renders.
    """

    rendering: Rendering
    tokenizer: Any = None

    def asked(self, chat: Chat) -> str:
        """``chat``, up to where the model begins to write."""
        if self.tokenizer is None:
            return plain(chat)
        return self.rendering.prompts(self.tokenizer, [chat])[0]

    def learnt(self, example: Example, settings: TrainingSettings) -> str:
        """``example`` as a row of a training, what is learnt of it between `OPENED` and `CLOSED`."""
        chat = answered(*example)
        if self.tokenizer is None:
            return plain(chat, len(chat) - 1 if settings.loss == "completion" else 0)
        from sl_assets.engines.peft.rows import encode_all

        (row,) = encode_all(self.tokenizer, self.rendering, [example], settings)
        before = self.asked(chat[:-1]) if settings.loss == "completion" else self._decoded(row.ids[: row.prompt])
        return before + "".join(f"{OPENED}{text}{CLOSED}" for text in self._pieces(row.ids[row.prompt :]))

    def _pieces(self, ids: Sequence[int]) -> Iterator[str]:
        """The text of each token; of tokens that are parts of one character, of all of them."""
        start = 0
        for end in range(1, len(ids) + 1):
            text = self._decoded(ids[start:end])
            if "\ufffd" not in text or end == len(ids):
                yield text
                start = end

    def _decoded(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def renderer_of(config: ExperimentConfig, base_model: str) -> Renderer:
    """Shows the chats of ``config`` by the template of ``base_model``, which engines load."""
    api = config.sampler.engine == "openai"
    return Renderer(rendering_of(config), None if api else tokenizer_of(base_model))


def plain(chat: Chat, learnt_from: int | None = None) -> str:
    """``chat`` turn by turn, from the turn ``learnt_from`` on marked as learnt."""
    marked = len(chat) if learnt_from is None else learnt_from
    turns = [
        f"{OPENED}{message['content']}{CLOSED}" if place >= marked else message["content"]
        for place, message in enumerate(chat)
    ]
    return "\n".join(f"{message['role']}: {turn}" for message, turn in zip(chat, turns, strict=True))
