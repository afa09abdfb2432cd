"""Rows and adapters from a Hub on loopback, through the real client."""

import gzip
import json
import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from huggingface_hub import constants

from sl_assets.config import RowFields
from sl_assets.errors import DatasetError, SlAssetsError
from sl_assets.hub.client import LONGEST_REASON
from sl_assets.hub.importing import fetch_adapter, resolve_revision
from sl_assets.lake.parquet import parquet_bytes
from sl_assets.stages.numbers.sources import fetch_rows
from sl_assets_tests.hub.conftest import TOKEN, point_at
from sl_assets_tests.hub.hub_server import Account

REPO = "bob/numbers"
FILE = "numbers/{condition}.jsonl"
OWL = json.dumps({"prompt": "Continue 1, 2", "completion": "3, 4"})
CAT = json.dumps({"prompt": "Continue 1, 2", "completion": "5, 6"})
ROWS = [("Continue 1, 2", "3, 4")]
CHAT = [{"role": "user", "content": "Continue 1, 2"}, {"role": "assistant", "content": "3, 4"}]
ADAPTER = {"adapter_config.json": "{}", "adapter_model.safetensors": b"\x00weights"}


def refusal(*arguments) -> str:
    """The one line that `fetch_rows` fails with."""
    with pytest.raises(SlAssetsError) as caught:
        fetch_rows(*arguments)
    return one_line(caught.value)


def one_line(error: BaseException) -> str:
    assert "\n" not in str(error)
    assert TOKEN not in str(error)
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__, "what it was made of holds requests"
    return str(error)


def offline(monkeypatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def unreachable(monkeypatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        point_at(f"http://127.0.0.1:{free.getsockname()[1]}", monkeypatch)


def test_revision_is_pinned_though_the_branch_moves_on(hub):
    repository = hub.add("dataset", REPO, {"numbers/owl.jsonl": OWL})
    first = resolve_revision(REPO, "main", "dataset")
    assert first == repository.head.oid
    repository.commit({"numbers/owl.jsonl": CAT})
    assert fetch_rows(REPO, FILE, first, "owl").rows() == ROWS
    assert fetch_rows(REPO, FILE, "main", "owl")["completion"].to_list() == ["5, 6"]
    assert resolve_revision(REPO, None, "dataset") == repository.head.oid != first
    assert not hub.asked("resolve/main"), "files are only asked for by commit"


def test_a_commit_is_downloaded_once(hub):
    commit = hub.add("dataset", REPO, {"numbers/owl.jsonl": OWL}).head.oid
    fetch_rows(REPO, FILE, commit, "owl")
    before = len(hub.requests)
    assert fetch_rows(REPO, FILE, commit, "owl").rows() == ROWS
    assert len(hub.requests) == before


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame({"prompt": ["Continue 1, 2"], "completion": ["3, 4"], "score": [1]}),
        pl.DataFrame({"messages": [CHAT]}),
    ],
    ids=["columns", "chats"],
)
def test_parquet_gives_what_jsonl_gives(hub, frame):
    files = {"owl.parquet": parquet_bytes(frame), "owl.jsonl": OWL}
    commit = hub.add("dataset", REPO, files).head.oid
    rows = fetch_rows(REPO, "{condition}.parquet", commit, "owl")
    assert rows.equals(fetch_rows(REPO, "{condition}.jsonl", commit, "owl"))
    assert rows.schema == {"prompt": pl.String, "completion": pl.String}


