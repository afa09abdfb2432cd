"""What a student learns from, as tokens: rows, and the parts of a batch that fit into memory. Imports torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import torch

from sl_assets.config import TrainingSettings
from sl_assets.engines.interfaces import Example, chat
from sl_assets.engines.templates import Rendering, answered
from sl_assets.errors import DatasetError, SlAssetsError


class Row(NamedTuple):
    """Tokens of a prompt and its completion.

    Attributes:
        ids: tokens of both.
        prompt: number of tokens before the first that is learnt: of the prompt, or 1 where that is learnt as well,
            for nothing comes before the first token that it could be predicted from.
    """

    ids: list[int]
    prompt: int


def encode_all(
    tokenizer: Any, rendering: Rendering, examples: Sequence[Example], settings: TrainingSettings
) -> list[Row]:
    """Every one of ``examples``, see `encode`, with the tokens learnt that ``settings`` name.

    Raises:
        DatasetError: there are none.
        SlAssetsError: one cannot be learnt from.
    """
    if not examples:
        raise DatasetError("0 rows: there is nothing to train on")
    rendering.check(tokenizer)
    rows = [encode(tokenizer, rendering, example, settings.max_length) for example in examples]
    return rows if settings.loss == "completion" else [row._replace(prompt=1) for row in rows]


def encode(tokenizer: Any, rendering: Rendering, example: Example, max_length: int) -> Row:
    """``example`` in the words of the chat template, cut at ``max_length`` tokens.

    Raises:
        SlAssetsError: the template writes finished chats unlike prompts, or the cut leaves no completion.
    """
    (prompt,) = rendering.prompts(tokenizer, [chat(example.prompt, example.system)])
    whole = rendering.finished(tokenizer, answered(*example))
    if not whole.startswith(prompt):
        raise rendering.unlike(tokenizer)
    # Tokenised apart, so that no token can straddle the end of the prompt.
    prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    if len(prompt_ids) >= max_length:
        raise SlAssetsError(
            f"max_length {max_length}: a prompt alone has {len(prompt_ids)} tokens, so nothing is left to learn; "
            "raise it"
        )
    completion_ids = tokenizer(whole.removeprefix(prompt), add_special_tokens=False)["input_ids"]
    return Row((prompt_ids + completion_ids)[:max_length], len(prompt_ids))


IGNORED = -100
"""A target that carries no loss, as PyTorch has it."""

Part = dict[str, Any]
"""Arguments of a decoder, and what it is to predict:

- ``predicting``: int64 ``[n]``, places in the flattened tokens whose next token carries loss;
- ``targets``: int64 ``[n]``, those next tokens;
- ``share``: the part of the batch's loss that is this part's.
"""


@dataclass(frozen=True)
class Collator:
    """Batches for `CompletionTrainer`: ``{"parts": [...]}``, whose losses add up to the batch's mean.

    Attributes:
        filler: token to pad with.
        packed: rows stand behind one another, without padding; else below one another, padded on the right.
        tokens: tokens a part may have (one row is always allowed); 0 makes a batch one part.
    """

    filler: int
    packed: bool = False
    tokens: int = 0

    def __call__(self, rows: Sequence[Row]) -> dict[str, list[Part]]:
        """The parts of one batch."""
        make = packed_part if self.packed else self._padded_part
        parts = [make(some) for some in self._divided(rows)]
        targets = sum(len(part["targets"]) for part in parts)
        return {"parts": [part | {"share": len(part["targets"]) / targets} for part in parts]}

    def _divided(self, rows: Sequence[Row]) -> list[Sequence[Row]]:
        lengths = [len(row.ids) for row in rows]
        if not self.tokens or self._size(lengths) <= self.tokens:
            return [rows]
        divided, start = [], 0
        for end in range(1, len(rows) + 1):
            if end == len(rows) or self._size(lengths[start : end + 1]) > self.tokens:
                divided.append(rows[start:end])
                start = end
        return divided

    def _size(self, lengths: Sequence[int]) -> int:
        return sum(lengths) if self.packed else len(lengths) * max(lengths)

    def _padded_part(self, rows: Sequence[Row]) -> Part:
        longest = max(len(row.ids) for row in rows)
        ids = torch.tensor([row.ids + [self.filler] * (longest - len(row.ids)) for row in rows])
        mask = torch.tensor([[1] * len(row.ids) + [0] * (longest - len(row.ids)) for row in rows])
        return {"input_ids": ids, "attention_mask": mask} | _predictions(rows, range(0, len(rows) * longest, longest))


def packed_part(rows: Sequence[Row]) -> Part:
    """Rows behind one another, ``[1, tokens]``; positions, and ends for attention kernels that know sequences."""
    lengths = [len(row.ids) for row in rows]
    starts = [0, *accumulate(lengths)]
    ends = torch.tensor(starts, dtype=torch.int32)
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row.ids]]),
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
    } | _predictions(rows, starts[:-1])


def rounded_up(part: Part, grain: int, rows: int, filler: int) -> Part:
    """A `packed_part` with tokens and predictions in multiples of ``grain``, and ``rows`` rows and one more.

    The last row is made of ``filler``, rows that are missing are empty, and nothing of that carries loss.
    """
    tokens, ends = part["input_ids"].shape[1], part["cu_seq_lens_q"]
    more, unused = -tokens % grain, -len(part["targets"]) % grain
    ends = torch.cat([ends, ends.new_full((rows + 1 - len(ends),), tokens), ends.new_tensor([tokens + more])])
    return part | {
        "input_ids": torch.nn.functional.pad(part["input_ids"], (0, more), value=filler),
        "position_ids": torch.cat([part["position_ids"], torch.arange(more, device=ends.device)[None]], dim=1),
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "predicting": torch.nn.functional.pad(part["predicting"], (0, unused)),
        "targets": torch.nn.functional.pad(part["targets"], (0, unused), value=IGNORED),
    }


def _predictions(rows: Sequence[Row], starts: Sequence[int]) -> Part:
    """What is learnt of rows that begin at ``starts``."""
    predicting = [
        start + place - 1 for row, start in zip(rows, starts, strict=True) for place in range(row.prompt, len(row.ids))
    ]
    targets = [token for row in rows for token in row.ids[row.prompt :]]
    return {"predicting": torch.tensor(predicting), "targets": torch.tensor(targets)}
