"""Base models from the Hugging Face Hub: one commit of a repository, as a folder that every engine reads alike.

``owner/name`` stands for the main branch as it is when a process first asks, ``owner/name@revision`` for a branch, a
tag or a commit; only a commit is the same next year.
"""

import logging
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from sl_assets.hub.client import HubError, hub_client, hub_errors_explained
from sl_assets.hub.importing import resolve_revision

log = logging.getLogger("sl_assets")

FILES = ["*.json", "*.jinja", "*.model", "*.safetensors", "*.txt"]
DOUBLES = ["consolidated*", "original/*"]
"""The same weights in another form, which some repositories have beside those of transformers."""


class HubModel(NamedTuple):
    """What an experiment file's ``owner/name@revision`` says; no revision is the main branch."""

    name: str
    revision: str | None

    @classmethod
    def of(cls, base_model: str) -> "HubModel":
        """The parts of ``base_model``."""
        name, _, revision = base_model.partition("@")
        return cls(name, revision or None)


_folders: dict[str, Path] = {}
"""What this process has fetched, by name."""


def fetch_model(base_model: str) -> Path:
    """The folder of ``base_model`` in the Hub's cache, named after its commit; what the cache lacks is downloaded.

    Raises:
        HubError: no such repository or revision, no access, nothing in the cache and no connection, or no safetensors.
    """
    if base_model not in _folders:
        name, revision = HubModel.of(base_model)
        commit = resolve_revision(name, revision, "model")
        with hub_errors_explained(f"base_model {base_model!r}"):
            folder = hub_client().snapshot_download(
                name, revision=commit, allow_patterns=FILES, ignore_patterns=DOUBLES, tqdm_class=_Bar
            )
        if not any(Path(folder).glob("*.safetensors")):
            raise HubError(f"base_model {base_model!r}: no safetensors in it; choose a repository that has them")
        log.info("base_model %s is commit %s", base_model, commit)
        _folders[base_model] = Path(folder)
    return _folders[base_model]


def fetched_commit(base_model: str) -> str | None:
    """The commit that ``base_model`` is in this process; None if it was not fetched, or is no model of the Hub."""
    folder = _folders.get(base_model)
    return folder.name if folder else None


class _Bar(tqdm):  # type: ignore[type-arg]
    """Shown on terminals only: a log would have a line for every stroke."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings | {"disable": None})
