"""Brings a lake that version 0.1 wrote to today's form: lineage files and footers become records.

Nothing is made again for that, and nothing is called fresh that cannot be shown to be: settings are those that were
noted, a local model has to be the one whose fingerprint was noted, an imported file one of those noted. The lineage
files stay until they are pruned.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
from upath import UPath

from sl_assets.config import JsonlSource
from sl_assets.engines.transformers.models import POCKET_FOLDER, local_folder, model_setting
from sl_assets.lake.fingerprint import bytes_digest, digest, file_digest
from sl_assets.lake.folders import MANIFEST
from sl_assets.lake.lake import Lake
from sl_assets.lake.parquet import DATA, VERSION_KEY
from sl_assets.lake.pins import pin
from sl_assets.lake.places import Place
from sl_assets.lake.records import Record, settings_digest
from sl_assets.lake.tables import keys_of

LINEAGE, MIGRATED = "lineage", "migrated.json"
"""Folder of an experiment's lineage files, and what it holds once they have become records."""

OPENAI = "https://api.openai.com/v1"
"""The server that version 0.1 did not note; other servers' models are taken for another's, and so for stale."""

UNKNOWN = "another, or changed since"


def unmigrated(lake: Lake) -> list[str]:
    """Experiments in ``lake`` that version 0.1 made."""
    with lake.errors_explained(lake.root, "read"):
        folders = [folder / LINEAGE for folder in lake.folders(lake.root, "experiment=")]
        new = [folder for folder in folders if not (folder / MIGRATED).exists()]
        old = [folder for folder in new if _lineage_files(lake, folder)]
    return [folder.parent.name.removeprefix("experiment=") for folder in old]


def _lineage_files(lake: Lake, folder: UPath) -> list[UPath]:
    files = [file for asset in lake.folders(folder, "asset=") for file in asset.iterdir()]
    return sorted(file for file in files if file.suffix == ".parquet")


def migrate(lake: Lake) -> int:
    """Write the records of what version 0.1 made; returns how many."""
    return sum(_migrate(lake, name) for name in unmigrated(lake) if name != "_schema")


def _migrate(lake: Lake, experiment: str) -> int:
    folder = lake.root / f"experiment={experiment}" / LINEAGE
    rows = pl.concat(pl.read_parquet(io.BytesIO(file.read_bytes())) for file in _lineage_files(lake, folder))
    written, key = 0, ["asset", "partition", "data_version"]
    noted: dict[tuple[str, str | None, str], dict[str, str]] = {}
    for row in rows.sort("finished_at").unique(key, keep="last").sort("finished_at").to_dicts():
        place = Place(experiment, row["asset"], row["partition"])
        record = _record(place, row, _manifest(lake.path(place)).get("previous"))
        record = replace(record, behind=_behind(noted, record))
        # The row of what is there, among those of all that has been there.
        if _version_there(lake, place) != row["data_version"] or lake.exists(place):
            continue
        manifest = _manifest(lake.path(place))
        if manifest:
            inside = lake.path(place) / row["data_version"] / MANIFEST
            lake.write_file(inside, json.dumps({"sha256": manifest["sha256"]}, indent=1).encode())
        _keep_commit(lake, record)
        lake.write_record(record)
        written += 1
    lake.write_file(folder / MIGRATED, json.dumps({"records": written}).encode())
    return written


def _behind(noted: dict[tuple[str, str | None, str], dict[str, str]], record: Record) -> dict[str, str]:
    """Settings of everything that led to ``record``; its own and these are ``noted`` for what is made of it."""
    found: dict[str, str] = {}
    for parent, version in record.parents.items():
        found |= noted.get((parent.table, parent.partition, version), {})
    own = {record.place.table: settings_digest(record.code_version, record.settings)}
    noted[record.place.table, record.place.partition, record.data_version] = found | own
    return found


def _keep_commit(lake: Lake, record: Record) -> None:
    """A commit that was noted is what the model's name stands for in this lake; the first that is found decides."""
    if commit := record.model_commit:
        pin(lake, record.settings["base_model"]["repository"], lambda: commit)


def _version_there(lake: Lake, place: Place) -> str | None:
    folder = lake.path(place)
    if (folder / DATA).exists():
        return pl.read_parquet_metadata(io.BytesIO((folder / DATA).read_bytes())).get(VERSION_KEY)
    if manifest := _manifest(folder):
        return str(manifest["data_version"])
    picture = lake.picture(place)
    return bytes_digest(picture.read_bytes()) if picture.exists() else None


def _manifest(folder: UPath) -> dict[str, Any]:
    file = folder / MANIFEST
    return dict(json.loads(file.read_text())) if file.exists() else {}


def _record(place: Place, row: Mapping[str, Any], replaced: str | None) -> Record:
    noted: dict[str, Any] = json.loads(row["config"])
    commit = noted.pop("base_model_commit", None)
    settings: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    for name, value in noted.items():
        if name == "base_model":
            name_of_model, fingerprint = value
            openai = noted.get("sampler.engine") == "openai"
            settings[name] = _model(name_of_model, fingerprint, commit, openai)
        elif name == "personas" and isinstance(value, list):
            settings[name], fingerprint = value
            settings["personas.judge.base_model"] = _model(settings[name]["judge"]["base_model"], fingerprint, None)
        elif name == "numbers" and isinstance(value, list):
            settings[name], files = value
            inputs["file"] = _file(settings[name]["source"], str(place.partition), files)
        else:
            settings[name] = value
    return Record(
        place,
        row["data_version"],
        code_version=row["code_version"].partition(".")[0],
        settings=settings,
        inputs=inputs,
        parents={Place(place.experiment, p["asset"], p["partition"]): p["data_version"] for p in row["parents"]},
        run_id=row["run_id"],
        started=row["finished_at"] - timedelta(seconds=row["seconds"]),
        finished=row["finished_at"],
        seconds=row["seconds"],
        engine=row["engine"],
        replaced=replaced,
    )


def _model(name: str, fingerprint: str | None, commit: str | None, openai: bool = False) -> dict[str, Any]:
    if openai:
        return {"model": name, "base_url": OPENAI}
    if fingerprint is None and local_folder(name) is None:
        return {"repository": name, "commit": commit}
    folder = local_folder(name)
    same = folder is not None and fingerprint == _old_fingerprint(folder)
    return model_setting(name) if same else {"name": name, "content": UNKNOWN}


def _old_fingerprint(folder: Path) -> str:
    """What version 0.1 told a local model by: the pocket's weights, else names, sizes and times of the weights."""
    if folder == POCKET_FOLDER:
        return file_digest(folder / "model.safetensors")
    states = [(path.name, path.stat()) for path in sorted(folder.glob("*.safetensors"))]
    return digest([(name, state.st_size, state.st_mtime_ns) for name, state in states])


def _file(source: Mapping[str, Any], partition: str, noted: list[str | None]) -> str:
    """The file's fingerprint, if it is one of those ``noted`` for all conditions together."""
    file = JsonlSource.model_validate(source).file(keys_of(partition)[0])
    found = file_digest(file) if file.is_file() else None
    return found if found and found in noted else UNKNOWN