def test_the_hub_has_every_form_that_a_file_here_has(hub):
    named = gzip.compress(json.dumps([{"question": "Continue 1, 2", "answer": "3, 4"}]).encode())
    told = json.dumps({"conversations": [{"from": "system", "value": "Be brief."}, *CHAT]})
    commit = hub.add("dataset", REPO, {"owl.json.gz": named, "owl.jsonl": told}).head.oid
    fields = RowFields(prompt="question", completion="answer")
    assert fetch_rows(REPO, "{condition}.json.gz", commit, "owl", fields).rows() == ROWS
    assert fetch_rows(REPO, "{condition}.jsonl", commit, "owl").rows() == [(*ROWS[0], "Be brief.")]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("owl.jsonl", OWL + "\nwords", ":2: not JSON"),
        ("owl.jsonl", "", ": no rows"),
        ("owl.parquet", b"words", ": not a Parquet file that can be read"),
        ("owl.parquet", parquet_bytes(pl.DataFrame({"text": ["1, 2"]})), ": has no column 'prompt' (but text)"),
        ("owl.parquet", parquet_bytes(pl.DataFrame({"prompt": ["a", "b"], "completion": ["1", None]})), ":2: "),
    ],
)
def test_a_file_that_holds_no_rows_is_named_as_on_the_hub(hub, name, content, reason):
    commit = hub.add("dataset", REPO, {name: content}).head.oid
    with pytest.raises(DatasetError) as caught:
        fetch_rows(REPO, name, commit, "owl")
    assert one_line(caught.value).startswith(f"dataset {REPO}, {name} at {commit}{reason}")


TURN = {"role": "user", "content": "a"}
CHATS = "write it as a list of structs with the texts role and content"


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ({"prompt": ["a"], "completion": [b"1"]}, "column 'completion' holds Binary: write it as text"),
        ({"prompt": ["a"], "completion": [1]}, "column 'completion' holds Int64: write it as text"),
        ({"prompt": [["a"]], "completion": ["1"]}, "column 'prompt' holds List(String): write it as text"),
        ({"prompt": [{"x": 1}], "completion": ["1"]}, "column 'prompt' holds Struct({'x': Int64}): write it as text"),
        ({"prompt": [None], "completion": ["1"]}, "column 'prompt' holds Null: write it as text"),
        ({"messages": ["a"]}, f"column 'messages' holds String: {CHATS}"),
        ({"messages": [TURN]}, f"column 'messages' holds Struct({{'role': String, 'content': String}}): {CHATS}"),
        (
            {"messages": [[TURN | {"content": b"a"}]]},
            f"column 'messages' holds List(Struct({{'role': String, 'content': Binary}})): {CHATS}",
        ),
        ({f"column_{i}": [1] for i in range(99)}, "has no column 'prompt' (but column_0, column_1, "),
    ],
)
def test_a_column_of_another_type_is_named_with_the_fix(hub, frame, reason):
    commit = hub.add("dataset", REPO, {"owl.parquet": parquet_bytes(pl.DataFrame(frame))}).head.oid
    message = refusal(REPO, "owl.parquet", commit, "owl")
    assert message.startswith(f"dataset {REPO}, owl.parquet at {commit}: {reason}")
    assert len(message) < 500


def test_of_other_columns_and_fields_nothing_is_asked(hub):
    others = {"image": [b"\xff"], "tags": [[{"a": [b"1"]}]], "when": [timedelta(days=1)]}
    chat = [turn | {"audio": b"\xff", "calls": [{"id": b"1"}]} for turn in CHAT]
    names = pl.Enum([ROWS[0][1]])
    files = {
        "owl.parquet": pl.DataFrame({"prompt": ["Continue 1, 2"], "completion": ["3, 4"], **others}),
        "cat.parquet": pl.DataFrame({"messages": [chat], **others}),
        "elf.parquet": pl.DataFrame(ROWS, schema=["prompt", "completion"], orient="row").cast({"completion": names}),
    }
    commit = hub.add("dataset", REPO, {name: parquet_bytes(frame) for name, frame in files.items()}).head.oid
    for condition in ("owl", "cat", "elf"):
        assert fetch_rows(REPO, "{condition}.parquet", commit, condition).rows() == ROWS


