"""Which GPUs of this machine a process may use: a lease on cards, which ends with the process however that ends.

The lease is a lock on a file, which the system takes back from a process that dies, whatever it was at. Whoever has a
lease sees no other card (``CUDA_VISIBLE_DEVICES``), so every run works on cards of its own. All users and experiments
of a machine share the locks; containers do as far as they share a folder for temporary files.
"""

import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from sl_assets.engines.gpu import cuda_is_in_use, let_go
from sl_assets.errors import SlAssetsError
from sl_assets.locks import is_locked, try_lock

VISIBLE = "CUDA_VISIBLE_DEVICES"
ORDER = "CUDA_DEVICE_ORDER"
COUNT = "SL_GPUS"
"""Variable that says how many cards there are, where NVIDIA's library cannot tell (cards of others)."""

SECONDS_BETWEEN_LOOKS = 0.5


class Card(NamedTuple):
    """A GPU.

    Attributes:
        name: as ``CUDA_VISIBLE_DEVICES`` takes it: its index, or the identity of a part of one (MIG).
        identity: the same in every process, whatever that sees.
        model: what its maker calls it.
        free, total: bytes of memory; None where they are not known.
    """

    name: str
    identity: str
    model: str = "GPU"
    free: int | None = None
    total: int | None = None

    @property
    def lock(self) -> Path:
        """File that is locked by whoever has the card."""
        return _folder() / f"{self.identity}.lock"

    @property
    def helper_lock(self) -> Path:
        """File that is locked by the process of an engine, which outlives a killed run by a moment."""
        return _folder() / f"{self.identity}.helper.lock"

    @property
    def holder(self) -> str:
        """Who has the card, as far as they left word; empty where nobody has it."""
        if not is_locked(self.lock):
            return ""
        with suppress(OSError, ValueError, KeyError):
            word = json.loads(self._word.read_text())
            return f"{word['purpose']} (process {word['process']}, since {word['since']})"
        return "another run"

    @property
    def _word(self) -> Path:
        return _folder() / f"{self.identity}.json"

    def leave_word(self, purpose: str) -> None:
        """Say who has the card, for whoever waits."""
        word = {"purpose": purpose, "process": os.getpid(), "since": datetime.now().strftime("%Y-%m-%d %H:%M:%S")}
        # Another user may have left theirs, which cannot be replaced in a folder of temporary files; a name is enough.
        with suppress(OSError):
            self._word.unlink(missing_ok=True)
            self._word.write_text(json.dumps(word))


_leased: list[tuple[Card, FileLock]] = []
"""The cards that this process has."""

_before: dict[str, str | None] = {}
"""What `VISIBLE` and `ORDER` were before they were set to what is leased."""

_in_helper: list[FileLock] = []
"""In the process of an engine: locks that tell others that it is still there."""


def cards() -> list[Card]:
    """The cards that this process may use, as the driver counts them; none where models run on the CPU."""
    there = _counted() or _told_by_driver()
    visible = os.environ.get(VISIBLE)
    if visible is None or not there:
        return there
    found: list[Card] = []
    for name in (part.strip() for part in visible.split(",")):
        if name.startswith("MIG-"):
            found.append(Card(name, name, "part of a GPU"))
            continue
        card = next((card for card in there if name == card.name or (name and card.identity.startswith(name))), None)
        # As CUDA does: what stands behind a name that is none is not seen.
        if card is None:
            break
        found.append(card)
    return found


def _counted() -> list[Card]:
    text = os.environ.get(COUNT, "")
    if not text:
        return []
    if not text.isdecimal():
        raise SlAssetsError(f"{COUNT} = {text!r}: write the number of cards, or unset it")
    return [Card(str(index), f"GPU-{index}") for index in range(int(text))]


def _told_by_driver() -> list[Card]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [_told_of(index) for index in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def _told_of(index: int) -> Card:
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    card = Card(str(index), pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle))
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError:
        # It shares its memory with the CPU, or is cut into parts.
        return card
    return card._replace(free=memory.free, total=memory.total)


