"""Whether anybody answers where a lake on S3 is: its client would try for minutes before it says that nobody does."""

import socket
from urllib.parse import urlsplit
from urllib.request import getproxies

from sl_assets.errors import PassingError
from sl_assets.lake.lake import Lake

SECONDS_TO_ANSWER = 5.0


def require_answer(lake: Lake) -> None:
    """Knock once at the server of ``lake``, if it has one.

    Raises:
        PassingError: nobody opens.
    """
    # Behind a proxy the server itself need not be within reach.
    if lake.local or getproxies():
        return
    lake.root.fs.connect()
    address = lake.root.fs.s3.meta.endpoint_url
    parts = urlsplit(address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname, port), SECONDS_TO_ANSWER).close()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise PassingError(
            f"SL_DATA_LAKE = {str(lake.root)!r}: nobody answers at {address} ({reason}); try again when somebody does, "
            "or set SL_DATA_LAKE to another place"
        ) from None
