"""What an engine that costs money may spend: tokens counted before they are paid for, prices, a cap, and the bill.

The most that something may cost is noted in a ledger before it is asked for, and its bill once that is known. The cap
is held against everything in the ledger, so it is the experiment's and not a process's, also where several spend at
once. What was under way when a process was killed (a call of `sample`, a batch or a job) stays counted at the most that
it may cost; a batch or job that a later run takes up gets its bill then.

Limits: the cap cannot see requests that the API charged for although its answer was lost and the client asked again.
Dollars are tokens times the prices given: of discounts for tokens that the API had cached it knows nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from importlib import import_module
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

from sl_assets.engines.interfaces import Chat
from sl_assets.errors import SlAssetsError
from sl_assets.lake.spending import Charge

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


class Ledger(Protocol):
    """Where charges are noted; see `sl_assets.lake.spending.Ledger`."""

    @property
    def folder(self) -> object:
        """Where it is kept, for the user."""

    @property
    def locks(self) -> bool:
        """Whether `alone` holds."""

    def alone(self) -> AbstractContextManager[bool]:
        """Nobody else is in such a block meanwhile."""

    def charges(self) -> Sequence[Charge]:
        """Every charge once: by its bill, else by the most that it may come to."""

    def note(self, charge: Charge) -> None:
        """Add a note."""


class Unkept:
    """A ledger that ends with the process."""

    folder = "this process"
    locks = True

    def __init__(self) -> None:
        self._charges: dict[str, Charge] = {}

    def alone(self) -> AbstractContextManager[bool]:
        """There is nobody else."""
        return nullcontext(True)

    def charges(self) -> list[Charge]:
        """Every charge once."""
        return list(self._charges.values())

    def note(self, charge: Charge) -> None:
        """Add a note."""
        self._charges[charge.id] = charge


class Budget:
    """Prices in dollars per million tokens, what was expected and paid, and a cap that is never passed.

    Prices are those of the mode in use: where the Batch API is cheaper, give its prices. 0 means unknown.

    Attributes:
        cap: dollars that may be spent, by all who share the ledger.
        expected: tokens that were announced before they were asked for.
        paid: tokens that the API has charged this process for.
    """

    def __init__(
        self,
        *,
        input_price: float = 0.0,
        output_price: float = 0.0,
        training_price: float = 0.0,
        cap: float | None = None,
    ) -> None:
        """Start with a ledger of its own, in which nothing is spent; `account` opens another.

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
        self._ledger: Ledger = Unkept()

    @property
    def spent(self) -> float:
        """Dollars that the cap counts: by everyone who shares the ledger, what may still be charged included."""
        return sum(map(self._cost, self._ledger.charges()))

    def _cost(self, charge: Charge) -> float:
        """Dollars at the prices when it was noted; where one was unknown then, at today's."""
        tokens = (charge.tokens_read, charge.tokens_written, charge.tokens_trained)
        prices = (charge.input_price, charge.output_price, charge.training_price)
        known = [then or now for then, now in zip(prices, self._prices, strict=True)]
        return sum(count * price for count, price in zip(tokens, known, strict=True)) / 1e6

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

    def reserve(
        self, tokens: Tokens, model: str, purpose: str, how: str, instead_of: str | None = None
    ) -> "Reservation":
        """Note that ``tokens`` may be charged for by ``model``, and count them from now on.

        Args:
            tokens, model: the most of them, and what they are asked of.
            purpose, how: what for, and how they were counted.
            instead_of: id of a reservation of the same thing, which was not begun after all.

        Raises:
            SlAssetsError: they would pass the cap.
        """
        reservation = Reservation(self, uuid4().hex, model)
        with self._ledger.alone():
            self._check(tokens, purpose, how, {instead_of})
            self.note(reservation, tokens, settled=False)
        if not self._ledger.locks:
            # Another may have looked before this was noted. Whoever looks after noting sees the other, so the cap
            # holds; two who ask at the same moment may both be refused.
            try:
                self._check(tokens, purpose, how, {instead_of, reservation.id})
            except SlAssetsError:
                reservation.settle()
                raise
        if instead_of:
            Reservation(self, instead_of, model).settle()
        return reservation

    def take_up(self, reservation: str | None, tokens: Tokens, model: str) -> "Reservation":
        """The reservation of what an earlier run began; if it noted none, one of ``tokens`` that no cap refuses."""
        if reservation:
            return Reservation(self, reservation, model)
        begun = Reservation(self, uuid4().hex, model)
        self.note(begun, tokens, settled=False)
        return begun

    def _check(self, tokens: Tokens, purpose: str, how: str, apart_from: set[str | None]) -> None:
        if self.cap is None:
            return
        charges = [charge for charge in self._ledger.charges() if charge.id not in apart_from]
        cost, spent = self.estimate(tokens), sum(map(self._cost, charges))
        if spent + cost <= self.cap:
            return
        open_ = sum(self._cost(charge) for charge in charges if not charge.settled)
        of_it = f" (${open_:.4f} of it by what runs now or was killed, at the most that it may cost)" if open_ else ""
        raise SlAssetsError(
            f"{purpose} may cost ${cost:.4f} ({how}), and ${spent:.4f} of the cap of ${self.cap:.4f} is spent{of_it}, "
            f"as noted in {self._ledger.folder}: raise openai.spending_cap, or ask for less"
        )

    def note(self, reservation: "Reservation", tokens: Tokens, settled: bool) -> None:
        """Write down what `reservation` comes to, or may come to."""
        charge = Charge(reservation.id, settled, reservation.model, *tokens, *self._prices, self.dollars(tokens))
        self._ledger.note(charge)

    @contextmanager
    def account(self, say: Say, ledger: Ledger | None = None) -> Iterator["Account"]:
        """What is expected and paid in the block; ``say`` is told beforehand, and at the end, however it ends."""
        account = Account(self, self.expected, self.paid)
        self._say, before = say, self._ledger
        self._ledger = ledger or before
        try:
            yield account
        finally:
            self._say, self._ledger = lambda _: None, before
            say(account.summary)


class Reservation:
    """Tokens that are counted as spent until their bill is known.

    Attributes:
        id: names it in the ledger.
        model: what they are asked of.
    """

    def __init__(self, budget: Budget, id: str, model: str) -> None:
        self.id, self.model = id, model
        self._budget = budget
        self._billed = Tokens()

    def pay(self, tokens: Tokens) -> None:
        """The API has charged for ``tokens``."""
        self._budget.paid = self._budget.paid.plus(tokens)
        self._billed = self._billed.plus(tokens)

    def lose(self, tokens: Tokens) -> None:
        """The API may have charged for ``tokens``, and nobody will know; they count, but are no part of a bill."""
        self._billed = self._billed.plus(tokens)

    def settle(self) -> None:
        """Note what was charged, in place of what might have been."""
        self._budget.note(self, self._billed, settled=True)

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Settle it after the block, however that ends."""
        try:
            yield
        except BaseException:
            # The block's own error matters more; what cannot be noted stays counted as it was reserved.
            with suppress(SlAssetsError):
                self.settle()
            raise
        self.settle()


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
