"""A decoder whose hidden states are worked out by hand.

Token t enters the first block as (t, 1). Block n makes n + 2h of a state h, so that the states of t are 2t + 1 and 3
after the first, 4t + 4 and 8 after the second, 8t + 11 and 19 after the third.
"""

from collections.abc import Sequence
from typing import Any

import torch

STATES_OF = [
    lambda token: [token, 1],
    lambda token: [2 * token + 1, 3],
    lambda token: [4 * token + 4, 8],
    lambda token: [8 * token + 11, 19],
]
"""State of a token by layer."""


class Block(torch.nn.Module):
    """Makes ``number + 2 * hidden``, counts its calls and keeps what entered it; gives a tuple where asked to."""

    def __init__(self, number: int, in_tuple: bool) -> None:
        super().__init__()
        self.number, self.in_tuple = number, in_tuple
        self.entered: list[torch.Tensor] = []

    @property
    def calls(self) -> int:
        return len(self.entered)

    def forward(self, hidden: torch.Tensor, mask: str | None = None) -> Any:
        assert mask == "mask", "hooks pass on what else a block is given"
        self.entered.append(hidden)
        changed = self.number + 2 * hidden
        return (changed, "cache") if self.in_tuple else changed


class Decoder(torch.nn.Module):
    """Embedding, blocks, and a norm that would show in any state taken after it."""

    def __init__(self, blocks: int, in_tuple: bool) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(Block(n, in_tuple) for n in range(1, blocks + 1))
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, input_ids: torch.Tensor, use_cache: bool = False) -> torch.Tensor:
        assert not use_cache
        self.shapes.append(tuple(input_ids.shape))
        hidden = torch.stack([input_ids, torch.ones_like(input_ids)], dim=-1).float()
        for block in self.layers:
            out = block(hidden, "mask")
            hidden = out
            if block.in_tuple:
                hidden, rest = out
                assert rest == "cache", "hooks leave the rest of a tuple as it is"
        return -1000 * hidden


class TinyModel(torch.nn.Module):
    """What the engines need of a model."""

    device = torch.device("cpu")

    def __init__(self, blocks: int = 3, in_tuple: bool = False) -> None:
        super().__init__()
        self.decoder = Decoder(blocks, in_tuple)

    def get_decoder(self) -> Decoder:
        return self.decoder

    def forward(self, *tokens: int) -> list[list[float]]:
        """The decoder's output for one row of tokens."""
        return self.decoder(torch.tensor([tokens]))[0].tolist()

    @property
    def calls(self) -> list[int]:
        """How often each block has run."""
        return [block.calls for block in self.decoder.layers]


class TinyTokenizer:
    """Tokens are whole numbers between spaces; a chat is its contents, and 9 in front of the answer."""

    def get_chat_template(self) -> str:
        return "{{ messages }}"

    def apply_chat_template(
        self, chats: Sequence[list[dict[str, str]]], tokenize: bool, add_generation_prompt: bool, strftime_now: object
    ) -> list[str]:
        assert not tokenize
        assert add_generation_prompt
        return [" ".join([message["content"] for message in chat] + ["9"]) for chat in chats]

    def __call__(self, texts: Sequence[str], add_special_tokens: bool) -> dict[str, list[list[int]]]:
        assert not add_special_tokens
        return {"input_ids": [[int(word) for word in text.split()] for text in texts]}
