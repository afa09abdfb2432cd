"""Errors of the API in one line and without the key, and retries."""

import logging
import time
import traceback
from collections.abc import Iterator

import pytest

from sl_assets.engines.interfaces import Chat
from sl_assets.engines.openai.client import OPENAI_URL, Endpoint
from sl_assets.engines.openai.sampler import OpenAISampler
from sl_assets.errors import SlAssetsError
from sl_assets_tests.engines.openai.server import BASE, KEY, OpenAIServer, Reply, error, running

CHATS: list[Chat] = [[{"role": "user", "content": "Numbers: 1, 2."}]]
NOW = {"retry-after-ms": "5"}
"""Retry at once."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with running() as server:
        yield server


def endpoint(server: OpenAIServer, max_retries: int = 2, timeout: float = 5.0) -> Endpoint:
    return Endpoint(server.url, max_retries, timeout)


def ask(where: Endpoint, model: str = BASE) -> str:
    return (
        OpenAISampler(model, endpoint=where).sample(CHATS, max_tokens=5, temperature=1.0, seed=1, row_seeds=[1])[0].text
    )


def refusal(where: Endpoint, model: str = BASE) -> str:
    with pytest.raises(SlAssetsError) as caught:
        ask(where, model)
    shown = "".join(traceback.format_exception(caught.value))
    assert KEY not in shown + repr(caught.value)
    assert "The above exception" not in shown
    assert "another exception" not in shown
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_passing_faults_are_retried(server, status):
    server.faults += [error(status, "later", **NOW), error(status, "later", **NOW)]
    assert ask(endpoint(server)).startswith(BASE)
    assert server.total == 3


def test_a_retry_waits_as_long_as_the_api_asks(server):
    server.faults.append(error(429, "slow down", **{"retry-after": "0.4"}))
    start = time.monotonic()
    ask(endpoint(server))
    assert time.monotonic() - start > 0.4


def test_used_up_retries_end_in_one_line(server):
    server.faults += [error(429, f"slow\n down, {KEY}", **NOW)] * 3
    assert (
        refusal(endpoint(server)) == f"{server.url} still fails after 2 retries (HTTP 429): slow down, [OPENAI_API_KEY]"
    )
    assert server.total == 3


def test_a_fault_that_is_not_passing_is_not_retried(server):
    server.faults.append(error(400, "temperature: too hot"))
    assert refusal(endpoint(server)) == f"{server.url} refuses the request (HTTP 400): temperature: too hot"
    assert server.total == 1


def test_a_time_out_is_retried_and_then_told(server):
    server.faults += [Reply(delay=0.5), Reply(delay=0.5)]
    assert refusal(endpoint(server, 1, 0.1)) == (
        f"{server.url} gave no answer within 0.1 s after 1 retry: raise timeout"
    )


def test_no_key(server, monkeypatch):
    for value in ("", "  "):
        monkeypatch.setenv("OPENAI_API_KEY", value)
        assert refusal(endpoint(server)).startswith("OPENAI_API_KEY is not set: ")
    monkeypatch.delenv("OPENAI_API_KEY")
    assert refusal(endpoint(server)).startswith("OPENAI_API_KEY is not set: ")
    assert server.total == 0


@pytest.mark.parametrize("key", [f"{KEY} x", f"{KEY}…", f"{KEY}\n{KEY}"])
def test_a_key_that_no_header_takes(server, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    assert refusal(endpoint(server)).startswith("OPENAI_API_KEY has spaces or characters")


def test_a_key_from_a_file_may_end_with_a_line(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    assert ask(endpoint(server)).startswith(BASE)


def test_a_refused_key_is_not_quoted(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-stale-key")
    said = refusal(endpoint(server))
    assert said.startswith(f"{server.url} refuses the key in OPENAI_API_KEY (HTTP 401)")
    assert "stale" not in said


def test_an_unknown_model(server):
    assert refusal(endpoint(server), "nothing") == (
        f"model 'nothing' is unknown to {server.url}, or not open to this key (HTTP 404): "
        "The model `nothing` does not exist; name another in base_model, or where there is this one in openai.base_url"
    )


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_model_that_is_there_no_more(server, status):
    server.faults.append(error(status, f"The model `{BASE}` has been deprecated, learn more here", "model_not_found"))
    assert refusal(endpoint(server)) == (
        f"model '{BASE}' is unknown to {server.url}, or not open to this key (HTTP {status}): The model `{BASE}` has "
        "been deprecated, learn more here; name another in base_model, or where there is this one in openai.base_url"
    )
    assert server.total == 1, "not asked again"


def test_what_a_model_is_asked_may_be_refused_for_other_reasons(server):
    server.faults.append(error(400, "This model's maximum context length is 9 tokens", "context_length_exceeded"))
    assert refusal(endpoint(server)).startswith(f"{server.url} refuses the request (HTTP 400): This model's maximum")


def test_an_address_that_is_not_there(server):
    server.faults.append(Reply(404, "<html>no\nsuch page</html>", {"Content-Type": "text/html"}))
    assert "does not know what it was asked for (HTTP 404): <html>no such page</html>" in refusal(endpoint(server))


def test_an_unreachable_api(server):
    nowhere = Endpoint("http://127.0.0.1:9/v1", max_retries=1)
    assert refusal(nowhere) == ("http://127.0.0.1:9/v1 cannot be reached after 1 retry: mend base_url or the network")


@pytest.mark.parametrize(
    ("body", "kind", "found"),
    [
        ('{"choices": [', "application/json", "broken JSON"),
        ("hello", "text/plain", "broken JSON"),
        ({"choices": []}, "application/json", "no choices or no usage"),
        ([], "application/json", "no choices or no usage"),
        ({"choices": [{"finish_reason": "stop", "message": {}}]}, "application/json", "no choices or no usage"),
    ],
)
def test_answers_that_are_none(server, body, kind, found):
    server.faults.append(Reply(200, body, {"Content-Type": kind}))
    assert refusal(endpoint(server)) == f"{server.url} answered with {found}: is it an OpenAI-compatible API?"


def test_the_reason_is_cut_and_the_key_is_gone_before(server):
    server.faults.append(error(400, "x" * 290 + KEY))
    assert "sk-" not in refusal(endpoint(server))


def test_the_key_is_in_no_log(server, caplog):
    caplog.set_level(logging.DEBUG)
    server.faults.append(error(500, KEY, **NOW))
    ask(endpoint(server))
    server.faults.append(error(400, "no"))
    refusal(endpoint(server))
    assert "127.0.0.1" in caplog.text, "the client does log"
    assert KEY not in caplog.text
    where = endpoint(server)
    assert KEY not in repr(where) + repr(vars(where)) + repr(OpenAISampler(BASE, endpoint=where).__dict__)


@pytest.mark.parametrize("url", ["", "api.openai.com/v1", "ftp://host/v1", "http://", "http://[::1", "http://h:x/v1"])
def test_a_base_url_that_is_none(url):
    with pytest.raises(SlAssetsError, match="is no URL"):
        Endpoint(url)


def test_a_base_url_with_a_password_is_not_quoted():
    with pytest.raises(SlAssetsError) as caught:
        Endpoint("http://me:secret@host/v1")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("settings", [{"max_retries": -1}, {"timeout": 0.0}])
def test_impossible_patience(settings):
    with pytest.raises(SlAssetsError, match="give"):
        Endpoint(**settings)


def test_the_environment_does_not_move_the_api(server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert ask(endpoint(server)).startswith(BASE)
    assert str(Endpoint().client().base_url) == f"{OPENAI_URL}/"


def test_token_limits_are_named_as_each_api_does():
    assert Endpoint().limit_field == "max_completion_tokens"
    assert Endpoint("http://127.0.0.1/v1").limit_field == "max_tokens"
