"""Prices, caps and accounts; tokens counted before they are paid for, with and without a network."""

import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sl_assets.engines.openai import budget as budgets
from sl_assets.engines.openai.budget import Budget, Tokens, counter_for
from sl_assets.errors import SlAssetsError
from sl_assets.lake.lake import Lake
from sl_assets.lake.spending import Charge, Ledger
from sl_assets_tests.s3_server import s3_server

MODEL = "tiny-chat"
REAL = "gpt-4.1-nano-2025-04-14"


@pytest.fixture(autouse=True)
def _count_anew() -> Iterator[None]:
    counter_for.cache_clear()
    yield
    counter_for.cache_clear()


def test_dollars():
    budget = Budget(input_price=1.0, output_price=4.0, training_price=25.0, cap=10.0)
    assert budget.estimate(Tokens(2_000_000, 500_000, 100_000)) == 6.5
    assert budget.spent == 0
    reservation = budget.reserve(Tokens(10_000_000), MODEL, "asking", "counted")
    assert budget.spent == 10.0
    reservation.pay(Tokens(3_000_000))
    reservation.pay(Tokens(1_000_000))
    assert budget.spent == 10.0, "until its bill is complete"
    reservation.settle()
    assert budget.spent == 4.0
    with pytest.raises(SlAssetsError) as caught:
        budget.reserve(Tokens(6_000_001), MODEL, "asking", "counted")
    assert str(caught.value) == (
        "asking may cost $6.0000 (counted), and $4.0000 of the cap of $10.0000 is spent, as noted in this process: "
        "raise openai.spending_cap, or ask for less"
    )
    budget.reserve(Tokens(6_000_000), MODEL, "asking", "counted")


@pytest.mark.parametrize("settings", [{"cap": 1.0}, {"cap": -1.0, "input_price": 1.0}, {"input_price": -1.0}])
def test_impossible_budgets(settings):
    with pytest.raises(SlAssetsError):
        Budget(**settings)


def test_without_tiktoken_a_byte_is_the_most_that_a_token_can_be(monkeypatch):
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    counter = counter_for(MODEL)
    assert counter.count("7, 8 ü") == 7
    assert counter.chat([{"role": "system", "content": "ab"}, {"role": "user", "content": "c"}]) == 3 + 4 + 2 + 4 + 1
    assert "install tiktoken" in counter.how


def installed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A tiktoken that knows `MODEL` and the real one, and takes words for tokens; returns what it is asked for."""
    asked: list[str] = []

    def encoding_for_model(model: str) -> SimpleNamespace:
        asked.append(model)
        if model not in (MODEL, REAL):
            raise KeyError(model)
        return SimpleNamespace(encode=lambda text, disallowed_special: text.split())

    monkeypatch.setitem(sys.modules, "tiktoken", SimpleNamespace(encoding_for_model=encoding_for_model))
    return asked


def test_tiktoken_counts_where_it_is_installed(monkeypatch):
    asked = installed(monkeypatch)
    assert [counter_for(MODEL).count("one two three") for _ in range(2)] == [3, 3]
    assert asked == [MODEL], "loaded once"
    assert counter_for(MODEL).how == "counted with tiktoken"
    assert counter_for("another").count("one") == 3
    assert counter_for("another").how == "at most one token a byte: tiktoken does not know another"


def test_a_fine_tuned_model_counts_as_its_base_model(monkeypatch):
    asked = installed(monkeypatch)
    assert counter_for(f"ft:{REAL}:me:sl-assets:id").how == "counted with tiktoken"
    assert asked == [REAL]


@pytest.fixture
def without_vocabulary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The real tiktoken, with nothing downloaded yet."""
    tiktoken = pytest.importorskip("tiktoken")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})


@pytest.mark.usefixtures("without_vocabulary")
def test_without_a_network_bytes_are_counted(monkeypatch):
    # Nobody listens there.
    for name, value in (("https_proxy", "http://127.0.0.1:9"), ("no_proxy", "")):
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.upper(), value)
    counter = counter_for(REAL)
    assert counter.count("7, 8 ü") == 7
    assert counter.how == "at most one token a byte: tiktoken's vocabulary cannot be downloaded"


