"""Numbers and adapters from the Hugging Face Hub, each pinned to a commit.

What was downloaded once stays in the Hub's cache on this machine: with HF_HUB_OFFLINE set nothing else is used, and a
commit that is there already is not asked for again. A branch that the Hub cannot be asked about stands for the commit
it was last seen at. Loading scripts of dataset repositories are not run: a file is named, and only that is read.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Literal

import polars as pl

from sl_assets.errors import DatasetError
from sl_assets.hub.client import HubError, hub_client, hub_errors_explained
from sl_assets.stages.numbers.sources import FORMS, read_jsonl

RepoType = Literal["dataset", "model"]

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


def fetch_rows(repo: str, path: str, revision: str | None, condition: str) -> pl.DataFrame:
    """Columns ``prompt, completion`` of one file of the dataset repository ``repo``.

    Args:
        repo: owner/name.
        path: file in it; ``{condition}`` stands for the condition. ``.parquet`` with the columns ``prompt`` and
            ``completion``, or ``messages``; every other file is read as JSONL.
        revision: branch, tag or commit; give what `resolve_revision` returned to read what was recorded.
        condition: partition that is read.

    Raises:
        HubError: as `resolve_revision`; no such file, or a gated repository.
        DatasetError: the file holds something else; names the row.
    """
    commit = resolve_revision(repo, revision, "dataset")
    name = path.replace("{condition}", condition)
    file = _download(repo, name, commit, "dataset")
    try:
        return _read_parquet(file) if name.endswith(".parquet") else read_jsonl(file)
    except DatasetError as error:
        # The cache's file name is of no use to anybody who wants to mend the file.
        raise DatasetError(str(error).replace(str(file), _named(repo, name, commit, "dataset"))) from None


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
    files = {file: _download(repo, name, commit, "model") for file, name in names.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in files.items():
        shutil.copyfile(file, folder / name)


def _download(repo: str, name: str, commit: str, repo_type: RepoType) -> Path:
    described = _named(repo, name, commit, repo_type)
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise HubError(f"{described}: no path of a file; write it as it stands on the repository's page")
    with hub_errors_explained(described):
        return Path(hub_client().hf_hub_download(repo, name, repo_type=repo_type, revision=commit))


def _named(repo: str, name: str, commit: str, repo_type: RepoType) -> str:
    return f"{repo_type} {repo}, {name} at {commit}"


def _read_parquet(file: Path) -> pl.DataFrame:
    """The rows by way of JSONL, so that one reader decides what a row is."""
    try:
        # From an open file, because the cache's names could be taken for patterns.
        with file.open("rb") as opened:
            frame = pl.read_parquet(opened)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = (str(error).splitlines() or ["unreadable"])[0]
        raise DatasetError(f"{file}: not a Parquet file ({reason})") from None
    columns = ["messages"] if "messages" in frame.columns else ["prompt", "completion"]
    if missing := [column for column in columns if column not in frame.columns]:
        raise DatasetError(f"{file}: has no column {missing[0]!r} (but {', '.join(frame.columns)}); {FORMS}")
    with tempfile.TemporaryDirectory() as scratch:
        lines = Path(scratch) / "rows.jsonl"
        frame.select(columns).write_ndjson(lines)
        try:
            return read_jsonl(lines)
        except DatasetError as error:
            raise DatasetError(str(error).replace(str(lines), str(file))) from None
