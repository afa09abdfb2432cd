"""Exact probabilities of answers with vLLM's offline engine: the one that samples, adapters as LoRA requests.

Prefix caching reads a question once for all its answers. Float sums depend a little on how many requests are in flight,
and so does the last digit of a probability.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sl_assets.config import SamplerSettings
from sl_assets.engines.interfaces import Chat, LogProbabilities
from sl_assets.engines.templates import Rendering
from sl_assets.engines.vllm.engine import Start, score
from sl_assets.engines.vllm.sampler import engine_process, student_of


class VllmScorer:
    """Log probabilities of answers by ``base_model`` and its students; the engine starts with the first.

    Args:
        base_model: name, folder or Hub repository of the model.
        settings: how the engine is started.
        rendering: how chats become text.
    """

    def __init__(self, base_model: str, settings: SamplerSettings, rendering: Rendering | None = None) -> None:
        # Ready for adapters from the start, as for sampling: students are what is scored most.
        self._start = Start.of(base_model, settings, adapters=True)
        self._rendering = rendering or Rendering(base_model)

    def log_probabilities(
        self, chats: Sequence[Chat], continuations: Sequence[str], adapter: Path | None = None
    ) -> LogProbabilities:
        """See `Scorer.log_probabilities`."""
        student = student_of(self._start, adapter)
        task = partial(score, self._rendering, list(chats), list(continuations), student.adapter, student.shape)
        found: LogProbabilities = engine_process(student.start).run(task)
        return found
