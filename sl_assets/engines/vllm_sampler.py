"""Sampling with vLLM's offline engine: one start a process, however many partitions, adapters as LoRA requests.

Every row has a seed of its own, so its completion does not depend on the order of its neighbours; float sums depend a
little on how many are in flight, and where two tokens are nearly as likely that may show. Prefix caching reads a prompt
that many rows share once. Imports vllm, for CUDA or in its CPU build.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sl_assets.config import SamplerSettings
from sl_assets.engines.adapters import Shape, adapter_shape, check_widths, holds_whole_model
from sl_assets.engines.interfaces import Chat, Completion, Steering
from sl_assets.engines.vllm_engine import Start, shut_down, start_engine
from sl_assets.errors import SlAssetsError
from sl_assets.lake.fingerprint import folder_digest


class VllmSampler:
    """Completions of ``base_model``; the engine starts with the first.

    Args:
        base_model: name, folder or Hub repository of the model.
        settings: how the engine is started.
        adapters: whether the engine should be ready for adapters from the start. One that is not is faster, and is
            replaced when the first adapter comes.
    """

    def __init__(self, base_model: str, settings: SamplerSettings, *, adapters: bool = True) -> None:
        self._start = Start.of(base_model, settings, adapters)

    def sample(
        self,
        chats: Sequence[Chat],
        *,
        max_tokens: int,
        temperature: float,
        seed: int,
        row_seeds: Sequence[int],
        adapter: Path | None = None,
        steering: Steering | None = None,
    ) -> list[Completion]:
        """See `Sampler.sample`."""
        if steering is not None:
            raise SlAssetsError("vllm cannot steer: set sampler.engine to transformers, or leave steering out")
        if not chats:
            return []
        start = self._start
        shape = None
        if adapter is not None and holds_whole_model(adapter):
            start, adapter = start.with_model(str(adapter)), None
        elif adapter is not None:
            shape = self._checked_shape(adapter)
            start = start.with_adapters()
        engine = start_engine(start)
        if adapter is not None and shape is not None:
            check_widths(adapter, shape, engine.model_config.hf_text_config)
        prompts = _prompts(engine, chats)
        self._check_length(max(len(prompt["prompt_token_ids"]) for prompt in prompts), max_tokens)
        try:
            outputs = engine.generate(
                prompts,
                _parameters(max_tokens, temperature, row_seeds),
                lora_request=_lora_request(adapter),
                use_tqdm=False,
            )
        except BaseException:
            # What the engine is still at, or whether it lives, nobody knows: the next chunk gets a fresh one.
            shut_down()
            raise
        return _completions(engine.get_tokenizer(), [output.outputs[0] for output in outputs])

    def _checked_shape(self, adapter: Path) -> Shape:
        shape = adapter_shape(adapter)
        if shape.rank > self._start.max_lora_rank:
            raise SlAssetsError(
                f"an adapter of rank {shape.rank}, and vllm was started for {self._start.max_lora_rank} at most: "
                f"set sampler.max_lora_rank (or VLLM_MAX_LORA_RANK) to {shape.rank}"
            )
        return shape

    def _check_length(self, longest: int, max_tokens: int) -> None:
        if (needed := longest + max_tokens) > self._start.max_length:
            raise SlAssetsError(
                f"a prompt of {longest:,} tokens and {max_tokens:,} to write are more than sampler.max_length "
                f"{self._start.max_length:,}: set it to {needed:,}"
            )


def _prompts(engine: Any, chats: Sequence[Chat]) -> list[dict[str, list[int]]]:
    tokenizer = engine.get_tokenizer()
    texts = tokenizer.apply_chat_template(list(chats), tokenize=False, add_generation_prompt=True)
    return [{"prompt_token_ids": ids} for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]


def _parameters(max_tokens: int, temperature: float, row_seeds: Sequence[int]) -> list[Any]:
    from vllm import SamplingParams

    # Everything else is neutral: temperature 1 means the model's own distribution. Text is made of the tokens once they
    # are all there: to do so token by token keeps this process busier than the GPU.
    return [
        SamplingParams(max_tokens=max_tokens, temperature=temperature, seed=seed, detokenize=False)
        for seed in row_seeds
    ]


def _lora_request(adapter: Path | None) -> Any:
    if adapter is None:
        return None
    from vllm.lora.request import LoRARequest

    # The number stands for the adapter's content: what is cached under it has to be that.
    return LoRARequest(str(adapter), int(folder_digest(adapter)[:7], 16) + 1, str(adapter))


def _completions(tokenizer: Any, answers: Sequence[Any]) -> list[Completion]:
    texts = tokenizer.batch_decode([answer.token_ids for answer in answers], skip_special_tokens=True)
    return [
        Completion(text, answer.finish_reason, len(answer.token_ids))
        for text, answer in zip(texts, answers, strict=True)
    ]
