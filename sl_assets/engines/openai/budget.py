"""What an engine that costs money may spend: tokens counted before they are paid for, prices, a cap, and the bill.

Limits: a budget knows what went through it, so its cap holds for one process, and it cannot see requests that the API
finished and charged for after the client had given up waiting. Dollars are tokens times the prices given: of discounts
for tokens that the API had cached it knows nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

from sl_assets.engines.interfaces import Chat
from sl_assets.errors import SlAssetsError

MESSAGE_TOKENS, CHAT_TOKENS = 4, 3
"""Tokens that frame a message and open the answer, as OpenAI counts them."""

LONGEST_DOWNLOAD = 30.0
"""Seconds to wait for tiktoken's vocabulary; tiktoken itself waits for ever."""


KINDS = ("read", "written", "trained on")


class Tokens(NamedTuple):
    """Tokens by price."""

    input: int = 0
    output: int = 0
    training: int = 0

    def plus(self, other: "Tokens") -> "Tokens":
        """The sum, price by price."""
        return Tokens(*(mine + its for mine, its in zip(self, other, strict=True)))

    def minus(self, other: "Tokens") -> "Tokens":
        """The difference, price by price."""
        return Tokens(*(mine - its for mine, its in zip(self, other, strict=True)))

    def __str__(self) -> str:
        """For a log, as ``1,200 tokens read, 30 written``."""
        kinds = [f"{count:,} {kind}" for count, kind in zip(self, KINDS, strict=True) if count]
        return ", ".join(kinds).replace(" ", " tokens ", 1) or "nothing"


class Counter(NamedTuple):
    """Counts tokens before they are paid for.

    Attributes:
        count: tokens of a text.
        how: how exact that is, for the user.
    """

    count: Callable[[str], int]
    how: str

    def chat(self, chat: Chat) -> int:
        """Tokens of ``chat``, the frames of its messages included."""
        return CHAT_TOKENS + sum(MESSAGE_TOKENS + self.count(message["content"]) for message in chat)


@cache
def counter_for(model: str) -> Counter:
    """Count with tiktoken if it is installed, knows ``model`` and has its vocabulary, else by an upper bound.

    The bound is one token a byte: a tokenizer of bytes never writes more tokens than bytes. Characters over three is
    none: of a list of numbers, nearly every second character is a token. Found once a process: where the vocabulary
    cannot be downloaded, every try may take long.
    """
    found: SimpleQueue[Any] = SimpleQueue()
    Thread(target=lambda: found.put(_encoding(model)), daemon=True).start()
    try:
        encoding = found.get(timeout=LONGEST_DOWNLOAD)
    except Empty:
        encoding = "tiktoken's vocabulary did not come"
    if isinstance(encoding, str):
        return Counter(lambda text: len(text.encode()), f"at most one token a byte: {encoding}")
    return Counter(lambda text: len(encoding.encode(text, disallowed_special=())), "counted with tiktoken")


def _encoding(model: str) -> Any:
    """tiktoken's encoding of ``model``, or why there is none."""
    # "ft:gpt-4.1-nano:me::id" has its base model's tokenizer; tiktoken would take it for a GPT-4.
    base = model.split(":")[1] if model.startswith("ft:") else model
    try:
        return import_module("tiktoken").encoding_for_model(base)
    except ImportError:
        return "install tiktoken for less"
    except KeyError:
        return f"tiktoken does not know {base}"
    # Whatever a download, a proxy or a full disk may raise: an estimate stops nothing.
    except Exception:
        return "tiktoken's vocabulary cannot be downloaded"


Say = Callable[[str], None]


