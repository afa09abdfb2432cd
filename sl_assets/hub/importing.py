"""Numbers and adapters from the Hugging Face Hub, each pinned to a commit.

What was downloaded once stays in the Hub's cache on this machine: with HF_HUB_OFFLINE set nothing else is used, and a
commit that is there already is not asked for again. A branch that the Hub cannot be asked about stands for the commit
it was last seen at. Loading scripts of dataset repositories are not run: a file is named, and only that is fetched.
"""

import shutil
from pathlib import Path
from typing import Literal, NamedTuple

from sl_assets.hub.client import Bar, HubError, hub_client, hub_errors_explained

RepoType = Literal["dataset", "model"]


class Repository(NamedTuple):
    """A repository of the Hub at a branch, a tag or a commit; no revision is the main branch."""

    kind: RepoType
    repo: str
    revision: str | None

    @property
    def name(self) -> str:
        """What its commit is remembered by; of a model, what an experiment file calls it."""
        at = f"@{self.revision}" if self.revision else ""
        return f"{'datasets/' if self.kind == 'dataset' else ''}{self.repo}{at}"

    def resolve(self) -> str:
        """The commit it is now; see `resolve_revision`."""
        return resolve_revision(self.repo, self.revision, self.kind)


ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def resolve_revision(repo: str, revision: str | None, repo_type: RepoType) -> str:
    """The full commit hash that ``revision`` (a branch, a tag or a commit; None is the main branch) stands for.

    A full hash is returned as it is, without asking the Hub.

    Raises:
        HubError: no such repository or revision, no access, or no connection and nothing in the cache; in one line.
    """
    with hub_errors_explained(f"{repo_type} {repo} at {revision or 'main'}"):
        found = hub_client().resolve_revision(repo, repo_type=repo_type, revision=revision)
    return str(found.resolved)


def fetch_file(repo: str, path: str, commit: str, repo_type: RepoType) -> Path:
    """The file ``path`` of ``repo`` at ``commit``, in the Hub's cache.

    Raises:
        HubError: as `resolve_revision`; no such file, or a gated repository.
    """
    described = file_name(repo, path, commit, repo_type)
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise HubError(f"{described}: no path of a file; write it as it stands on the repository's page")
    with hub_errors_explained(described):
        return Path(hub_client().hf_hub_download(repo, path, repo_type=repo_type, revision=commit, tqdm_class=Bar))


def file_name(repo: str, path: str, commit: str, repo_type: RepoType) -> str:
    """What to call such a file before a user, who knows nothing of the cache."""
    return f"{repo_type} {repo}, {path} at {commit}"


def fetch_adapter(repo: str, path: str, revision: str | None, folder: Path) -> None:
    """Copy the PEFT adapter in the folder ``path`` (empty for the root) of the model repository ``repo``.

    Args:
        repo: owner/name.
        path: folder in it.
        revision: branch, tag or commit; both files come from one commit.
        folder: gets ``adapter_config.json`` and ``adapter_model.safetensors``, or is left as it is.

    Raises:
        HubError: as `resolve_revision`; or one of the two files is not there.
    """
    commit = resolve_revision(repo, revision, "model")
    inside = path.strip("/")
    names = {file: f"{inside}/{file}" if inside else file for file in ADAPTER_FILES}
    files = {file: fetch_file(repo, name, commit, "model") for file, name in names.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in files.items():
        shutil.copyfile(file, folder / name)
