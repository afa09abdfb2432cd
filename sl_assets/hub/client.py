"""A client of the Hugging Face Hub, and each of its failures in one line that names the fix.

The token comes from HF_TOKEN and from nowhere else: no token file, no log-in of this machine. No message holds it.
Uploads and downloads of large files may go by way of the Hub's Xet storage, which the client library decides.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from sl_assets.errors import PassingError, SlAssetsError
from sl_assets.liveness import alive

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

TOKENS = "https://huggingface.co/settings/tokens"
LONGEST_REASON = 200


class HubError(SlAssetsError):
    """The Hub, or the way to it, does not give what was asked for."""


class HubUnavailableError(HubError, PassingError):
    """The Hub cannot be reached, or cannot answer now."""


def hub_token() -> str | None:
    """The token in HF_TOKEN, if there is one.

    Raises:
        HubError: it holds something that no HTTP header can; a client would print it in its own error.
    """
    token = os.environ.get("HF_TOKEN", "").strip()
    if token and not re.fullmatch(r"[!-~]+", token):
        raise HubError(f"HF_TOKEN is no token: it holds spaces or special characters; copy it anew from {TOKENS}")
    return token or None


def hub_client() -> "HfApi":
    """A client with the token of HF_TOKEN, or an anonymous one.

    Raises:
        HubError: HF_TOKEN is no token.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    # False, not None: that would look for a token file.
    return HfApi(token=hub_token() or False, library_name="sl_assets")


@contextmanager
def hub_errors_explained(what: str) -> Iterator[None]:
    """Turn what the client raises into a `HubError` that begins with ``what``; for calls of the client only."""
    try:
        yield
    except SlAssetsError:
        raise
    except Exception as error:
        # Errors of many kinds come from here, those of the transfer library among them. The original is left behind
        # on purpose: requests, and with them the token, hang on it.
        kind = HubUnavailableError if _may_pass(error) else HubError
        raise kind(f"{what}: {_reason(error)}") from None


def _may_pass(error: BaseException) -> bool:
    """Whether another try may succeed: no connection, or an answer that says so."""
    import httpx
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError | errors.RevisionResolutionError) and error.__cause__:
        return _may_pass(error.__cause__)
    if isinstance(error, errors.HfHubHTTPError):
        return error.response.status_code >= 500 or error.response.status_code in (408, 412, 429)
    return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol)


def _reason(error: BaseException) -> str:
    import httpx
    from huggingface_hub import constants, errors

    # These two only say that nothing was found; why, says what they were raised from.
    if isinstance(error, errors.LocalEntryNotFoundError | errors.RevisionResolutionError) and error.__cause__:
        return _reason(error.__cause__)
    page = constants.ENDPOINT
    # From the particular to the general: the first that fits counts.
    known: dict[type[BaseException], str] = {
        errors.OfflineModeIsEnabled: "not in the cache, and HF_HUB_OFFLINE is set: unset it to ask the Hub",
        errors.GatedRepoError: f"gated: accept the conditions on its page at {page}, and set HF_TOKEN of that account",
        errors.RevisionNotFoundError: "no such revision: name a branch, a tag or a full commit hash of the repository",
        errors.RemoteEntryNotFoundError: "no such file: check the path and the revision",
        errors.HFValidationError: "no name of a repository: write owner/name, in letters, digits, '-', '_' and '.'",
        httpx.TransportError: f"no connection to {page}: check the network and HF_ENDPOINT",
    }
    for kind, text in known.items():
        if isinstance(error, kind):
            return text
    if isinstance(error, errors.HfHubHTTPError):
        return _refusal(error)
    if isinstance(error, OSError):
        return f"{(error.strerror or _first_line(error)).lower()}; mend that, or set HF_HOME to another place"
    return f"{type(error).__name__}: {_first_line(error)}"


def _refusal(error: "HfHubHTTPError") -> str:
    from huggingface_hub import errors

    status = error.response.status_code
    with_token = hub_token() is not None
    if status == 401 and with_token:
        return f"HF_TOKEN is refused (401): make a new token at {TOKENS}"
    if status == 401 or isinstance(error, errors.RepositoryNotFoundError):
        account = "give HF_TOKEN's account access" if with_token else "set HF_TOKEN"
        return f"no such repository, or no access ({status}): check the name and the kind of repository, or {account}"
    if status >= 500:
        return f"the Hub cannot answer now ({status}): try again later"
    known = {
        403: f"refused (403): HF_TOKEN needs the right to do this; change its permissions at {TOKENS}",
        412: "changed by someone else meanwhile (412): try again",
        429: "too many requests (429): try again later",
    }
    return known.get(status, f"the Hub says {status}: {_first_line(error.server_message or error)}")


def _first_line(error: object) -> str:
    # Before anything is cut off: half a token would not be found any more.
    lines = _without_token(str(error)).strip().splitlines()
    return lines[0][:LONGEST_REASON] if lines else type(error).__name__


def _without_token(text: str) -> str:
    token = hub_token()
    return text.replace(token, "***") if token else text


class Bar(tqdm):  # type: ignore[type-arg]
    """How far a download is, on terminals only: a log would have a line for every stroke."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings | {"disable": None})

    def update(self, n: float | None = 1) -> bool | None:
        """A download that goes on is a sign of life."""
        alive()
        return super().update(n)
