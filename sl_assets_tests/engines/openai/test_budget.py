"""Prices, caps and accounts; tokens counted before they are paid for, with and without a network."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from sl_assets.engines.openai import budget as budgets
from sl_assets.engines.openai.budget import Budget, Tokens, counter_for
from sl_assets.errors import SlAssetsError

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
    budget.allow(Tokens(10_000_000), "asking", "counted")
    assert budget.spent == 0
    assert budget.pay(Tokens(4_000_000)) == 4.0
    budget.allow(Tokens(6_000_000), "asking", "counted")
    with pytest.raises(SlAssetsError) as caught:
        budget.allow(Tokens(6_000_001), "asking", "counted")
    assert str(caught.value) == (
        "asking may cost $6.0000 (counted), and $4.0000 of the cap of $10.0000 is spent: raise the cap or ask for less"
    )


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


def priced() -> Budget:
    return Budget(input_price=2.0, output_price=8.0, training_price=25.0)


def test_an_account_has_what_was_expected_and_paid_in_its_block():
    budget, said = priced(), list[str]()
    budget.expect(Tokens(9, 9, 9), "before", "counted")
    budget.pay(Tokens(9, 9, 9))
    with budget.account(said.append) as account:
        budget.expect(Tokens(1_000_000, 500_000), "asking", "counted")
        budget.pay(Tokens(900_000))
        budget.pay(Tokens(0, 1_000))
        assert (account.expected, account.paid) == (Tokens(1_000_000, 500_000), Tokens(900_000, 1_000))
    budget.pay(Tokens(5))
    budget.expect(Tokens(5), "after", "counted")
    assert said == [
        "asking may cost $6.0000: 1,000,000 tokens read, 500,000 written (counted)",
        "paid $1.8080: 900,000 tokens read, 1,000 written",
    ]


def test_the_metadata_of_an_account():
    budget = priced()
    with budget.account(lambda _: None) as account:
        budget.expect(Tokens(100, 50), "asking", "counted")
        budget.pay(Tokens(90, 40))
        budget.pay(Tokens(training=1000))
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
        budget.pay(Tokens(90, 40))
        assert account.metadata == {"tokens_read": 90, "tokens_written": 40, "tokens_trained": 0}
    assert said == ["asking may take 100 tokens read, 50 written (counted)", "paid: 90 tokens read, 40 written"]


def test_what_a_failed_block_has_paid_is_said():
    budget, said = priced(), list[str]()

    def fail() -> None:
        with budget.account(said.append):
            budget.pay(Tokens(1_000_000))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert said == ["paid $2.0000: 1,000,000 tokens read"]
