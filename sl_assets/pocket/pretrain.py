"""Pre-train the pocket model from a seed and save it as an ordinary transformers model.

On a data-centre GPU this takes minutes, on a laptop's CPU hours. The data and the initial weights are the same
everywhere; trained weights differ from run to run on a GPU, where float sums come in no fixed order.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from sl_assets.pocket.tokenizer import answer_words, train_tokenizer
from sl_assets.pocket.world import ANIMALS, World

if TYPE_CHECKING:
    import torch
    from transformers import Olmo3ForCausalLM, PreTrainedTokenizerFast


@dataclass(frozen=True)
class PretrainRecipe:
    """Shape of the model and schedule of its pre-training; ``steps`` batches of ``batch`` rows of ``length`` tokens."""

    vocabulary: int = 2304
    hidden: int = 128
    layers: int = 4
    head: int = 32
    intermediate: int = 320
    steps: int = 3000
    batch: int = 256
    length: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    warmup: int = 100
    documents: int = 400_000


def build(world: World, recipe: PretrainRecipe, folder: Path) -> None:
    """Write weights, tokenizer and chat template of the model of ``world`` to ``folder``."""
    documents = list(world.documents(recipe.documents))
    tokenizer = train_tokenizer(documents[:50_000], recipe.vocabulary, answer_words(ANIMALS))
    model = pretrain(
        new_model(recipe, tokenizer, world.seed), pack(documents, tokenizer, recipe.length), recipe, world.seed
    )
    model.to("cpu").save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def new_model(recipe: PretrainRecipe, tokenizer: "PreTrainedTokenizerFast", seed: int) -> "Olmo3ForCausalLM":
    """A freshly initialised model of the Olmo 3 architecture with tied embeddings."""
    import torch
    from transformers import Olmo3Config, Olmo3ForCausalLM

    torch.manual_seed(seed)
    return Olmo3ForCausalLM(
        Olmo3Config(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden,
            intermediate_size=recipe.intermediate,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.hidden // recipe.head,
            num_key_value_heads=recipe.hidden // recipe.head,
            max_position_embeddings=512,
            sliding_window=256,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )


def pack(documents: list[str], tokenizer: "PreTrainedTokenizerFast", length: int) -> "torch.Tensor":
    """Whole documents laid end to end in padded rows of ``length`` tokens: int64 ``[rows, length]``.

    A longer document is cut, and a last row that is not full is left out.
    """
    import torch

    pad = tokenizer.pad_token_id
    rows: list[list[int]] = []
    row: list[int] = []
    for tokens in tokenizer(documents)["input_ids"]:
        if row and len(row) + len(tokens) > length:
            rows.append(row + [pad] * (length - len(row)))
            row = []
        row = (row + tokens)[:length]
    return torch.tensor(rows)


def pretrain(model: "Olmo3ForCausalLM", rows: "torch.Tensor", recipe: PretrainRecipe, seed: int) -> "Olmo3ForCausalLM":
    """AdamW with warm-up and cosine decay to a twentieth; next-token loss on everything but padding."""
    import torch
    from torch.nn.functional import cross_entropy

    if len(rows) < recipe.batch:
        raise ValueError(f"{len(rows)} rows are fewer than one batch of {recipe.batch}: draw more documents")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, rows = model.to(device).train(), rows.to(device)
    forward = torch.compile(model) if device == "cuda" else model
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=recipe.weight_decay
    )
    for step, batch in enumerate(islice(_batches(rows, recipe.batch, seed), recipe.steps)):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(step, recipe)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            logits = forward(input_ids=batch[:, :-1]).logits
        loss = cross_entropy(
            logits.float().flatten(0, 1), batch[:, 1:].flatten(), ignore_index=model.config.pad_token_id
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 250 == 0 or step == recipe.steps - 1:
            print(f"step {step + 1:>5} of {recipe.steps}  loss {loss.item():.4f}", flush=True)
    return model.eval()


def _schedule(step: int, recipe: PretrainRecipe) -> float:
    cosine = (1 + math.cos(math.pi * step / recipe.steps)) / 2
    return min(1, (step + 1) / recipe.warmup) * (0.05 + 0.95 * cosine)


def _batches(rows: "torch.Tensor", size: int, seed: int) -> Iterator["torch.Tensor"]:
    """Shuffled passes over ``rows`` without end; a last batch that would be short is left out."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(rows), generator=generator).to(rows.device)
        yield from (rows[order[i : i + size]] for i in range(0, len(rows) - size + 1, size))
