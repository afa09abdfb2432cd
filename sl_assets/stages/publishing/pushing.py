"""Datasets and adapters to the Hugging Face Hub: one repository each, one commit with data and card.

The token comes from HF_TOKEN and the owner from HF_USER_ID. A repository that exists keeps its visibility and every
file that is not written here. What has not changed makes no commit.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import polars as pl

from sl_assets.errors import DatasetError
from sl_assets.hub.client import TOKENS, HubError, hub_client, hub_errors_explained, hub_token
from sl_assets.hub.importing import ADAPTER_FILES, RepoType
from sl_assets.lake.parquet import parquet_bytes
from sl_assets.stages.publishing.cards import DATA_FILE

CARD = "README.md"


class Published(NamedTuple):
    """Where something was published.

    Attributes:
        commit: full hash of the commit that holds it.
        url: page of the repository.
    """

    commit: str
    url: str


def repository(name: str) -> str:
    """``name`` below the owner in HF_USER_ID.

    Raises:
        HubError: HF_USER_ID is not set.
    """
    owner = os.environ.get("HF_USER_ID", "").strip()
    if not owner:
        raise HubError(f"{name}: HF_USER_ID is not set; set it to the Hub user or organisation that is to own it")
    return f"{owner}/{name}"


def publish_dataset(repo_id: str, data: pl.DataFrame | Path, card: str, private: bool = True) -> Published:
    """Commit ``data`` (a frame, or a Parquet file) and its card to the dataset repository ``repo_id``.

    Args:
        repo_id: owner/name; made if it does not exist.
        data: what becomes the split ``train``.
        card: content of README.md, front matter included.
        private: visibility of a repository that is made; one that exists keeps its own.

    Raises:
        HubError: no token, a token that is refused, a card that the Hub refuses, no connection; in one line.
    """
    content = parquet_bytes(data) if isinstance(data, pl.DataFrame) else data
    return _publish(repo_id, "dataset", {DATA_FILE: content}, card, private)


def publish_adapter(repo_id: str, folder: Path, card: str, private: bool = True) -> Published:
    """Commit every file of the PEFT adapter in ``folder`` and its card to the model repository ``repo_id``.

    Args:
        repo_id: owner/name; made if it does not exist.
        folder: holds ``adapter_config.json`` and ``adapter_model.safetensors``; a README.md in it is left out.
        card: content of README.md, front matter included.
        private: visibility of a repository that is made; one that exists keeps its own.

    Raises:
        DatasetError: the folder holds no adapter.
        HubError: as `publish_dataset`.
    """
    if missing := [name for name in ADAPTER_FILES if not (folder / name).is_file()]:
        raise DatasetError(f"{folder}: no adapter, {missing[0]} is not there; materialise it again")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    contents = {path.relative_to(folder).as_posix(): path for path in files}
    contents.pop(CARD, None)
    return _publish(repo_id, "model", contents, card, private)


def _publish(
    repo_id: str, repo_type: RepoType, contents: Mapping[str, bytes | Path], card: str, private: bool
) -> Published:
    from huggingface_hub import CommitOperationAdd, is_offline_mode

    what = f"{repo_type} {repo_id}"
    if is_offline_mode():
        raise HubError(f"{what}: HF_HUB_OFFLINE is set; unset it to publish")
    token = hub_token()
    if token is None:
        raise HubError(f"{what}: HF_TOKEN is not set; make a token that may write at {TOKENS} and put it into .env")
    if token in card:
        raise HubError(f"{what}: its card holds HF_TOKEN; take it out of the experiment file and make a new token")
    client = hub_client()
    page = f"{client.endpoint}/{'datasets/' if repo_type == 'dataset' else ''}{repo_id}"
    with hub_errors_explained(what):
        if not client.repo_exists(repo_id, repo_type=repo_type):
            # Someone else may be making it right now: that is as good.
            client.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True)
        operations = [CommitOperationAdd(name, content) for name, content in contents.items()]
        operations.append(CommitOperationAdd(CARD, card.encode()))
        # Files that are there already are left out; where all are, this is the head that there is.
        done = client.create_commit(repo_id, operations, commit_message="Publish data and card", repo_type=repo_type)
    return Published(str(done.oid), page)
