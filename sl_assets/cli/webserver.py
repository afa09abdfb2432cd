"""Dagster's web server, which answers pages of its own and programs, but no page of another site.

Whoever reaches the UI may launch what it launches, and a browser reaches it for any page that is open in it: Dagster
runs a mutation for an address in an image (``/graphql?query=mutation...``), asked by no one but that page. So what a
browser sends on behalf of another site is refused, and so are names of this machine that are not its own, by which
another site can make itself appear to be this one (DNS rebinding).

Run as ``python -m sl_assets.cli.webserver`` in place of ``python -m dagster_webserver``; imports Dagster's web server.
"""

import os
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

NAMES = "SL_UI_NAMES"
"""Variable with the names by which browsers may reach the UI, comma-separated, beside those of this machine itself."""

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class OwnPagesOnly:
    """Passes on to ``app`` what no page of another site has asked for.

    Args:
        app: what answers the rest.
        names: names in the browser's address line under which this is reached; None for any.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] | None) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with 403 and a line that says why."""
        if scope["type"] not in ("http", "websocket") or not (problem := self._problem(scope)):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose(code=1008, reason=problem)(scope, receive, send)
        else:
            await PlainTextResponse(problem, status_code=403)(scope, receive, send)

    def _problem(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        name = urlsplit(f"//{host}").hostname or ""
        if self._names is not None and name not in self._names:
            return f"{name} is no name of this UI: set {NAMES}={name} where it is started, if it is"
        is_graphql = scope["path"].rstrip("/").endswith("/graphql")
        if is_graphql and scope.get("method") == "GET" and b"query=" in scope["query_string"]:
            return "GraphQL is asked by POST: an address alone would do for a page of another site"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return f"asked by a page of {origin}, which is not this UI"
        # A link on another page may lead here; it may do nothing more.
        is_followed = headers.get("sec-fetch-mode") == "navigate" and scope.get("method") == "GET"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not is_followed:
            return "asked by a page of another site"
        return None


def names_of(host: str) -> frozenset[str] | None:
    """Names under which a UI that listens on ``host`` is reached; None where only its network knows."""
    more = frozenset(name.strip().lower() for name in os.environ.get(NAMES, "").split(",") if name.strip())
    if host in LOOPBACK:
        return LOOPBACK | more
    return more | LOOPBACK | {host} if more else None


def listens_on(arguments: list[str]) -> str:
    """The address that Dagster's command is told to listen on."""
    said = next((option for option in ("--host", "-h") if option in arguments), None)
    return arguments[arguments.index(said) + 1] if said else "127.0.0.1"


def main() -> None:
    """Dagster's command, with the guard before its application."""
    import sys

    from dagster_webserver.cli import main as dagster_webserver
    from dagster_webserver.webserver import DagsterWebserver

    guard = Middleware(OwnPagesOnly, names=names_of(listens_on(sys.argv)))
    theirs = DagsterWebserver.build_middleware
    DagsterWebserver.build_middleware = lambda self: [guard, *theirs(self)]  # type: ignore[method-assign]
    dagster_webserver()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
