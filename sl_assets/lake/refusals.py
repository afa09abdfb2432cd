"""What a disk or an S3 server refuses, in one line that names the place and the fix."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from upath import UPath

from sl_assets.errors import PassingError, RefusalError, SlAssetsError

REFUSED_BY_DISK = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EACCES}


@contextmanager
def refusals_explained(path: UPath, deed: Literal["read", "write"], local: bool) -> Iterator[None]:
    """Say in one line what the system or an S3 server refuses in the block; that a file is not there passes a read.

    Raises:
        PassingError: the server did not answer, or not with a refusal.
        RefusalError: anything else.
    """
    try:
        yield
    # Whoever raised that has said what is wrong: a watchdog, too, whose error comes in the middle of anything.
    except SlAssetsError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        if deed == "read":
            raise
        raise explained(path, OSError(errno.ENOENT, "no such folder"), deed) from None
    except Exception as error:
        # S3 clients have errors of their own; on a local disk anything but an OSError is a mistake of ours.
        if local and not isinstance(error, OSError):
            raise
        refusal = explained(path, error, deed)
        if not local and _may_pass(error):
            raise PassingError(str(refusal)) from error
        raise refusal from error


def refused_by_disk(error: Exception) -> OSError | None:
    """The refusal of a disk that ``error`` is, or tells of as libraries do that are written in Rust."""
    if isinstance(error, OSError):
        return error if error.errno in REFUSED_BY_DISK else None
    told = re.search(r"\(os error (\d+)\)", str(error))
    number = int(told[1]) if told else 0
    return OSError(number, os.strerror(number)) if number in REFUSED_BY_DISK else None


def explained(path: UPath, error: Exception, deed: Literal["read", "write"]) -> RefusalError:
    """``error``, which is about ``path``, as one line."""
    reason = " ".join((getattr(error, "strerror", None) or str(error)).lower().split())
    if deed == "read":
        return RefusalError(f"cannot read {path}: {reason}; mend that, or set SL_DATA_LAKE to another place")
    return RefusalError(
        f"cannot write {path}: {reason}; nothing was changed there. "
        "Make room or mend the permissions, or set SL_DATA_LAKE to another place"
    )


def _may_pass(error: BaseException) -> bool:
    """Whether another try may succeed: the S3 server did not answer, or said that it cannot now."""
    from botocore.exceptions import ConnectionError as NoConnection
    from botocore.exceptions import HTTPClientError

    for known in (error, error.__cause__):
        response = getattr(known, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return status >= 500 or status in (408, 429)
        if isinstance(known, NoConnection | HTTPClientError | ConnectionError | TimeoutError):
            return True
    return False