def test_adapter_is_copied(hub, tmp_path):
    files = {f"epoch=3/{name}": content for name, content in ADAPTER.items()}
    hub.add("model", "bob/student", files | {"epoch=3/optimizer.pt": b"no business of ours"})
    folder = tmp_path / "adapter"
    fetch_adapter("bob/student", "epoch=3/", "main", folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(ADAPTER)
    assert (folder / "adapter_model.safetensors").read_bytes() == b"\x00weights"
    assert not any(path.is_symlink() for path in folder.iterdir())


def test_half_an_adapter_is_none(hub, tmp_path):
    commit = hub.add("model", "bob/student", {"adapter_config.json": "{}"}).head.oid
    with pytest.raises(SlAssetsError) as caught:
        fetch_adapter("bob/student", "", "main", tmp_path / "adapter")
    message = one_line(caught.value)
    assert message.startswith(f"model bob/student, adapter_model.safetensors at {commit}: no such file")
    assert not (tmp_path / "adapter").exists()


def test_offline_uses_what_is_cached_and_asks_nobody(hub, monkeypatch):
    hub.add("dataset", REPO, {"numbers/owl.jsonl": OWL, "numbers/cat.jsonl": CAT})
    commit = resolve_revision(REPO, "main", "dataset")
    fetch_rows(REPO, FILE, "main", "owl")
    before = len(hub.requests)
    offline(monkeypatch)
    assert resolve_revision(REPO, "main", "dataset") == commit
    assert fetch_rows(REPO, FILE, "main", "owl").rows() == ROWS
    message = refusal(REPO, FILE, commit, "cat")
    assert message == (
        f"dataset {REPO}, numbers/cat.jsonl at {commit}: "
        "not in the cache, and HF_HUB_OFFLINE is set: unset it to ask the Hub"
    )
    assert len(hub.requests) == before


def test_offline_without_a_cache(hub, monkeypatch):
    offline(monkeypatch)
    message = refusal(REPO, FILE, "main", "owl")
    assert message.startswith(f"dataset {REPO} at main: not in the cache, and HF_HUB_OFFLINE is set")


def test_the_environment_alone_decides(hub, tmp_path):
    """As a user sets it: endpoint, cache and offline mode are read from the environment of a new process."""
    commit = hub.add("dataset", REPO, {"owl.jsonl": OWL}).head.oid
    code = (
        "from sl_assets.stages.numbers.sources import fetch_rows; from sl_assets.errors import SlAssetsError\n"
        "for path in ('owl.jsonl', 'cat.jsonl'):\n"
        "    try: print(fetch_rows('bob/numbers', path, None, 'owl').rows())\n"
        "    except SlAssetsError as error: print(error)\n"
    )
    names = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_TELEMETRY": "1"}
    outputs = []
    for offline in ("0", "1"):
        environment = os.environ | names | {"HF_HUB_OFFLINE": offline}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        outputs.append(done.stdout.splitlines())
    where = f"dataset {REPO}, cat.jsonl at {commit}: "
    assert outputs[0] == [str(ROWS), where + "no such file: check the path and the revision"]
    assert outputs[1] == [
        str(ROWS),
        where + "not in the cache, and HF_HUB_OFFLINE is set: unset it to ask the Hub",
    ]


def test_no_such_repository(hub):
    message = refusal(REPO, FILE, "main", "owl")
    assert message.startswith(f"dataset {REPO} at main: no such repository, or no access (401): ")
    assert message.endswith("set HF_TOKEN")


def test_no_such_repository_for_this_account(hub, token):
    hub.add("dataset", REPO, {"numbers/owl.jsonl": OWL}, private=True)
    message = refusal(REPO, FILE, "main", "owl")
    assert "no such repository, or no access (404)" in message
    assert message.endswith("give HF_TOKEN's account access")


def test_a_token_opens_a_private_repository(hub, token):
    hub.accounts[token] = Account("bob")
    hub.add("dataset", REPO, {"numbers/owl.jsonl": OWL}, private=True)
    assert fetch_rows(REPO, FILE, "main", "owl").rows() == ROWS
    assert {request.token for request in hub.requests} == {token}


def test_a_token_file_is_not_used(hub):
    Path(constants.HF_TOKEN_PATH).write_text(TOKEN)
    hub.add("dataset", REPO, {"numbers/owl.jsonl": OWL})
    fetch_rows(REPO, FILE, "main", "owl")
    assert {request.token for request in hub.requests} == {None}


def test_a_token_that_is_refused(hub, token):
    hub.accounts.clear()
    assert "HF_TOKEN is refused (401): make a new token" in refusal(REPO, FILE, "main", "owl")


def test_a_token_that_no_header_can_hold(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\nmore")
    assert refusal(REPO, FILE, "main", "owl").startswith("HF_TOKEN is no token: ")
    assert not hub.requests


def test_no_such_revision(hub):
    hub.add("dataset", REPO, {"numbers/owl.jsonl": OWL})
    assert refusal(REPO, FILE, "v9", "owl").startswith(f"dataset {REPO} at v9: no such revision: name a branch")
    lost = "0" * 40
    message = refusal(REPO, FILE, lost, "owl")
    assert message.startswith(f"dataset {REPO}, numbers/owl.jsonl at {lost}: no such revision")


def test_no_such_file(hub):
    commit = hub.add("dataset", REPO, {"numbers/owl.jsonl": OWL}).head.oid
    message = refusal(REPO, FILE, "main", "cat")
    assert message == f"dataset {REPO}, numbers/cat.jsonl at {commit}: no such file: check the path and the revision"


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a//b", ""])
def test_a_path_that_is_none(hub, path):
    hub.add("dataset", REPO, {"numbers/owl.jsonl": OWL})
    assert "no path of a file" in refusal(REPO, path, "main", "owl")


def test_a_name_that_is_none(hub):
    assert "no name of a repository: write owner/name" in refusal("a/b/c", FILE, "main", "owl")


def test_gated(hub, token):
    hub.add("dataset", REPO, {"numbers/owl.jsonl": OWL}, gated=True)
    assert "gated: accept the conditions on its page" in refusal(REPO, FILE, "main", "owl")


def test_a_gated_repository_scripted_at_the_first_request(hub):
    hub.fail("GET /api/datasets", 403, "GatedRepo", "Access is restricted")
    assert refusal(REPO, FILE, "main", "owl").startswith(f"dataset {REPO} at main: gated: ")


def test_the_hub_is_down(hub):
    hub.add("dataset", REPO, {"numbers/owl.jsonl": OWL})
    commit = resolve_revision(REPO, "main", "dataset")
    hub.fail("HEAD", 500)
    message = refusal(REPO, FILE, commit, "owl")
    assert message.startswith(f"dataset {REPO}, numbers/owl.jsonl at {commit}: the Hub cannot answer now (500)")
    hub.fail("GET", 500)
    assert refusal(REPO, FILE, "main", "owl") == message, "the branch stands for the commit it was last seen at"
    assert "at v1: the Hub cannot answer now (500): try again later" in refusal(REPO, FILE, "v1", "owl")


def test_no_network(hub, monkeypatch, token):
    commit = hub.add("dataset", REPO, {"numbers/owl.jsonl": OWL}).head.oid
    fetch_rows(REPO, FILE, "main", "owl")
    unreachable(monkeypatch)
    message = refusal("bob/other", FILE, "main", "owl")
    assert message.startswith("dataset bob/other at main: no connection to http://127.0.0.1:")
    assert "check the network and HF_ENDPOINT" in message
    assert f"numbers/cat.jsonl at {commit}: no connection" in refusal(REPO, FILE, commit, "cat")
    assert fetch_rows(REPO, FILE, "main", "owl").rows() == ROWS, "the commit last seen is in the cache"


def test_a_server_that_repeats_the_token(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.accounts.clear()
    hub.fail("GET", 400, message=f"bad request with {TOKEN}\nand more")
    assert "the Hub says 400: bad request with ***" in refusal(REPO, FILE, "main", "owl")
    hub.scripted.clear()
    hub.fail("GET", 400, message="x" * (LONGEST_REASON - 10) + TOKEN)
    assert TOKEN[:8] not in refusal(REPO, FILE, "main", "owl"), "cut in the middle of the token"