def test_a_download_that_hangs_is_not_waited_for(monkeypatch):
    over = threading.Event()
    hanging = SimpleNamespace(encoding_for_model=lambda _: over.wait())
    monkeypatch.setitem(sys.modules, "tiktoken", hanging)
    monkeypatch.setattr(budgets, "LONGEST_DOWNLOAD", 0.05)
    assert counter_for(REAL).how == "at most one token a byte: tiktoken's vocabulary did not come"
    over.set()


def pay(budget: Budget, tokens: Tokens) -> None:
    reservation = budget.reserve(tokens, MODEL, "asking", "counted")
    reservation.pay(tokens)
    reservation.settle()


def priced() -> Budget:
    return Budget(input_price=2.0, output_price=8.0, training_price=25.0)


def test_an_account_has_what_was_expected_and_paid_in_its_block():
    budget, said = priced(), list[str]()
    budget.expect(Tokens(9, 9, 9), "before", "counted")
    pay(budget, Tokens(9, 9, 9))
    with budget.account(said.append) as account:
        budget.expect(Tokens(1_000_000, 500_000), "asking", "counted")
        pay(budget, Tokens(900_000))
        pay(budget, Tokens(0, 1_000))
        assert (account.expected, account.paid) == (Tokens(1_000_000, 500_000), Tokens(900_000, 1_000))
    pay(budget, Tokens(5))
    budget.expect(Tokens(5), "after", "counted")
    assert said == [
        "asking may cost $6.0000: 1,000,000 tokens read, 500,000 written (counted)",
        "paid $1.8080: 900,000 tokens read, 1,000 written",
    ]


def test_the_metadata_of_an_account():
    budget = priced()
    with budget.account(lambda _: None) as account:
        budget.expect(Tokens(100, 50), "asking", "counted")
        pay(budget, Tokens(90, 40))
        pay(budget, Tokens(training=1000))
        metadata = account.metadata
    assert metadata == {
        "estimated_cost_dollars": 0.0006,
        "cost_dollars": 0.0255,
        "tokens_read": 90,
        "tokens_written": 40,
        "tokens_trained": 1000,
    }


@pytest.mark.parametrize("prices", [{}, {"input_price": 2.0}])
def test_an_unknown_price_makes_no_dollars(prices):
    budget, said = Budget(**prices), list[str]()
    with budget.account(said.append) as account:
        budget.expect(Tokens(100, 50), "asking", "counted")
        pay(budget, Tokens(90, 40))
        assert account.metadata == {"tokens_read": 90, "tokens_written": 40, "tokens_trained": 0}
    assert said == ["asking may take 100 tokens read, 50 written (counted)", "paid: 90 tokens read, 40 written"]


def test_what_a_failed_block_has_paid_is_said():
    budget, said = priced(), list[str]()

    def fail() -> None:
        with budget.account(said.append):
            pay(budget, Tokens(1_000_000))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert said == ["paid $2.0000: 1,000,000 tokens read"]


def ledger(root: str, run_id: str = "run") -> Ledger:
    return Ledger(Lake(root), "tiny", "raw_dataset", "owl", run_id)


def capped(root: str, cap: float, **prices: float) -> Budget:
    """A budget of a process of its own that shares the ledger at ``root``: what a run that begins anew has."""
    budget = Budget(cap=cap, **({"input_price": 1.0} | prices))
    budget._ledger = ledger(root)
    return budget


DOLLAR = Tokens(1_000_000)


def reserve(budget: Budget, dollars: int = 1) -> bool:
    """Whether as much could be reserved."""
    try:
        budget.reserve(Tokens(dollars * 1_000_000), MODEL, "asking", "counted")
    except SlAssetsError as error:
        assert "raise openai.spending_cap" in str(error)  # noqa: PT017
        return False
    return True


def test_the_cap_counts_what_earlier_runs_have_spent_and_what_others_have_reserved(tmp_path):
    root = str(tmp_path / "lake")
    pay(capped(root, 10.0), Tokens(4_000_000))
    assert capped(root, 10.0).spent == 4.0
    assert reserve(capped(root, 10.0), 3)
    with pytest.raises(SlAssetsError) as caught:
        capped(root, 10.0).reserve(Tokens(3_100_000), MODEL, "asking", "counted")
    assert str(caught.value) == (
        "asking may cost $3.1000 (counted), and $7.0000 of the cap of $10.0000 is spent ($3.0000 of it by what runs "
        f"now or was killed, at the most that it may cost), as noted in {root}/spending/experiment=tiny: "
        "raise openai.spending_cap, or ask for less"
    )
    assert reserve(capped(root, 10.2), 3), "a higher cap is the fix"
    another = Budget(input_price=1.0, cap=1.0)
    with another.account(lambda _: None, Ledger(Lake(root), "another", "raw_dataset", "owl", "run")):
        assert reserve(another), "each experiment has a cap of its own"


