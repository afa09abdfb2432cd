"""Sampling with vLLM's offline engine: one start a process, however many partitions, adapters as LoRA requests.

Every row has a seed of its own, so its completion does not depend on the order of its neighbours; float sums depend a
little on how many are in flight, and where two tokens are nearly as likely that may show. Prefix caching reads a prompt
that many rows share once. Imports vllm, for CUDA or in its CPU build.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sl_assets.config import SamplerSettings
from sl_assets.engines.adapters import Shape, adapter_shape, check_widths, holds_whole_model
from sl_assets.engines.gpu import free_memory, take_gpu
from sl_assets.engines.interfaces import Chat, Completion, Steering
from sl_assets.engines.models import model_source, weights_fingerprint
from sl_assets.errors import SlAssetsError
from sl_assets.lake.fingerprint import folder_digest


@dataclass(frozen=True)
class Start:
    """What an engine is started with; another start needs another engine."""

    base_model: str
    weights: str | None
    gpus: int
    memory_share: float
    max_lora_rank: int
    max_num_seqs: int
    max_length: int
    compiled: bool

    @classmethod
    def of(cls, base_model: str, settings: SamplerSettings) -> "Start":
        """From the experiment file; the environment of a machine may say otherwise."""

        def chosen(variable: str, value: int) -> int:
            text = os.environ.get(variable, "")
            if text and not text.isdecimal():
                raise SlAssetsError(f"{variable} = {text!r}: write a whole number, or unset it")
            return int(text) if text else value

        return cls(
            base_model,
            weights_fingerprint(base_model),
            gpus=max(1, chosen("VLLM_N_GPUS", settings.gpus)),
            memory_share=settings.memory_share,
            max_lora_rank=chosen("VLLM_MAX_LORA_RANK", settings.max_lora_rank),
            max_num_seqs=chosen("VLLM_MAX_NUM_SEQS", settings.max_num_seqs),
            max_length=settings.max_length,
            compiled=settings.compiled,
        )

    def with_model(self, base_model: str) -> "Start":
        """The same start of another model."""
        return replace(self, base_model=base_model, weights=weights_fingerprint(base_model))


class VllmSampler:
    """Completions of ``base_model``; the engine starts with the first."""

    def __init__(self, base_model: str, settings: SamplerSettings) -> None:
        self._start = Start.of(base_model, settings)

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
        return [_completion(output.outputs[0]) for output in outputs]

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

    # Everything else is neutral: temperature 1 means the model's own distribution.
    return [SamplingParams(max_tokens=max_tokens, temperature=temperature, seed=seed) for seed in row_seeds]


def _lora_request(adapter: Path | None) -> Any:
    if adapter is None:
        return None
    from vllm.lora.request import LoRARequest

    # The number stands for the adapter's content: what is cached under it has to be that.
    return LoRARequest(str(adapter), int(folder_digest(adapter)[:7], 16) + 1, str(adapter))


def _completion(answer: Any) -> Completion:
    return Completion(answer.text, answer.finish_reason, len(answer.token_ids))


_running: dict[Start, Any] = {}
"""The engine of this process; never more than one."""


def start_engine(start: Start) -> Any:
    """The engine of this process, started if need be; `shut_down` ends it.

    Raises:
        SlAssetsError: vllm is not installed, there is no GPU, or the model cannot be loaded.
    """
    if start not in _running:
        shut_down()
        take_gpu("vllm", shut_down)
        _running[start] = _started(start)
    return _running[start]


def shut_down() -> None:
    """End the engine of this process, if there is one, and free its memory."""
    for engine in _running.values():
        engine.llm_engine.engine_core.shutdown()
    _running.clear()
    free_memory()


def _started(start: Start) -> Any:
    # FlashInfer's sampler compiles for minutes at a machine's first start, and cuts to top k or p, which we never do.
    os.environ.setdefault("VLLM_USE_FLASHINFER_SAMPLER", "0")
    try:
        from vllm import LLM
        from vllm.platforms import current_platform
    except ImportError as error:
        raise SlAssetsError(
            f"sampler.engine vllm: not installed here ({error}); pip install 'sl_assets[gpu]', "
            "or set sampler.engine to transformers"
        ) from error
    if not (current_platform.is_cuda_alike() or current_platform.is_cpu()):
        raise SlAssetsError("sampler.engine vllm: no GPU here; set sampler.engine to transformers")
    # A CPU's share is of the machine's memory, which others need too; its cache is sized by VLLM_CPU_KVCACHE_SPACE.
    placed = {"tensor_parallel_size": start.gpus, "gpu_memory_utilization": start.memory_share}
    try:
        return LLM(
            model=model_source(start.base_model),
            dtype="bfloat16" if current_platform.is_cuda_alike() else "float32",
            max_model_len=start.max_length,
            max_num_seqs=start.max_num_seqs,
            enforce_eager=not start.compiled,
            enable_lora=True,
            max_lora_rank=_allowed_rank(start.max_lora_rank),
            max_loras=1,
            max_cpu_loras=32,
            enable_prefix_caching=True,
            generation_config="vllm",
            seed=0,
            **(placed if current_platform.is_cuda_alike() else {}),
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise SlAssetsError(
            f"vllm cannot start {start.base_model!r}: {_too_little(start) or _reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return error.errors()[0]["msg"]
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _too_little(start: Start) -> str | None:
    """What vllm says of a GPU that others use stays in the log of its own process: look, and say it."""
    import torch

    if not torch.cuda.is_available():
        return None
    free, total = (size / 1e9 for size in torch.cuda.mem_get_info())
    if free >= (wanted := start.memory_share * total):
        return None
    return (
        f"sampler.memory_share {start.memory_share} asks for {wanted:.0f} GB and {free:.0f} GB are free; "
        "lower it, or end what else uses the GPU"
    )


def _allowed_rank(rank: int) -> int:
    """The smallest rank that vllm allows and ``rank`` fits in."""
    return next((allowed for allowed in (8, 16, 32, 64, 128, 256, 320, 512) if allowed >= rank), rank)
