"""OpenAI's API, or one that speaks like it: clients, errors in one line, and what was started there.

Retries, their jitter and the waiting that ``Retry-After`` asks for are the client's own; how often it retries is a
setting. The key is read from the environment whenever a client is built, is kept in no object of ours, and is cut out
of whatever the API says. Imports openai.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import openai

from sl_assets.errors import PassingError, SlAssetsError
from sl_assets.lake.work import Work

KEY = "OPENAI_API_KEY"
OPENAI_URL = "https://api.openai.com/v1"
LONGEST_REASON = 300
"""Characters of the API's own words that an error quotes."""

TRY_AGAIN = (408, 409, 429)
"""Refusals that the client retries, as it does every 5xx."""

GONE = ("model_not_found", "model_not_available")
"""Codes of refusals of a model: it was never there, is there no more, or is not for this key or not for this."""

ANOTHER_MODEL = "name another in base_model, or where there is this one in openai.base_url"

Answer = TypeVar("Answer")


class ServiceError(SlAssetsError):
    """The API refused, failed or cannot be reached; jobs that run there go on.

    Attributes:
        refused: whether the API said that it does nothing of what it was asked for, so that nothing is charged.
    """

    refused = False


class ServiceUnavailableError(ServiceError, PassingError):
    """The API cannot be reached, or cannot answer now, though it was asked again and again."""


def _may_pass(error: openai.OpenAIError) -> bool:
    if isinstance(error, openai.APIStatusError):
        return error.status_code in TRY_AGAIN or error.status_code >= 500
    return isinstance(error, openai.APIConnectionError)


def _does_nothing(error: openai.OpenAIError) -> bool:
    # After a time-out, or a fault of its own, the API may have done and charged what it was asked for.
    return isinstance(error, openai.APIStatusError) and error.status_code < 500 and error.status_code != 408


@dataclass(frozen=True)
class Endpoint:
    """Where the API is, and how patiently it is asked.

    Attributes:
        base_url: up to and including the version, as in ``https://api.openai.com/v1``.
        max_retries: further tries after a refused connection, a time-out, 408, 409, 429 or 5xx.
        timeout: seconds that one try may wait for the API.
    """

    base_url: str = OPENAI_URL
    max_retries: int = 6
    timeout: float = 120.0

    def __post_init__(self) -> None:
        """Refuse what no client can be built for.

        Raises:
            SlAssetsError: the URL is none, or a number is out of range.
        """
        try:
            parts = urlsplit(self.base_url)
            is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_url = False
        if not is_url:
            raise SlAssetsError(f"base_url {self.base_url!r} is no URL: write it as in {OPENAI_URL}")
        if parts.username or parts.password:
            raise SlAssetsError(f"base_url names a user or password: leave them out, and put the key in {KEY}")
        if self.max_retries < 0:
            raise SlAssetsError(f"max_retries {self.max_retries}: give 0 or more")
        if not self.timeout > 0:
            raise SlAssetsError(f"timeout {self.timeout}: give seconds above 0")

    @property
    def limit_field(self) -> str:
        """How a request names its token limit: OpenAI retired the name that other servers still go by."""
        return "max_completion_tokens" if self.base_url.rstrip("/") == OPENAI_URL else "max_tokens"

    def client(self) -> openai.OpenAI:
        """A client for one request after the other.

        Raises:
            SlAssetsError: there is no usable key.
        """
        return openai.OpenAI(api_key=_key(), base_url=self.base_url, max_retries=self.max_retries, timeout=self.timeout)

    def async_client(self) -> openai.AsyncOpenAI:
        """A client for many requests at once; belongs to the event loop that first uses it.

        Raises:
            SlAssetsError: there is no usable key.
        """
        return openai.AsyncOpenAI(
            api_key=_key(), base_url=self.base_url, max_retries=self.max_retries, timeout=self.timeout
        )

    @contextmanager
    def errors_explained(self, model: str = "", *, training: bool = False) -> Iterator[None]:
        """Turn whatever the client raises in the block into one line.

        Args:
            model: the one that is asked, or trained.
            training: whether a fine-tuning of it is begun.

        Raises:
            ServiceError: a refused key, an unknown model, a URL that cannot be reached, retries used up, broken JSON.
        """
        try:
            yield
        except openai.OpenAIError as error:
            kind = ServiceUnavailableError if _may_pass(error) else ServiceError
            explained = kind(without_key(self._explanation(error, model, training)))
            explained.refused = _does_nothing(error)
            raise explained from None
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise self.unexpected("broken JSON") from None

    def unexpected(self, found: str) -> ServiceError:
        """The error of an answer that cannot be used."""
        return ServiceError(f"{self.base_url} answered with {found}: is it an OpenAI-compatible API?")

    def checked(self, answer: Answer, *fields: str) -> Answer:
        """``answer`` if it has ``fields``: the client passes on whatever the API sends, unchecked.

        Raises:
            ServiceError: one is missing.
        """
        for field in fields:
            if not hasattr(answer, field):
                raise self.unexpected(f"no {field} where one belongs")
        return answer

    def _explanation(self, error: openai.OpenAIError, model: str, training: bool) -> str:
        if isinstance(error, openai.APITimeoutError):
            return f"{self.base_url} gave no answer within {self.timeout:g} s{_retried(error)}: raise timeout"
        if isinstance(error, openai.APIConnectionError):
            return f"{self.base_url} cannot be reached{_retried(error)}: mend base_url or the network"
        if isinstance(error, openai.APIStatusError):
            return self._status_explanation(error, model, training)
        return f"{self.base_url}: {_said(error)}"

    def _status_explanation(self, error: openai.APIStatusError, model: str, training: bool) -> str:
        status = f"(HTTP {error.status_code})"
        if error.status_code == 401:
            # What the API says here quotes the key, if only in part.
            return f"{self.base_url} refuses the key in {KEY} {status}: put a valid one in the environment or in .env"
        if training and _refuses_to_train(error):
            return f"{self.base_url} does not fine-tune {model!r} {status}: {_said(error)}; {ANOTHER_MODEL}"
        if model and _refuses_model(error):
            known = f"model {model!r} is unknown to {self.base_url}, or not open to this key {status}"
            return f"{known}: {_said(error)}; {ANOTHER_MODEL}"
        if error.status_code == 404:
            return f"{self.base_url} does not know what it was asked for {status}: {_said(error)}"
        if error.status_code in TRY_AGAIN or error.status_code >= 500:
            return f"{self.base_url} still fails{_retried(error)} {status}: {_said(error)}"
        return f"{self.base_url} refuses the request {status}: {_said(error)}"


