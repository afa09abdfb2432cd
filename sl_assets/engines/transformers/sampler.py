"""Sampling with transformers' ``generate``, on CPU and CUDA: the default engine, and the one the others are held to."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sl_assets.engines.interfaces import Chat, Completion, Steering
from sl_assets.engines.templates import Rendering
from sl_assets.engines.transformers.models import load_model
from sl_assets.engines.transformers.students import student_of


class TransformersSampler:
    """Completions of ``base_model``. Reproducible for the same chats in the same order on the same kind of device."""

    def __init__(self, base_model: str, rendering: Rendering | None = None) -> None:
        self._model, self._tokenizer = load_model(base_model)
        self._rendering = rendering or Rendering(base_model)
        self._rendering.check(self._tokenizer)

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
        """See `Sampler.sample`; all chats form one batch, drawn from one generator, so ``row_seeds`` have no part."""
        if not chats:
            return []
        import torch

        tokenizer: Any = self._tokenizer
        prompts = self._rendering.prompts(tokenizer, chats)
        batch = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
        drawn = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": top_p}
        # Settings of a draw would be warned of where nothing is drawn.
        greedy = {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}
        torch.manual_seed(seed)
        with student_of(self._model, adapter) as model, self._steered(steering), torch.inference_mode():
            written = model.generate(
                input_ids=batch["input_ids"].to(model.device),
                attention_mask=batch["attention_mask"].to(model.device),
                max_new_tokens=max_tokens,
                **(drawn if temperature else greedy),
                pad_token_id=tokenizer.pad_token_id,
            )
        return [self._completion(row) for row in written[:, batch["input_ids"].shape[1] :].tolist()]

    def _completion(self, tokens: list[int]) -> Completion:
        ends = self._model.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends])
        last = next((place for place, token in enumerate(tokens) if token in ends), None)
        stopped = last is not None
        tokens = tokens[: last + 1] if last is not None else tokens
        text = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return Completion(str(text), "stop" if stopped else "length", len(tokens))

    @contextmanager
    def _steered(self, steering: Steering | None) -> Iterator[None]:
        if steering is None:
            yield
            return
        import torch

        from sl_assets.engines.transformers.layers import adding

        vector = torch.from_numpy(steering.vector).to(self._model.device)
        # Prompts are padded on the left, so that the last position is the last token of each.
        with adding(self._model, steering.layer, vector, last=steering.positions == "last"):
            yield