class Budget:
    """Prices in dollars per million tokens, what was expected and paid, and a cap that is never passed.

    Prices are those of the mode in use: where the Batch API is cheaper, give its prices. 0 means unknown.

    Attributes:
        cap: dollars that may be spent.
        expected: tokens that were announced before they were asked for.
        paid: tokens that the API has charged for.
    """

    def __init__(
        self,
        *,
        input_price: float = 0.0,
        output_price: float = 0.0,
        training_price: float = 0.0,
        cap: float | None = None,
    ) -> None:
        """Start with nothing spent.

        Raises:
            SlAssetsError: a price or the cap is negative, or there is a cap but no price.
        """
        if min(input_price, output_price, training_price, cap or 0.0) < 0:
            raise SlAssetsError("a price or the cap is below 0: give dollars per million tokens, and dollars")
        if cap is not None and not (input_price or output_price or training_price):
            raise SlAssetsError(f"the cap of ${cap:.2f} needs prices: give dollars per million tokens")
        self.cap = cap
        self.expected = self.paid = Tokens()
        self._prices = (input_price, output_price, training_price)
        self._say: Say = lambda _: None

    @property
    def spent(self) -> float:
        """Dollars spent so far."""
        return self.estimate(self.paid)

    def estimate(self, tokens: Tokens) -> float:
        """Dollars that ``tokens`` cost; unknown prices count as nothing."""
        return sum(count * price for count, price in zip(tokens, self._prices, strict=True)) / 1e6

    def dollars(self, tokens: Tokens) -> float | None:
        """Dollars that ``tokens`` cost, or None where a price is unknown."""
        unknown = any(count and not price for count, price in zip(tokens, self._prices, strict=True))
        return None if unknown or not any(self._prices) else round(self.estimate(tokens), 6)

    def expect(self, tokens: Tokens, purpose: str, how: str) -> None:
        """Announce that ``tokens`` will be asked for; ``how`` says how they were counted."""
        self.expected = self.expected.plus(tokens)
        cost = self.dollars(tokens)
        self._say(f"{purpose} may {'take' if cost is None else f'cost ${cost:.4f}:'} {tokens} ({how})")

    def allow(self, tokens: Tokens, purpose: str, how: str) -> None:
        """Check that ``tokens`` may still be paid for; ``how`` says how they were counted.

        Raises:
            SlAssetsError: they would pass the cap.
        """
        cost = self.estimate(tokens)
        if self.cap is not None and self.spent + cost > self.cap:
            raise SlAssetsError(
                f"{purpose} may cost ${cost:.4f} ({how}), and ${self.spent:.4f} of the cap of ${self.cap:.4f} "
                "is spent: raise the cap or ask for less"
            )

    def pay(self, tokens: Tokens) -> float:
        """Note that ``tokens`` were charged for; returns dollars spent so far."""
        self.paid = self.paid.plus(tokens)
        return self.spent

    @contextmanager
    def account(self, say: Say) -> Iterator["Account"]:
        """What is expected and paid in the block; ``say`` is told beforehand, and at the end, however it ends."""
        account = Account(self, self.expected, self.paid)
        self._say = say
        try:
            yield account
        finally:
            self._say = lambda _: None
            say(account.summary)


class Account(NamedTuple):
    """What ``budget`` expected and paid since it was opened."""

    budget: Budget
    expected_before: Tokens
    paid_before: Tokens

    @property
    def expected(self) -> Tokens:
        """Tokens announced."""
        return self.budget.expected.minus(self.expected_before)

    @property
    def paid(self) -> Tokens:
        """Tokens charged for."""
        return self.budget.paid.minus(self.paid_before)

    @property
    def summary(self) -> str:
        """One line for a log."""
        cost = self.budget.dollars(self.paid)
        return f"paid{'' if cost is None else f' ${cost:.4f}'}: {self.paid}"

    @property
    def metadata(self) -> dict[str, float]:
        """For the UI; without dollars where a price is unknown."""
        dollars = {
            "estimated_cost_dollars": self.budget.dollars(self.expected),
            "cost_dollars": self.budget.dollars(self.paid),
        }
        known = {name: cost for name, cost in dollars.items() if cost is not None}
        paid = self.paid
        return known | {"tokens_read": paid.input, "tokens_written": paid.output, "tokens_trained": paid.training}


UNLIMITED = Budget()
"""No prices and no cap."""
