"""The ledger of what experiments have spent, on a disk and on S3, and its view."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sl_assets.errors import LakeError
from sl_assets.lake.lake import Lake
from sl_assets.lake.spending import Charge, Ledger
from sl_assets.lake.views import query
from sl_assets_tests.s3_server import s3_server

RESERVED = Charge("a", False, "tiny-chat", 1000, 500, 0, 2.0, 8.0, 0.0, 0.006)
BILL = replace(RESERVED, settled=True, tokens_read=900, tokens_written=100, dollars=0.0026)
JOB = Charge("b", False, "tiny-tunable", 0, 0, 10, 0.0, 0.0, 0.0, None)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server("lakes"):
        yield "s3://lakes"


@pytest.fixture(params=["disk", "S3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    if request.param == "disk":
        return Lake(str(tmp_path / "it's a lake"))
    return Lake(f"{request.getfixturevalue('bucket')}/{tmp_path.name}")


def ledger(lake: Lake, partition: str | None = "owl", run_id: str = "first") -> Ledger:
    return Ledger(lake, "tiny", "raw_dataset", partition, run_id)


def test_a_charge_counts_by_its_bill_once_it_has_one(lake: Lake) -> None:
    assert ledger(lake).charges() == []
    ledger(lake).note(RESERVED)
    ledger(lake, "wolf").note(JOB)
    assert ledger(lake).charges() == [RESERVED, JOB]
    ledger(lake, run_id="second").note(BILL)
    assert ledger(Lake(str(lake.root))).charges() == [BILL, JOB]
    assert Ledger(lake, "another", "raw_dataset", "owl", "first").charges() == []


def test_the_view_has_every_charge_once(lake: Lake) -> None:
    for charge in (RESERVED, replace(JOB, id="c"), replace(JOB, id="c", settled=True, tokens_trained=0)):
        ledger(lake).note(charge)
    ledger(lake, None, "second").note(JOB)
    ledger(lake, run_id="second").note(BILL)
    seen = query(
        lake,
        "SELECT experiment, animal, asset, partition, run_id, settled, model, tokens_read, tokens_written, "
        "tokens_trained, input_price, output_price, training_price, dollars FROM spending "
        "WHERE noted_at > now() - INTERVAL 1 HOUR ORDER BY id",
    )
    assert seen.rows() == [
        ("tiny", "owl", "raw_dataset", "owl", "second", True, "tiny-chat", 900, 100, 0, 2.0, 8.0, 0.0, 0.0026),
        ("tiny", None, "raw_dataset", None, "second", False, "tiny-tunable", 0, 0, 10, 0.0, 0.0, 0.0, None),
    ], "what was reserved and not used is none"


def test_a_note_that_was_cut_off_hurts_no_other(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    ledger(lake).note(RESERVED)
    (file,) = Path(ledger(lake).folder).iterdir()
    file.write_bytes(file.read_bytes() + b'\n{"noted_at": "2026-11-')
    assert ledger(lake).charges() == [RESERVED]
    ledger(lake).note(JOB)
    assert ledger(lake).charges() == [RESERVED, JOB]
    assert query(lake, "SELECT id FROM spending ORDER BY id")["id"].to_list() == ["a", "b"]


def test_a_line_that_is_no_note_is_named(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    ledger(lake).note(RESERVED)
    (file,) = Path(ledger(lake).folder).iterdir()
    file.write_bytes(file.read_bytes() + b'\n{"id": "z"}')
    with pytest.raises(LakeError) as caught:
        ledger(lake).charges()
    assert str(caught.value) == f'{file}: a line that notes no charge (b\'{{"id": "z"}}\'): delete that line'


def test_a_note_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "spending").write_text("in the way")
    with pytest.raises(LakeError, match="cannot write"):
        ledger(Lake(str(tmp_path))).note(RESERVED)
