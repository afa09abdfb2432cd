"""What the process does that has vLLM's engine. Imports vllm, for CUDA or in its CPU build.

The engine takes its steps in this process, and on further GPUs in its children, not in one that it talks to: then what
shares a step depends on the rows alone and not on when they arrived.
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from sl_assets.config import SamplerSettings
from sl_assets.config.variables import whole_number
from sl_assets.engines.installed import GPU
from sl_assets.engines.interfaces import Chat, Completion, LogProbabilities
from sl_assets.engines.templates import Rendering
from sl_assets.engines.token_tree import TokenTree
from sl_assets.engines.transformers.adapters import Shape, check_widths
from sl_assets.engines.transformers.models import decoder_config, model_folder, weights_fingerprint
from sl_assets.errors import SlAssetsError
from sl_assets.hub.base_models import pinned_name
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
    adapters: bool

    @classmethod
    def of(cls, base_model: str, settings: SamplerSettings, adapters: bool) -> "Start":
        """From the experiment file; the environment of a machine may say otherwise."""
        return cls(
            pinned_name(base_model),
            weights_fingerprint(base_model),
            gpus=gpus_of(settings),
            memory_share=settings.memory_share,
            max_lora_rank=whole_number("VLLM_MAX_LORA_RANK", settings.max_lora_rank),
            max_num_seqs=whole_number("VLLM_MAX_NUM_SEQS", settings.max_num_seqs),
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


def gpus_of(settings: SamplerSettings) -> int:
    """GPUs that one engine is spread over."""
    return max(1, whole_number("VLLM_N_GPUS", settings.gpus))


_loaded: dict[str, Any] = {}
"""The engine of this process."""


def load(start: Start) -> None:
    """Start the engine.

    Raises:
        SlAssetsError: vllm cannot be imported, there is no GPU, or the model cannot be loaded.
    """
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    # CUDA is looked at before the engine starts; a fork would inherit it.
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
    # FlashInfer's sampler compiles for minutes at a machine's first start, and cuts to top k or p, which we never do.
    os.environ.setdefault("VLLM_USE_FLASHINFER_SAMPLER", "0")
    # A hundred lines a start would hide our own, and its warnings are of its own settings.
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    try:
        from vllm import LLM
        from vllm.platforms import current_platform
    except Exception as error:
        raise SlAssetsError(
            f"sampler.engine vllm: cannot be imported here ({error}); pip install {GPU}, "
            "or set sampler.engine to transformers"
        ) from error
    on_gpu = current_platform.is_cuda_alike()
    if not (on_gpu or current_platform.is_cpu()):
        raise SlAssetsError("sampler.engine vllm: no GPU here; set sampler.engine to transformers")
    if on_gpu:
        _check_memory(start)
    # A CPU's share is of the machine's memory, which others need too; its cache is sized by VLLM_CPU_KVCACHE_SPACE.
    placed = {"tensor_parallel_size": start.gpus, "gpu_memory_utilization": start.memory_share}
    lora = {"max_lora_rank": _allowed_rank(start.max_lora_rank), "max_loras": 1, "max_cpu_loras": 32}
    folder = model_folder(start.base_model)
    try:
        _loaded["engine"] = LLM(
            model=str(folder),
            dtype="bfloat16" if on_gpu else "float32",
            max_model_len=start.max_length,
            max_num_seqs=start.max_num_seqs,
            enforce_eager=not start.compiled,
            enable_prefix_caching=True,
            disable_hybrid_kv_cache_manager=windows_only(folder) or None,
            generation_config="vllm",
            seed=0,
            enable_lora=start.adapters,
            **(lora if start.adapters else {}),
            **(placed if on_gpu else {}),
        )
    except Exception as error:
        raise SlAssetsError(f"vllm cannot start {start.base_model!r}: {_reason(error)}") from error


def complete(
    rendering: Rendering,
    chats: Sequence[Chat],
    max_tokens: int,
    temperature: float,
    top_p: float,
    row_seeds: Sequence[int],
    adapter: Path | None,
    shape: Shape | None,
) -> list[Completion]:
    """A completion of every chat, by the loaded model or by a student of it.

    Raises:
        SlAssetsError: the adapter is of another model, or a prompt leaves no room for ``max_tokens``.
    """
    parameters = _parameters(max_tokens, temperature, top_p, row_seeds)
    answers = _generate(_prompts(rendering, chats), parameters, max_tokens, adapter, shape)
    return _completions(_loaded["engine"].get_tokenizer(), answers)


MOST_TOKENS_ASKED = 128
"""Tokens whose log probability one request may ask for (vllm's ``MAX_LOGPROB_TOKEN_IDS``)."""


def score(
    rendering: Rendering,
    chats: Sequence[Chat],
    continuations: Sequence[str],
    adapter: Path | None,
    shape: Shape | None,
) -> LogProbabilities:
    """How likely the loaded model, or a student of it, gives each of ``continuations`` to every chat.

    Behind every beginning of an answer the engine is asked for one token, and for the log probabilities of those that
    continue an answer or end it. It computes them before it draws, at temperature 1; what it draws is of no interest.

    Raises:
        SlAssetsError: the adapter is of another model, no token ends an answer, or a prompt leaves no room.
    """
    tokenizer = _loaded["engine"].get_tokenizer()
    tree = TokenTree.of(tokenizer(list(continuations), add_special_tokens=False)["input_ids"])
    ends = _end_tokens(_loaded["engine"])
    wanted = _wanted(tree, ends)
    prompts = _prompts(rendering, chats)
    requests = [(chat, context, tokens) for chat in range(len(prompts)) for context, tokens in wanted]
    answers = _generate(
        [prompts[chat] + tree.beginning(context) for chat, context, _ in requests],
        [_asking_for(tokens) for _, _, tokens in requests],
        1,
        adapter,
        shape,
    )
    found: dict[tuple[int, int], dict[int, float]] = {}
    for (chat, context, tokens), answer in zip(requests, answers, strict=True):
        known = answer.logprobs[0]
        found.setdefault((chat, context), {}).update({token: known[token].logprob for token in tokens})
    return tree.sequences(*_in_arrays(tree, ends, found, len(prompts)))


def _wanted(tree: TokenTree, ends: Sequence[int]) -> list[tuple[int, list[int]]]:
    """Contexts of ``tree``, each with tokens that may follow it there; a context with too many stands there again."""
    following: dict[int, list[int]] = {context: list(ends) for context in sorted(set(tree.last))}
    for token, parent in zip(tree.tokens, tree.parents, strict=True):
        tokens = following.setdefault(parent, [])
        # An answer may hold, as text, what also ends one.
        if token not in tokens:
            tokens.append(token)
    return [
        (context, tokens[start : start + MOST_TOKENS_ASKED])
        for context, tokens in following.items()
        for start in range(0, len(tokens), MOST_TOKENS_ASKED)
    ]


def _in_arrays(
    tree: TokenTree, ends: Sequence[int], found: Mapping[tuple[int, int], Mapping[int, float]], chats: int
) -> tuple[np.ndarray, np.ndarray]:
    """What was ``found`` of tokens by chat and context, as `TokenTree.sequences` takes it."""
    nodes, ended = np.zeros((chats, len(tree.tokens))), np.zeros((chats, len(tree.tokens) + 1))
    for chat in range(chats):
        for node, (token, parent) in enumerate(zip(tree.tokens, tree.parents, strict=True)):
            nodes[chat, node] = found[chat, parent][token]
        for context in set(tree.last):
            ended[chat, context] = np.logaddexp.reduce([found[chat, context][token] for token in ends])
    return nodes, ended


def _end_tokens(engine: Any) -> list[int]:
    """Tokens at which the engine ends an answer: the model's and the tokenizer's."""
    named = engine.model_config.try_get_generation_config().get("eos_token_id")
    ends = {*(named if isinstance(named, list) else [named]), engine.get_tokenizer().eos_token_id} - {None}
    if not ends:
        raise SlAssetsError(
            f"base_model {engine.model_config.model!r}: its generation_config.json names no eos_token_id, so no answer "
            "ends; add it"
        )
    return sorted(ends)


def _prompts(rendering: Rendering, chats: Sequence[Chat]) -> list[list[int]]:
    tokenizer = _loaded["engine"].get_tokenizer()
    rendering.check(tokenizer)
    texts = rendering.prompts(tokenizer, chats)
    prompts: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return prompts


def _generate(
    prompts: Sequence[list[int]],
    parameters: Sequence[Any],
    written: int,
    adapter: Path | None,
    shape: Shape | None,
) -> list[Any]:
    """The engine's outputs, one a prompt; ``written`` tokens are to fit behind the longest."""
    engine = _loaded["engine"]
    if adapter is not None and shape is not None:
        check_widths(adapter, shape, engine.model_config.hf_text_config)
    _check_length(max(map(len, prompts)), written, engine.model_config.max_model_len)
    outputs = engine.generate(
        [{"prompt_token_ids": ids} for ids in prompts], parameters, lora_request=_lora_request(adapter), use_tqdm=False
    )
    return [output.outputs[0] for output in outputs]


def _check_length(longest: int, max_tokens: int, allowed: int) -> None:
    if (needed := longest + max_tokens) > allowed:
        raise SlAssetsError(
            f"a prompt of {longest:,} tokens and {max_tokens:,} to write are more than sampler.max_length "
            f"{allowed:,}: set it to {needed:,}"
        )


def _parameters(max_tokens: int, temperature: float, top_p: float, row_seeds: Sequence[int]) -> list[Any]:
    from vllm import SamplingParams

    # Everything else is neutral: temperature 1 means the model's own distribution. Text is made of the tokens once they
    # are all there: to do so token by token keeps this process busier than the GPU.
    return [
        SamplingParams(max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed, detokenize=False)
        for seed in row_seeds
    ]


def _asking_for(tokens: list[int]) -> Any:
    from vllm import SamplingParams

    return SamplingParams(max_tokens=1, temperature=1.0, seed=0, logprob_token_ids=tokens, detokenize=False)


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


SECONDS_FOR_MEMORY = 20.0
"""In which a driver gives back the memory of a process that has ended."""


def _check_memory(start: Start) -> None:
    """vllm's words for a GPU that others use name no setting of ours."""
    import torch

    last = time.monotonic() + SECONDS_FOR_MEMORY
    for gpu in range(min(start.gpus, torch.cuda.device_count())):
        free, total = torch.cuda.mem_get_info(gpu)
        while free < (wanted := start.memory_share * total) and time.monotonic() < last:
            time.sleep(0.5)
            free, total = torch.cuda.mem_get_info(gpu)
        if free < wanted:
            raise SlAssetsError(
                f"vllm cannot start {start.base_model!r}: sampler.memory_share {start.memory_share} asks for "
                f"{wanted / 1e9:.0f} GB and {free / 1e9:.0f} GB are free; lower it, or end what else uses the GPU"
            )


def _allowed_rank(rank: int) -> int:
    """The smallest rank that vllm allows and ``rank`` fits in."""
    return next((allowed for allowed in (8, 16, 32, 64, 128, 256, 320, 512) if allowed >= rank), rank)
