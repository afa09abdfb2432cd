"""A Hub of its own for every test, on loopback, with a cache of its own; no test can reach the real one."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants
from huggingface_hub.utils import logging as hub_logging

from sl_assets_tests.hub.hub_server import Account, HubServer

TOKEN = "hf_PlantedTokenThatNobodyMaySee"
OWNER = "alice"


def point_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process take ``url`` for the Hub."""
    # The client has read its environment already, when it was imported.
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub at which ``alice`` has `TOKEN`; this process asks it, anonymously until a test sets HF_TOKEN."""
    server = HubServer()
    server.accounts[TOKEN] = Account(OWNER)
    point_at(server.url, monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_USER_ID"):
        monkeypatch.delenv(name, raising=False)
    # The client waits between attempts; here nothing gets better by waiting.
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    with server.running():
        yield server
    close_session()


@pytest.fixture
def token(hub: HubServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[str]:
    """HF_TOKEN and HF_USER_ID of ``alice``; afterwards the token must not stand in any log line."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_USER_ID", OWNER)
    hub_logging.enable_propagation()
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="huggingface_hub")
    yield TOKEN
    hub_logging.disable_propagation()
    records = caplog.get_records("call")
    assert records, "the client logs its requests, so there is something to look at"
    assert not any(TOKEN in record.getMessage() for record in records)
