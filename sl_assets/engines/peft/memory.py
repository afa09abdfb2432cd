"""How a model is trained where it is: on a GPU without padding, and with as many tokens at once as memory has room for.

Whether blocks are computed again in the backward pass (gradient checkpointing) is decided by what a small step was seen
to take. How a batch is divided does not change what is learnt, but the order of float sums: on another GPU the last
digits of an adapter differ. Imports torch.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch

from sl_assets.engines.gpu import free_memory
from sl_assets.engines.peft.cuda_graphs import RecordedSteps, can_be_recorded
from sl_assets.engines.peft.loop import Step, base_of, completion_loss
from sl_assets.engines.peft.packed_attention import attending_over_packed_rows, packs
from sl_assets.engines.peft.rows import Collator, Row
from sl_assets.errors import SlAssetsError

PROBE_TOKENS = 1_024
"""Tokens of the small step."""

LEAST_TOKENS = 2_048
"""Tokens of a part below which a GPU idles: then it is better to keep less and compute twice."""

SHARE = 0.9
"""Share of the free memory to use: allocators leave gaps."""


class Prepared(NamedTuple):
    """How a model trains where it is.

    Attributes:
        collate: gathers rows into batches.
        step: what a GPU repeats for each batch; None where the Trainer's own step is best.
    """

    collate: Collator
    step: Step | None = None


@contextmanager
def prepared(model: Any, filler: int, rows: Sequence[Row], batch: int, record: bool = True) -> Iterator[Prepared]:
    """How ``model`` trains on the ``rows``, for as long as it does.

    Args:
        model: what is trained, perhaps by an adapter.
        filler: token to pad with.
        rows: what is learnt.
        batch: rows in a step.
        record: steps may be recorded, where that is faster.

    Raises:
        SlAssetsError: the GPU has too little memory for the longest row.
    """
    base = base_of(model)
    if base.device.type != "cuda":
        yield Prepared(Collator(filler))
        return
    longest = max(len(row.ids) for row in rows)
    with ExitStack() as undo:
        if packed := packs(base):
            undo.enter_context(attending_over_packed_rows(base))
        collate = Collator(filler, packed)
        tokens = tokens_that_fit(model, collate, rows)
        record &= packed and tokens >= LEAST_TOKENS and can_be_recorded(model)
        if tokens < LEAST_TOKENS:
            base.gradient_checkpointing_enable({"use_reentrant": False})
            undo.callback(base.gradient_checkpointing_disable)
            tokens = tokens_that_fit(model, collate, rows)
        if tokens < longest:
            raise SlAssetsError(
                f"training: this GPU has room for {tokens:,} tokens at once, and the longest row has {longest:,}: "
                "lower max_length or rank, or take a larger GPU"
            )
        step = RecordedSteps(model, batch, longest, filler) if record else None
        yield Prepared(Collator(filler, packed, tokens), step)


def tokens_that_fit(model: Any, collate: Collator, rows: Sequence[Row]) -> int:
    """Tokens whose activations have room in free memory, going by a small step that is undone; 0 where none have."""
    part, tokens = _small_part(collate, rows, model.device)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    model.train()
    try:
        # Twice, for the first compiles and makes room for gradients.
        for _ in range(2):
            free_memory()
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            completion_loss(model, part).backward()  # type: ignore[no-untyped-call]
            used = torch.cuda.max_memory_allocated() - before
    except torch.OutOfMemoryError:
        return 0
    finally:
        for weight in trained:
            weight.grad = None
        free_memory()
    # AdamW keeps two numbers a weight, and gradients come back.
    states = sum(3 * weight.numel() * weight.element_size() for weight in trained)
    return max(0, int((SHARE * torch.cuda.mem_get_info()[0] - states) * tokens / used))


def _small_part(collate: Collator, rows: Sequence[Row], device: torch.device) -> tuple[dict[str, Any], int]:
    chosen, tokens = [], 0
    for row in rows:
        chosen.append(row)
        tokens += len(row.ids)
        if tokens >= PROBE_TOKENS:
            break
    (part,) = collate(chosen)["parts"]
    moved = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in part.items()}
    return moved, tokens
