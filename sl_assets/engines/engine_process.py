"""The process of an engine that has the GPU while it lives: one start for all partitions of a run."""

from collections.abc import Callable, Hashable
from functools import partial

from sl_assets.engines.cards import hold, leased
from sl_assets.engines.gpu import take_gpu
from sl_assets.engines.helper_process import HelperProcess
from sl_assets.errors import SlAssetsError


class EngineProcess:
    """At most one process of one engine, with what it has loaded.

    It ends when another engine takes the GPU, when something else is to be loaded, and with this process.
    """

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._loaded: Hashable = None
        self._process: HelperProcess | None = None

    def serving(self, what: Hashable) -> HelperProcess | None:
        """The process, if it has loaded ``what`` and can be asked."""
        if self._process and not self._process.ended and self._loaded == what:
            return self._process
        return None

    def start(self, what: Hashable, load: Callable[[], None]) -> HelperProcess:
        """A fresh process that has loaded ``what`` by the task ``load``; raises whatever that raises."""
        self.end()
        take_gpu(self._engine, self.end)
        process = HelperProcess(self._engine)
        try:
            process.run(partial(hold, [card.helper_lock for card in leased()]))
            process.run(load)
        except SlAssetsError:
            process.end()
            raise
        self._loaded, self._process = what, process
        return process

    def end(self) -> None:
        """End the process, if there is one."""
        if self._process:
            self._process.end()
        self._process = None
