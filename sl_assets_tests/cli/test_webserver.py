"""Whom the web server answers: its own pages and programs, and no page of another site."""

import urllib.parse
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from sl_assets.cli.webserver import OwnPagesOnly, listens_on, names_of

MUTATION = "mutation { resetSchedule(scheduleSelector: {}) { __typename } }"
HERE = "http://127.0.0.1:3000"
SOCKET = "ws://127.0.0.1:3000/graphql"
BROWSER = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "origin": HERE}
REFUSED: dict[str, dict[str, Any]] = {
    "an image's address": {"method": "GET", "url": f"/graphql?{urllib.parse.urlencode({'query': MUTATION})}"},
    "a form of another site": {"method": "POST", "url": "/graphql", "headers": {"origin": "http://elsewhere.org"}},
    "a form of a page without a site": {"method": "POST", "url": "/graphql", "headers": {"origin": "null"}},
    "another port of this machine": {
        "method": "POST",
        "url": "/graphql",
        "headers": {"origin": "http://127.0.0.1:8000"},
    },
    "a script of another site": {
        "method": "GET",
        "url": "/",
        "headers": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    },
    "a form by a link": {
        "method": "POST",
        "url": "/",
        "headers": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    },
    "a site that calls itself this one": {
        "method": "POST",
        "url": "/graphql",
        "headers": {"host": "elsewhere.org:3000"},
    },
}
ANSWERED: dict[str, dict[str, Any]] = {
    "the UI's own page": {"method": "POST", "url": "/graphql", "headers": BROWSER},
    "a program": {"method": "POST", "url": "/graphql"},
    "an address that is typed": {
        "method": "GET",
        "url": "/",
        "headers": {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"},
    },
    "a link elsewhere": {
        "method": "GET",
        "url": "/assets",
        "headers": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    },
    "through a tunnel": {
        "method": "POST",
        "url": "/graphql",
        "headers": {"host": "localhost:9000", "origin": "http://localhost:9000"},
    },
}


async def _talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


def client(host: str = "127.0.0.1") -> TestClient:
    """A browser or program before an application that answers everything."""
    answer = Route("/{path:path}", lambda _: PlainTextResponse("answered"), methods=["GET", "POST"])
    guard = Middleware(OwnPagesOnly, names=names_of(host))
    return TestClient(Starlette(routes=[WebSocketRoute("/graphql", _talk), answer], middleware=[guard]), base_url=HERE)


@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED)
def test_what_another_site_may_send_is_refused(request_: dict[str, Any]) -> None:
    assert client().request(**request_).status_code == 403


@pytest.mark.parametrize("request_", ANSWERED.values(), ids=ANSWERED)
def test_own_pages_links_and_programs_are_answered(request_: dict[str, Any]) -> None:
    assert client().request(**request_).text == "answered"


def test_a_socket_is_for_own_pages_too() -> None:
    with client().websocket_connect(SOCKET, headers={"origin": HERE}) as socket:
        assert socket.receive_text() == "hello"
    with (
        pytest.raises(WebSocketDisconnect),
        client().websocket_connect(SOCKET, headers={"origin": "http://elsewhere.org"}),
    ):
        pass


def test_a_proxy_has_a_name_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    behind = {"host": "ui.lab.org", "origin": "https://ui.lab.org"}
    assert "set SL_UI_NAMES=ui.lab.org" in client().post("/graphql", headers=behind).text
    monkeypatch.setenv("SL_UI_NAMES", "ui.lab.org, other.lab.org")
    assert client().post("/graphql", headers=behind).status_code == 200
    assert client("0.0.0.0").post("/graphql", headers={"host": "third.lab.org"}).status_code == 403
    monkeypatch.delenv("SL_UI_NAMES")
    assert client("0.0.0.0").post("/graphql", headers={"host": "third.lab.org"}).status_code == 200


@pytest.mark.parametrize("option", ["--host", "-h"])
def test_either_form_of_the_address_is_read(option: str) -> None:
    assert listens_on(["dagster-webserver", option, "0.0.0.0", "-p", "3000"]) == "0.0.0.0"
    assert listens_on(["dagster-webserver", "-p", "3000"]) == "127.0.0.1"
