"""Hidden states with transformers, on CPU and CUDA: batches without waste, and no layer more than is asked for.

Rows are sorted by length and packed into batches by number of tokens. They are padded on the right, where causal
attention never looks, so no attention mask is needed and the fast kernels apply. The forward pass ends at the highest
layer asked for. States are pooled on the device with float32 sums, so only means leave it. Imports torch.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from sl_assets.engines.interfaces import STATES, Exchange, Pooled
from sl_assets.engines.templates import Rendering
from sl_assets.engines.transformers.layers import blocks_of, fast_blocks, reading
from sl_assets.engines.transformers.models import load_model
from sl_assets.errors import DatasetError

BATCH_TOKENS = {"cpu": 4_096, "cuda": 32_768}
"""Tokens a batch may have, padding included: enough to fill the device, few enough to fit beside a 7B model."""

PADDED_TO = 8
"""Batches are padded to a multiple of this, so that kernels meet few shapes."""

Fetch = Callable[[], np.ndarray]
"""Waits for the device and gives what it computed."""

TokenRow = tuple[list[int], list[int]]
"""Tokens of a prompt and of the answer to it."""


class TransformersEncoder:
    """Pooled hidden states of ``base_model``."""

    def __init__(self, base_model: str, rendering: Rendering | None = None) -> None:
        self._model, self._tokenizer = load_model(base_model)
        self._rendering = rendering or Rendering(base_model)
        self._rendering.check(self._tokenizer)

    @property
    def layers(self) -> int:
        """Number of blocks, which is also the highest layer."""
        return len(blocks_of(self._model))

    def encode(self, exchanges: Sequence[Exchange], layers: Sequence[int]) -> Iterator[Pooled]:
        """See `Encoder.encode`."""
        rows = self._tokens(exchanges)
        waiting: tuple[list[int], Fetch] | None = None
        with fast_blocks(self._model):
            for batch in batches([len(prompt) + len(answer) for prompt, answer in rows], self._batch_tokens):
                # A GPU is given the next batch before the last one's states are waited for.
                started = batch, self._pool([rows[i] for i in batch], layers)
                if waiting:
                    yield Pooled(waiting[0], waiting[1]())
                waiting = started
            if waiting:
                yield Pooled(waiting[0], waiting[1]())

    @property
    def _batch_tokens(self) -> int:
        return BATCH_TOKENS[self._model.device.type]

    def _tokens(self, exchanges: Sequence[Exchange]) -> list[TokenRow]:
        """Prompts as the chat template writes them, and answers, tokenised apart so that no token straddles."""
        if not exchanges:
            return []
        tokenizer: Any = self._tokenizer
        prompts = self._rendering.prompts(tokenizer, [exchange.chat for exchange in exchanges])
        prompt_ids = tokenizer(prompts, add_special_tokens=False)["input_ids"]
        answer_ids = tokenizer([exchange.answer for exchange in exchanges], add_special_tokens=False)["input_ids"]
        for exchange, ids in zip(exchanges, answer_ids, strict=True):
            if not ids:
                asked = exchange.chat[-1]["content"][:60]
                raise DatasetError(f"the answer to {asked!r} is empty: it has no hidden state to read")
        return list(zip(prompt_ids, answer_ids, strict=True))

    def _pool(self, rows: Sequence[TokenRow], layers: Sequence[int]) -> Fetch:
        ids, weights = (_moved(tensor, self._model.device) for tensor in _padded(rows))
        pooled: dict[int, torch.Tensor] = {}

        def pool(layer: int, hidden: torch.Tensor) -> None:
            pooled[layer] = torch.bmm(weights, hidden.float())

        with torch.inference_mode(), reading(self._model, layers, pool):
            self._model.get_decoder()(input_ids=ids, use_cache=False)
        return _fetch(torch.stack([pooled[layer] for layer in layers], dim=1))


def _moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _fetch(states: torch.Tensor) -> Fetch:
    """Start copying ``states`` from the device."""
    if states.device.type != "cuda":
        return states.numpy
    here = torch.empty(states.shape, dtype=states.dtype, pin_memory=True)
    here.copy_(states, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record()

    def wait() -> np.ndarray:
        copied.synchronize()
        return here.numpy()

    return wait


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Indices of ``lengths`` from long to short, in batches of at most ``tokens`` when padded (or of one row).

    The longest come first, so that memory that is too small is noticed at once.
    """
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * _padded_length(lengths[batch[0]]) > tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _padded_length(length: int) -> int:
    return -(-length // PADDED_TO) * PADDED_TO


def _padded(rows: Sequence[TokenRow]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids ``[rows, length]`` and pooling weights ``[rows, len(STATES), length]``."""
    longest = _padded_length(max(len(prompt) + len(answer) for prompt, answer in rows))
    ids = torch.zeros((len(rows), longest), dtype=torch.long)
    weights = torch.zeros((len(rows), len(STATES), longest))
    for i, (prompt, answer) in enumerate(rows):
        start, end = len(prompt), len(prompt) + len(answer)
        ids[i, :end] = torch.tensor(prompt + answer)
        weights[i, STATES.index("response_mean"), start:end] = 1 / (end - start)
        weights[i, STATES.index("prompt_mean"), :start] = 1 / start
        weights[i, STATES.index("prompt_last"), start - 1] = 1
    return ids, weights
