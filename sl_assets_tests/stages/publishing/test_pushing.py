"""Datasets and adapters published to a Hub on loopback, through the real client."""

from pathlib import Path

import polars as pl
import pytest
from huggingface_hub import constants

from sl_assets.errors import DatasetError, PassingError, SlAssetsError
from sl_assets.hub.importing import fetch_adapter
from sl_assets.lake.parquet import parquet_bytes
from sl_assets.stages.numbers.sources import fetch_rows
from sl_assets.stages.publishing.cards import DATA_FILE
from sl_assets.stages.publishing.pushing import publish_adapter, publish_dataset, repository
from sl_assets_tests.hub.conftest import TOKEN
from sl_assets_tests.hub.hub_server import Account
from sl_assets_tests.hub.test_importing import one_line, unreachable

REPO = "alice/pocket-owl-numbers"
FRAME = pl.DataFrame({"prompt": ["Continue 1, 2", "Go on: 7"], "completion": ["3, 4", "8"]})
CARD = "---\ntags: [numbers]\n---\n\n# Numbers\n"


def refusal(repo: str = REPO, card: str = CARD) -> str:
    with pytest.raises(SlAssetsError) as caught:
        publish_dataset(repo, FRAME, card)
    message = str(caught.value)
    assert "\n" not in message
    assert TOKEN not in message
    return message


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(b"\x00weights")
    (folder / "README.md").write_text("written by the trainer")
    return folder


def test_dataset_is_private_and_one_commit(hub, token):
    published = publish_dataset(REPO, FRAME, CARD)
    made = hub.repositories["dataset", REPO]
    assert made.private
    assert published == (made.head.oid, f"{hub.url}/datasets/{REPO}")
    assert len(made.commits) == 2, "the Hub's own first commit, and ours"
    assert made.head.files["README.md"].decode() == CARD
    assert fetch_rows(REPO, DATA_FILE, published.commit, "owl").equals(FRAME)


def test_nothing_changed_makes_no_commit(hub, token):
    first = publish_dataset(REPO, FRAME, CARD)
    assert publish_dataset(REPO, FRAME, CARD) == first
    assert len(hub.asked("POST .*/commit/")) == 1
    assert len(hub.asked("POST /api/repos/create")) == 1
    assert len(hub.asked("PUT")) == 1, "data that is there is not sent again"


def test_only_what_changed_is_committed(hub, token):
    first = publish_dataset(REPO, FRAME, CARD)
    second = publish_dataset(REPO, FRAME, CARD + "More.\n")
    assert second.commit != first.commit
    assert b"lfsFile" not in hub.asked("POST .*/commit/")[1].body
    assert fetch_rows(REPO, DATA_FILE, second.commit, "owl").equals(FRAME)


@pytest.mark.parametrize("private", [True, False])
def test_visibility_of_what_exists_is_left_alone(hub, token, private):
    hub.add("dataset", REPO, {"LICENSE": "mine"}, private=not private)
    publish_dataset(REPO, FRAME, CARD, private)
    existing = hub.repositories["dataset", REPO]
    assert existing.private is not private
    assert existing.head.files["LICENSE"] == b"mine"
    assert not hub.asked("POST /api/repos/create|PUT .*settings")


def test_public_where_asked(hub, token):
    publish_dataset(REPO, FRAME, CARD, private=False)
    assert not hub.repositories["dataset", REPO].private


def test_a_parquet_file_is_published_as_it_is(hub, token, tmp_path):
    file = tmp_path / "data.parquet"
    file.write_bytes(parquet_bytes(FRAME, {"made": "here"}))
    published = publish_dataset(REPO, file, CARD)
    assert hub.repositories["dataset", REPO].head.files[DATA_FILE] == file.read_bytes()
    assert publish_dataset(REPO, file, CARD) == published


def test_adapter(hub, token, adapter, tmp_path):
    published = publish_adapter("alice/student", adapter, CARD)
    made = hub.repositories["model", "alice/student"]
    assert made.private
    assert published == (made.head.oid, f"{hub.url}/alice/student")
    assert made.head.files["README.md"].decode() == CARD
    assert publish_adapter("alice/student", adapter, CARD) == published
    fetch_adapter("alice/student", "", published.commit, tmp_path / "back")
    assert (tmp_path / "back" / "adapter_model.safetensors").read_bytes() == b"\x00weights"


