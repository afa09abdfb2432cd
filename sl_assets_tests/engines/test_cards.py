"""Processes that want the same GPUs: real ones, of a machine that says it has two."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from sl_assets.engines import cards as cards_module
from sl_assets.engines import gpu
from sl_assets.engines.cards import VISIBLE, Card, cards, hold, lease, leased, release
from sl_assets.engines.gpu import take_gpu
from sl_assets.engines.helper_process import HelperProcess
from sl_assets.errors import SlAssetsError
from sl_assets.locks import is_locked

pytestmark = pytest.mark.usefixtures("two_cards")

SCRIPT = """
import os, sys
from sl_assets.engines.cards import lease
for line in lease(int(sys.argv[1]), sys.argv[2]):
    print(line, flush=True)
print("has", os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
sys.stdin.read()
"""


@contextmanager
def another(count: int, purpose: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that leases cards and keeps them until its input ends; it sees those that this one does not, too."""
    command = [sys.executable, "-c", SCRIPT, str(count), purpose]
    environment = {name: value for name, value in os.environ.items() if name != VISIBLE}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def told(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_every_process_has_a_card_of_its_own_and_sees_no_other() -> None:
    with another(1, "the first") as first, another(1, "the second") as second:
        assert {told(first), told(second)} == {"has 0", "has 1"}
        assert {card.holder.partition(" (")[0] for card in cards()} == {"the first", "the second"}


def test_who_finds_none_free_waits_and_says_for_whom() -> None:
    with another(2, "run 12345678 of olmo") as first:
        assert told(first) == "has 0,1"
        with another(1, "the second") as second:
            line = told(second)
            assert line.startswith("waits for a GPU: GPU 0 is used by run 12345678 of olmo (process ")
            assert f"process {first.pid}, since" in line
            first.stdin.close()  # type: ignore[union-attr]
            assert told(second).startswith("has ")


def test_a_killed_process_gives_back_its_cards_at_once() -> None:
    with another(2, "the first") as first:
        assert told(first) == "has 0,1"
        with another(2, "the second") as second:
            assert told(second).startswith("waits")
            killed = time.monotonic()
            first.send_signal(signal.SIGKILL)
            assert told(second) == "has 0,1"
            assert time.monotonic() - killed < 5


def test_two_that_need_both_cards_never_hold_one_each_and_nobody_overtakes() -> None:
    assert list(lease(1, "the first")) == []
    with another(2, "both") as both:
        assert told(both).startswith("waits for a GPU: GPU")
        with another(1, "one, later") as later:
            assert told(later).startswith("waits for a GPU")
            release()
            assert told(both) == "has 0,1"
            both.kill()
            assert told(later).startswith("has")


def test_the_engine_of_a_killed_run_is_waited_for() -> None:
    process = HelperProcess("engine")
    (card, other) = cards()
    process.run(partial(cards_module._make_folder))
    process.run(partial(hold, [card.helper_lock]))
    assert is_locked(card.helper_lock)
    assert not is_locked(other.helper_lock)
    with another(2, "the next") as following:
        time.sleep(2)
        assert not leased()
        assert is_locked(card.lock)
        ended = time.monotonic()
        process.end()
        assert told(following) == "has 0,1"
        assert time.monotonic() - ended < 5


def test_a_lease_is_kept_until_it_is_given_back_and_engines_let_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_holder", None)
    list(lease(1, "this"))
    first = leased()
    list(lease(1, "this again"))
    assert leased() == first
    still_ours: list[bool] = []
    take_gpu("vllm", lambda: still_ours.append(is_locked(first[0].lock)))
    release()
    assert still_ours == [True]
    assert not is_locked(first[0].lock)
    release()
    assert still_ours == [True]


def test_a_lease_of_another_size_is_had_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    list(lease(1, "one"))
    list(lease(0, "none needed"))
    assert len(leased()) == 1
    list(lease(2, "both"))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"
    list(lease(1, "one again"))
    assert len(leased()) == 1
    release()
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert os.environ["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST"


def test_a_process_that_has_used_cuda_sees_no_other_card_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards_module, "cuda_is_in_use", lambda: True)
    list(lease(1, "one"))
    release()
    assert [card.name for card in cards()] == ["0"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")


class NoMemoryTold:
    """NVIDIA's library where a card has no memory of its own."""

    class NVMLError(Exception):
        pass

    nvmlInit = nvmlShutdown = staticmethod(lambda: None)  # noqa: N815
    nvmlDeviceGetCount = staticmethod(lambda: 1)  # noqa: N815
    nvmlDeviceGetHandleByIndex = nvmlDeviceGetUUID = staticmethod(lambda one: f"GPU-{one}")  # noqa: N815
    nvmlDeviceGetName = staticmethod(lambda _: "GB10")  # noqa: N815

    @classmethod
    def nvmlDeviceGetMemoryInfo(cls, _: str) -> None:  # noqa: N802
        raise cls.NVMLError("Not Supported")


def test_a_card_that_tells_no_memory_is_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SL_GPUS")
    monkeypatch.setitem(sys.modules, "pynvml", NoMemoryTold)  # type: ignore[arg-type]
    assert cards() == [Card("0", "GPU-GPU-0", "GB10")]
    list(lease(1, "this"))
    assert [card.name for card in leased()] == ["0"]


def test_more_cards_than_there_are_is_one_line() -> None:
    with pytest.raises(SlAssetsError, match=r"asks for 3 GPUs, and this process sees 2 .*: lower it"):
        list(lease(3, "too much"))


def test_without_a_gpu_there_is_nothing_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert cards() == []
    assert list(lease(1, "on the CPU")) == []
    assert leased() == []


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("1", ["1"]),
        ("1,0", ["1", "0"]),
        ("GPU-1", ["1"]),
        (" 0 , 1 ", ["0", "1"]),
        ("0,7,1", ["0"]),
        ("-1", []),
        ("MIG-1c2d", ["MIG-1c2d"]),
    ],
)
def test_of_the_cards_only_those_count_that_cuda_would_see(
    visible: str, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [card.name for card in cards()] == names


def test_the_card_with_most_free_memory_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [Card("0", "GPU-a", free=10, total=80), Card("1", "GPU-b", free=79, total=80)]
    monkeypatch.setattr(cards_module, "cards", lambda: there)
    list(lease(1, "this"))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_a_count_that_is_none_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SL_GPUS", "two")
    with pytest.raises(SlAssetsError, match=r"SL_GPUS = 'two': write the number of cards, or unset it"):
        cards()
