"""Pins: the commit that a name on the Hugging Face Hub stands for in this lake.

A branch moves on, and so does what ``owner/name`` means. The first time a lake needs such a name it is resolved, and
the commit is kept in ``<root>/.pins``; from then on everything in this lake means that commit, until the pin is
dropped.
"""

import json
from collections.abc import Callable

from upath import UPath

from sl_assets.errors import LakeError
from sl_assets.lake.fingerprint import digest
from sl_assets.lake.lake import Lake

PINS = ".pins"


def pinned(lake: Lake, name: str) -> str | None:
    """The commit that ``name`` (``owner/name``, perhaps ``@revision``) stands for; None while nothing has needed it."""
    file = lake.root / PINS / f"{digest(name)}.json"
    try:
        return _read(lake, file)["commit"]
    except FileNotFoundError:
        return None


def pin(lake: Lake, name: str, resolve: Callable[[], str]) -> str:
    """The commit that ``name`` stands for, resolved and kept if nothing has needed it before."""
    if known := pinned(lake, name):
        return known
    file = lake.root / PINS / f"{digest(name)}.json"
    content = json.dumps({"name": name, "commit": resolve()}).encode()
    # Of two who resolve it at once, the first decides.
    lake.put_once(file, content)
    return pinned(lake, name) or ""


def pins(lake: Lake) -> dict[str, str]:
    """Every commit by name."""
    folder = lake.root / PINS
    with lake.errors_explained(folder, "read"):
        found = [_read(lake, file) for file in folder.iterdir()] if folder.exists() else []
    return {pin["name"]: pin["commit"] for pin in sorted(found, key=lambda pin: pin["name"])}


def _read(lake: Lake, file: UPath) -> dict[str, str]:
    try:
        found = json.loads(lake.read(file))
        return {"name": str(found["name"]), "commit": str(found["commit"])}
    except (ValueError, KeyError, TypeError):
        raise LakeError(f"{file}: no pin that can be read; delete it, and the name is resolved again") from None


def unpin(lake: Lake, name: str) -> None:
    """Forget what ``name`` stands for: what was made of it is stale, and the next run takes what it is then."""
    file = lake.root / PINS / f"{digest(name)}.json"
    with lake.errors_explained(file, "read"):
        file.unlink(missing_ok=True)