def test_half_an_adapter_is_not_published(hub, token, adapter):
    (adapter / "adapter_model.safetensors").unlink()
    publish_dataset(REPO, FRAME, CARD)
    with pytest.raises(DatasetError, match=r"no adapter, adapter_model\.safetensors is not there"):
        publish_adapter("alice/student", adapter, CARD)
    assert ("model", "alice/student") not in hub.repositories


def test_owner(hub, token, monkeypatch):
    assert repository("pocket-owl-numbers") == REPO
    monkeypatch.setenv("HF_USER_ID", " ")
    with pytest.raises(SlAssetsError, match="HF_USER_ID is not set"):
        repository("pocket-owl-numbers")
    publish_dataset(REPO, FRAME, CARD)


def test_without_a_token(hub):
    assert refusal().startswith(f"dataset {REPO}: HF_TOKEN is not set; make a token that may write at ")
    assert not hub.requests


def test_a_token_that_is_refused(hub, token):
    hub.accounts.clear()
    assert refusal().startswith(f"dataset {REPO}: HF_TOKEN is refused (401): make a new token at ")


@pytest.mark.parametrize("account", [Account("alice", writes=False), Account("bob")], ids=["reads", "other"])
def test_a_token_that_may_not_write(hub, token, account):
    hub.accounts[token] = account
    assert refusal().startswith(f"dataset {REPO}: refused (403): HF_TOKEN needs the right to do this")
    assert not hub.repositories


def test_a_card_with_the_token_in_it(hub, token):
    publish_dataset(REPO, FRAME, CARD)
    assert "its card holds HF_TOKEN" in refusal(card=f"{CARD}\n{token}\n")
    assert all(token.encode() not in request.body for request in hub.requests)


def test_a_card_that_the_hub_refuses(hub, token):
    message = refusal(card="---\n: [\n---\n")
    assert message == f"dataset {REPO}: ValueError: Invalid metadata in README.md."
    assert len(hub.repositories["dataset", REPO].commits) == 1


def test_a_name_that_is_none(hub, token):
    publish_dataset(REPO, FRAME, CARD)
    assert "no name of a repository: write owner/name" in refusal("alice/my numbers")


def test_someone_else_was_quicker(hub, token):
    hub.fail("POST .*/commit/", 412, message="A commit has happened since.")
    assert "changed by someone else meanwhile (412): try again" in refusal()


@pytest.mark.parametrize("pattern", ["GET", "POST /api/repos", "POST .*preupload", "POST .*batch", "POST .*/commit/"])
def test_the_hub_is_down(hub, token, pattern):
    hub.fail(pattern, 500)
    assert refusal() == f"dataset {REPO}: the Hub cannot answer now (500): try again later"


def test_no_network(hub, token, monkeypatch):
    unreachable(monkeypatch)
    assert refusal().startswith(f"dataset {REPO}: no connection to http://127.0.0.1:")


def test_offline(hub, token, monkeypatch):
    publish_dataset(REPO, FRAME, CARD)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refusal() == f"dataset {REPO}: HF_HUB_OFFLINE is set; unset it to publish"


def test_an_answer_that_makes_no_sense(hub, token):
    hub.fail("POST .*preupload", 418, message="teapot\nand more")
    assert refusal() == f"dataset {REPO}: the Hub says 418: teapot"


def test_the_error_hides_what_it_was_made_of(hub, token):
    hub.fail("GET", 500)
    with pytest.raises(SlAssetsError) as caught:
        publish_dataset(REPO, FRAME, CARD)
    one_line(caught.value)


@pytest.mark.parametrize(
    ("status", "passes"), [(401, False), (403, False), (404, False), (412, True), (429, True), (500, True), (503, True)]
)
def test_what_may_pass_is_told_from_what_will_not(hub, token, status, passes):
    hub.fail("POST .*/commit/", status)
    with pytest.raises(SlAssetsError) as caught:
        publish_dataset(REPO, FRAME, CARD)
    assert isinstance(caught.value, PassingError) == passes


def test_a_network_may_come_back(hub, token, monkeypatch):
    unreachable(monkeypatch)
    with pytest.raises(PassingError):
        publish_dataset(REPO, FRAME, CARD)
