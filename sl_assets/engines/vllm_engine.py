"""The vLLM engine of a process: one start however many partitions. Imports vllm, for CUDA or in its CPU build."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sl_assets.config import SamplerSettings
from sl_assets.engines.gpu import free_memory, take_gpu
from sl_assets.engines.models import decoder_config, model_folder, weights_fingerprint
from sl_assets.errors import SlAssetsError


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
    adapters: bool

    @classmethod
    def of(cls, base_model: str, settings: SamplerSettings, adapters: bool) -> "Start":
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
            adapters=adapters,
        )

    def with_model(self, base_model: str) -> "Start":
        """The same start of another model, whole as it is."""
        return replace(self, base_model=base_model, weights=weights_fingerprint(base_model), adapters=False)

    def with_adapters(self) -> "Start":
        """The same start, ready for adapters."""
        return replace(self, adapters=True)


_running: dict[Start, Any] = {}
"""The engine of this process; never more than one."""


def start_engine(start: Start) -> Any:
    """The engine of this process, started if need be; `shut_down` ends it.

    Raises:
        SlAssetsError: vllm is not installed, there is no GPU, or the model cannot be loaded.
    """
    # One that is ready for adapters serves the base model, too.
    if serving := next((_running[one] for one in (start, start.with_adapters()) if one in _running), None):
        return serving
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
    lora = {"max_lora_rank": _allowed_rank(start.max_lora_rank), "max_loras": 1, "max_cpu_loras": 32}
    folder = model_folder(start.base_model)
    try:
        return LLM(
            model=str(folder),
            dtype="bfloat16" if current_platform.is_cuda_alike() else "float32",
            max_model_len=start.max_length,
            max_num_seqs=start.max_num_seqs,
            enforce_eager=not start.compiled,
            enable_prefix_caching=True,
            disable_hybrid_kv_cache_manager=windows_only(folder) or None,
            generation_config="vllm",
            seed=0,
            enable_lora=start.adapters,
            **(lora if start.adapters else {}),
            **(placed if current_platform.is_cuda_alike() else {}),
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise SlAssetsError(
            f"vllm cannot start {start.base_model!r}: {_too_little(start) or _reason(error)}"
        ) from error


def windows_only(folder: Path) -> bool:
    """Whether layers differ in nothing but a sliding window.

    One cache serves them all then, at the cost of memory that our short rows do not need; to keep book of each kind
    takes longer than their step on the GPU. Layers that keep a state instead need a cache of their own.
    """
    return set(decoder_config(folder).get("layer_types") or ()) == {"sliding_attention", "full_attention"}


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