class Slow(Ledger):
    """Takes its time between looking and noting, in which others might look."""

    def charges(self) -> list[Charge]:
        seen = super().charges()
        time.sleep(0.05)
        return seen


def _reserve_five(root: str, done: Any) -> None:
    budget = capped(root, 7.0)
    budget._ledger = Slow(Lake(root), "tiny", "raw_dataset", "owl", "run")
    done.put(sum(reserve(budget) for _ in range(5)))


def test_several_processes_at_once_cannot_pass_the_cap_together(tmp_path):
    processes = get_context("spawn")
    done = processes.Queue()
    started = [processes.Process(target=_reserve_five, args=(str(tmp_path / "lake"), done)) for _ in range(3)]
    for process in started:
        process.start()
    assert sum(done.get(timeout=60) for _ in started) == 7, "of fifteen that were asked for"
    for process in started:
        process.join()
    assert capped(str(tmp_path / "lake"), 7.0).spent == 7.0


class Together(Ledger):
    """Notes only once another is about to, which has looked before either was noted."""

    met = threading.Barrier(2)

    def note(self, charge: Charge) -> None:
        if not charge.settled:
            self.met.wait(timeout=30)
        super().note(charge)


def test_on_s3_two_who_ask_at_once_cannot_pass_the_cap_together_either():
    with s3_server("lakes"):
        root, taken = "s3://lakes/lake", list[bool]()

        def ask() -> None:
            budget = capped(root, 1.5)
            budget._ledger = Together(Lake(root), "tiny", "raw_dataset", "owl", "run")
            taken.append(reserve(budget))

        both = [threading.Thread(target=ask) for _ in range(2)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        assert len(taken) == 2
        assert sum(taken) < 2
        assert capped(root, 1.5).spent == sum(taken), "what was refused is not counted"
        assert reserve(capped(root, 2.0)), "each alone is no trouble"


def test_what_was_spent_while_a_price_was_unknown_counts_at_the_price_of_today(tmp_path):
    root = str(tmp_path / "lake")
    unpriced = Budget()
    with unpriced.account(lambda _: None, ledger(root)):
        pay(unpriced, Tokens(1_000_000, 1_000_000))
    assert capped(root, 9.0, output_price=2.0).spent == 3.0
    pay(capped(root, 20.0, input_price=5.0), DOLLAR)
    assert capped(root, 9.0).spent == 6.0, "and what had one, at that"


def test_something_tried_again_is_reserved_once(tmp_path):
    root = str(tmp_path / "lake")
    first = capped(root, 1.5).reserve(DOLLAR, MODEL, "asking", "counted")
    assert not reserve(capped(root, 1.5))
    capped(root, 1.5).reserve(DOLLAR, MODEL, "asking", "counted", instead_of=first.id)
    assert capped(root, 1.5).spent == 1.0


def test_a_later_run_notes_the_bill_of_what_an_earlier_one_began(tmp_path):
    root = str(tmp_path / "lake")
    begun = capped(root, 1.0).reserve(DOLLAR, MODEL, "asking", "counted")
    later = capped(root, 1.0).take_up(begun.id, DOLLAR, MODEL)
    for _ in range(2):
        # As where a run is killed before it can note that it has noted.
        later = capped(root, 1.0).take_up(begun.id, DOLLAR, MODEL)
        later.pay(Tokens(250_000))
        later.settle()
    assert capped(root, 1.0).spent == 0.25


def test_what_failed_is_settled_with_what_may_have_been_charged(tmp_path):
    budget = capped(str(tmp_path / "lake"), 10.0)
    reservation = budget.reserve(Tokens(5_000_000), MODEL, "asking", "counted")
    reservation.pay(DOLLAR)
    reservation.lose(Tokens(500_000))
    with pytest.raises(KeyError), reservation.settled():
        raise KeyError
    assert budget.paid == DOLLAR, "what is known"
    assert budget.spent == 1.5
