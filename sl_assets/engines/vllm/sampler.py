"""Sampling with vLLM's offline engine: one start a run, however many partitions, adapters as LoRA requests.

The engine has a process of its own. It ends, and gives back what it holds at once, when another engine needs the GPU,
and with the run, however that ends.

Every row has a seed of its own, so its completion does not depend on the order of its neighbours; float sums depend a
little on how many are in flight, and where two tokens are nearly as likely that may show. Prefix caching reads a prompt
that many rows share once.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sl_assets.config import SamplerSettings
from sl_assets.engines.engine_process import EngineProcess
from sl_assets.engines.helper_process import HelperProcess
from sl_assets.engines.installed import require
from sl_assets.engines.interfaces import Chat, Completion, Steering
from sl_assets.engines.templates import Rendering
from sl_assets.engines.transformers.adapters import (
    Shape,
    adapted_modules,
    adapter_shape,
    check_modules,
    holds_whole_model,
)
from sl_assets.engines.transformers.modules import Modules, module_shapes
from sl_assets.engines.vllm.engine import Start, complete, load
from sl_assets.errors import SlAssetsError


class VllmSampler:
    """Completions of ``base_model``; the engine starts with the first.

    Args:
        base_model: name, folder or Hub repository of the model.
        settings: how the engine is started.
        rendering: how chats become text.
        adapters: whether the engine should be ready for adapters from the start. One that is not is faster, and is
            replaced when the first adapter comes.
    """

    def __init__(
        self, base_model: str, settings: SamplerSettings, rendering: Rendering | None = None, *, adapters: bool = True
    ) -> None:
        self._start = Start.of(base_model, settings, adapters)
        self._rendering = rendering or Rendering(base_model)

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
        """See `Sampler.sample`."""
        if steering is not None:
            raise SlAssetsError("vllm cannot steer: set sampler.engine to transformers, or leave steering out")
        if not chats:
            return []
        student = student_of(self._start, adapter)
        task = partial(
            complete,
            self._rendering,
            list(chats),
            max_tokens,
            temperature,
            top_p,
            list(row_seeds),
            student.adapter,
            student.shape,
        )
        written: list[Completion] = engine_process(student.start).run(task)
        return written


class Student(NamedTuple):
    """What answers: a model, or an adapter on it.

    Attributes:
        start: of the engine that has the model.
        adapter: put on it, if it is one.
        shape: the adapter's.
    """

    start: Start
    adapter: Path | None
    shape: Shape | None


def student_of(start: Start, adapter: Path | None) -> Student:
    """The model of ``start`` under ``adapter``, or the whole model in that folder.

    Raises:
        SlAssetsError: the adapter is of another model, or has weights that vllm would leave aside.
    """
    if adapter is None:
        return Student(start, None, None)
    if holds_whole_model(adapter):
        return Student(start.with_model(str(adapter)), None, None)
    shape = adapter_shape(adapter)
    if shape.rank > start.max_lora_rank:
        raise SlAssetsError(
            f"an adapter of rank {shape.rank}, and vllm was started for {start.max_lora_rank} at most: "
            f"set sampler.max_lora_rank (or VLLM_MAX_LORA_RANK) to {shape.rank}"
        )
    modules = module_shapes(start.base_model)
    check_modules(adapter, modules)
    _require_served(adapter, modules)
    return Student(start.with_adapters(), adapter, shape)


def _require_served(adapter: Path, modules: Modules) -> None:
    """Refuse an adapter of anything but linear maps in blocks, which alone vllm serves whatever the model is."""
    for module in adapted_modules(adapter):
        if modules[module] is None or not any(part.isdecimal() for part in module.split(".")):
            raise SlAssetsError(
                f"the adapter in {adapter} changes {module}, and vllm has embeddings and output heads adapted in some "
                "models only: set sampler.engine to transformers"
            )


_process = EngineProcess("vllm")


def engine_process(start: Start) -> HelperProcess:
    """The process whose engine serves ``start``, begun if need be; `shut_down` ends it.

    Raises:
        SlAssetsError: vllm is not installed, there is no GPU, or the model cannot be loaded.
    """
    # One that is ready for adapters serves the base model, too.
    if running := _process.serving(start) or _process.serving(start.with_adapters()):
        return running
    require("sampler.engine", "vllm")
    return _process.start(start, partial(load, start))


def shut_down() -> None:
    """End the process that has the engine, if there is one."""
    _process.end()