def leased() -> list[Card]:
    """The cards that this process has."""
    return [card for card, _ in _leased]


def lease(count: int, purpose: str) -> Iterator[str]:
    """Have ``count`` cards once this has come to its end, those with most free memory; waits if others have them.

    Without a GPU there is nothing to have, and nobody to wait for. Called again, it keeps the cards that it has. It
    comes before anything in this process that uses CUDA, which from then on sees what it saw first.

    Args:
        count: of cards.
        purpose: what for, for others who wait.

    Yields:
        Whom it waits for, if it does, before it waits.

    Raises:
        SlAssetsError: there are not so many.
    """
    if count in (0, len(_leased)):
        return
    release()
    there = cards()
    if not there:
        return
    if count > len(there):
        raise SlAssetsError(
            f"sampler.gpus (or VLLM_N_GPUS) asks for {count} GPUs, and this process sees {len(there)} "
            f"({VISIBLE}): lower it, or run where there are more"
        )
    _make_folder()
    with ExitStack() as undo:
        # One at a time collects cards, so that two who need several never hold a part each; and none overtakes.
        queue = FileLock(_folder() / "queue.lock", mode=0o666, thread_local=False)
        waiting = _Waiting()
        while not try_lock(queue):
            yield from waiting.goes_on(there)
        undo.callback(queue.release)
        taken: list[tuple[Card, FileLock]] = []
        while len(taken) < count:
            for card in _free_first(there, taken):
                lock = FileLock(card.lock, mode=0o666, thread_local=False)
                if len(taken) < count and try_lock(lock):
                    undo.callback(lock.release)
                    taken.append((card, lock))
            if len(taken) < count:
                yield from waiting.goes_on(_free_first(there, taken))
        for card, _ in taken:
            # A killed run's engine still holds memory until it has noticed.
            with FileLock(card.helper_lock, mode=0o666):
                card.leave_word(purpose)
        undo.pop_all()
        queue.release()
    _leased[:] = taken
    _before.update({name: os.environ.get(name) for name in (VISIBLE, ORDER)})
    os.environ[ORDER] = "PCI_BUS_ID"
    os.environ[VISIBLE] = ",".join(sorted(card.name for card, _ in taken))


def release() -> None:
    """Give the cards back, after whatever engine of this process has something on them has let go.

    A process that has used CUDA itself goes on to see these cards, and no others.
    """
    if not _leased:
        return
    let_go()
    while _leased:
        _leased.pop()[1].release()
    if not cuda_is_in_use():
        for name, value in _before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def hold(locks: Sequence[Path]) -> None:
    """In the process of an engine: until it ends, whoever leases the cards next waits for it.

    Args:
        locks: `Card.helper_lock` of every card leased by the process that began this one.
    """
    for path in locks:
        lock = FileLock(path, mode=0o666, thread_local=False)
        lock.acquire()
        _in_helper.append(lock)


class _Waiting:
    """Says once whom it waits for, and sleeps between looks."""

    def __init__(self) -> None:
        self._looks = 0

    def goes_on(self, cards: Sequence[Card]) -> Iterator[str]:
        self._looks += 1
        # Not at the first: whoever is first in the queue leaves it at once if there is a card.
        if self._looks == 2:
            holders = [f"GPU {card.name} is used by {holder}" for card in cards if (holder := card.holder)]
            yield f"waits for a GPU: {'; '.join(holders) or 'another run is about to take one'}"
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _free_first(there: Sequence[Card], taken: Sequence[tuple[Card, FileLock]]) -> list[Card]:
    mine = [card for card, _ in taken]
    return sorted((card for card in there if card not in mine), key=lambda card: -(card.free or 0))


def _folder() -> Path:
    return Path(tempfile.gettempdir()) / "sl_assets-gpus"


def _make_folder() -> None:
    folder = _folder()
    folder.mkdir(exist_ok=True)
    # For every user of the machine; of others' folders this changes nothing, and need not.
    with suppress(PermissionError):
        folder.chmod(0o777)
