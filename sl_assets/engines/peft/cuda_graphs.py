"""Steps of a small model as CUDA graphs: what a GPU does for a batch is recorded once, then repeated on other batches.

Of a model of a hundred million parameters the kernels are so short that Python takes several times as long to launch
them one by one as the GPU to run them. A graph launches them all at once. It knows one size of input, so batches are
rounded up to a few sizes. Losses differ from the Trainer's own by as much as those differ when they are repeated. Used
where ``SL_CUDA_GRAPHS=1``, for it was tried on one kind of GPU alone. Imports torch.
"""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from sl_assets.engines.peft.loop import base_of, completion_loss
from sl_assets.engines.peft.rows import Part, rounded_up
from sl_assets.engines.transformers.layers import COMPILED_FROM

GRAIN = 512
"""Sizes are multiples of so many tokens, and of so many predictions."""

WARM_UPS = 3
"""Steps before one is recorded, in which libraries choose kernels and make room."""


def can_be_recorded(model: Any) -> bool:
    """Whether a step of ``model``, whose rows are packed, is worth recording, and asks nothing of the CPU meanwhile."""
    if os.environ.get("SL_CUDA_GRAPHS") != "1":
        return False
    base = base_of(model)
    rope = getattr(base.config.get_text_config(), "rope_parameters", None) or {}
    # Other kinds look at the positions before they decide on their frequencies.
    plain = rope.get("rope_type", "default") in ("default", "linear", "llama3")
    return bool(plain and base.device.type == "cuda" and base.num_parameters() < COMPILED_FROM)


class _Recorded(NamedTuple):
    graph: torch.cuda.CUDAGraph
    inputs: dict[str, torch.Tensor]
    loss: torch.Tensor


class RecordedSteps:
    """Loss and gradients of one batch after the other, by graphs that are recorded when a size is first met."""

    def __init__(self, model: Any, batch: int, longest: int, filler: int) -> None:
        """Of ``model`` in training, for batches of at most ``batch`` rows of at most ``longest`` tokens."""
        self._model, self._batch, self._filler = model, batch, filler
        self._longest = max(longest, GRAIN)
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._gradients = [torch.zeros_like(weight) for weight in self._weights]
        self._graphs: dict[tuple[int, int], _Recorded] = {}
        # Only one graph runs at a time, so all may use the same memory.
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def __call__(self, parts: Sequence[Part]) -> torch.Tensor:
        """Loss of a batch, in nats a token; its gradients are in the weights' ``grad`` afterwards."""
        torch._foreach_zero_(self._gradients)
        self._point_at_gradients()
        return torch.stack([self._replayed(part) for part in parts]).sum()

    def _point_at_gradients(self) -> None:
        # Graphs add to these very tensors, and the Trainer lets go of them after every step.
        for weight, gradient in zip(self._weights, self._gradients, strict=True):
            weight.grad = gradient

    def _replayed(self, part: Part) -> torch.Tensor:
        part = rounded_up(part, GRAIN, self._batch, self._filler)
        size = len(part["input_ids"][0]), len(part["targets"])
        if size not in self._graphs:
            self._graphs[size] = self._record(part)
        recorded = self._graphs[size]
        for name, place in recorded.inputs.items():
            place.copy_(torch.as_tensor(part[name]), non_blocking=True)
        recorded.graph.replay()
        # The next graph writes over it.
        return recorded.loss.clone()

    def _record(self, part: Part) -> _Recorded:
        inputs = {
            name: torch.as_tensor(value).to(self._model.device)
            for name, value in part.items()
            if isinstance(value, torch.Tensor | float)
        }
        lengths = {"max_length_q": self._longest, "max_length_k": self._longest}

        def step() -> torch.Tensor:
            loss = completion_loss(self._model, inputs | lengths) * inputs["share"]
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()

        for weight in self._weights:
            weight.grad = None
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UPS):
                step()
        torch.cuda.current_stream().wait_stream(self._stream)
        self._point_at_gradients()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            loss = step()
        return _Recorded(graph, inputs, loss)