OPENAI = Endpoint()


def _refuses_model(error: openai.APIStatusError) -> bool:
    """Whether it is the model that cannot be asked, and not what it was asked."""
    if error.status_code == 404 and "model" in _said(error).lower():
        return True
    return error.status_code in (400, 403, 404) and error.code in GONE


def _refuses_to_train(error: openai.APIStatusError) -> bool:
    # Who may not fine-tune at all is told 403, and the model is not spoken of.
    about_model = error.code in GONE or "model" in _said(error).lower()
    return error.status_code == 403 or (error.status_code in (400, 404) and about_model)


def _key() -> str:
    key = os.environ.get(KEY, "").strip()
    if not key:
        raise SlAssetsError(f"{KEY} is not set: put your key in the environment or in .env")
    if not re.fullmatch(r"[!-~]+", key):
        raise SlAssetsError(f"{KEY} has spaces or characters that no key has: copy it again")
    return key


def without_key(text: str) -> str:
    """``text`` in one line, without the key."""
    key = os.environ.get(KEY, "").strip()
    return _one_line(text.replace(key, f"[{KEY}]") if key else text)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _said(error: openai.OpenAIError) -> str:
    """What the API gave as its reason."""
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else body
    # Cut last: a cut through the key would leave a part that no longer matches it.
    return without_key(str(message or error))[:LONGEST_REASON]


def _retried(error: openai.APIError) -> str:
    count = int(error.request.headers.get("x-stainless-retry-count", 0))
    return f" after {count} {'retry' if count == 1 else 'retries'}" if count else ""


class Started:
    """What was started at the API under one fingerprint, so that an interrupted run takes it up again.

    Without a `Work` it is forgotten with the object.
    """

    def __init__(self, work: Work | None, file: str, *fingerprint: Any) -> None:
        self._work, self._file, self._fingerprint = work, file, fingerprint
        known = work.load_bytes(file, *fingerprint) if work else None
        self.state: dict[str, Any] = json.loads(known) if known else {}

    @property
    def survives(self) -> bool:
        """Whether the next run will know."""
        return self._work is not None

    def note(self, **changes: Any) -> None:
        """Add to what is known, before anything else happens."""
        self._save(self.state | changes)

    def forget(self, *names: str) -> None:
        """Drop ``names``, or everything."""
        self._save({name: value for name, value in self.state.items() if names and name not in names})

    def _save(self, state: dict[str, Any]) -> None:
        self.state = state
        if self._work:
            self._work.save_bytes(self._file, json.dumps(state).encode(), *self._fingerprint)


def jsonl(rows: Sequence[Any]) -> bytes:
    """``rows`` as JSON, one a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
