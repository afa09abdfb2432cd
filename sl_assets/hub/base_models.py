"""Base models from the Hugging Face Hub: one commit of a repository, as a folder that every engine reads alike.

``owner/name`` stands for the main branch, ``owner/name@revision`` for a branch, a tag or a commit. What a branch or tag
was when a lake first asked is kept there (`sl_assets.lake.pins`), so that no experiment mixes two states of a model.
"""

import logging
from pathlib import Path
from typing import NamedTuple

from sl_assets.hub.client import Bar, HubError, hub_client, hub_errors_explained
from sl_assets.hub.importing import resolve_revision

log = logging.getLogger("sl_assets")

FILES = ["*.json", "*.jinja", "*.model", "*.safetensors", "*.txt"]
DESCRIBING = [name for name in FILES if "safetensors" not in name]
"""Of these, those that hold no weights."""

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

_commits: dict[str, str] = {}
"""What names that can move are to stand for in this process."""


def use_commit(base_model: str, commit: str) -> None:
    """From now on ``base_model`` is ``commit`` in this process, whatever its branch has come to."""
    if _commits.get(base_model) != commit:
        _folders.pop(base_model, None)
    _commits[base_model] = commit


def fetch_model(base_model: str) -> Path:
    """The folder of ``base_model`` in the Hub's cache, named after its commit; what the cache lacks is downloaded.

    Raises:
        HubError: no such repository or revision, no access, nothing in the cache and no connection, or no safetensors.
    """
    if base_model not in _folders:
        folder = _snapshot(base_model, FILES)
        if not any(folder.glob("*.safetensors")):
            raise HubError(f"base_model {base_model!r}: no safetensors in it; choose a repository that has them")
        log.info("base_model %s is commit %s", base_model, folder.name)
        _folders[base_model] = folder
    return _folders[base_model]


def fetched_model(base_model: str) -> Path | None:
    """The folder of ``base_model`` if this process has fetched it already."""
    return _folders.get(base_model)


def fetch_description(base_model: str) -> Path:
    """A folder with everything of ``base_model`` but its weights: configuration, tokenizer and chat template.

    Raises:
        HubError: as `fetch_model`, which downloads gigabytes.
    """
    return _folders.get(base_model) or _snapshot(base_model, DESCRIBING)


def cached_description(base_model: str) -> Path | None:
    """As `fetch_description`, of what the Hub's cache has; None where that is no tokenizer. The Hub is not asked."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    name, revision = HubModel.of(base_model)
    try:
        folder = hub_client().snapshot_download(
            name, revision=_commits.get(base_model) or revision, allow_patterns=DESCRIBING, local_files_only=True
        )
    except LocalEntryNotFoundError:
        return None
    return Path(folder) if (Path(folder) / "tokenizer_config.json").is_file() else None


def _snapshot(base_model: str, files: list[str]) -> Path:
    name, revision = HubModel.of(base_model)
    commit = _commits.get(base_model) or resolve_revision(name, revision, "model")
    with hub_errors_explained(f"base_model {base_model!r}"):
        folder = hub_client().snapshot_download(
            name, revision=commit, allow_patterns=files, ignore_patterns=DOUBLES, tqdm_class=Bar
        )
    return Path(folder)


def pinned_name(base_model: str) -> str:
    """``base_model`` at the commit that this process takes for it, for a process that knows nothing of that."""
    commit = _commits.get(base_model)
    return f"{HubModel.of(base_model).name}@{commit}" if commit else base_model
