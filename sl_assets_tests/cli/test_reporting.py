"""``sl-assets report``: a file of what is in the lake, and mistakes in one line."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sl_assets.cli.commands import cli
from sl_assets_tests.conftest import Bench

pytest.importorskip("vl_convert")


def report(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["report", *arguments])


def test_the_page_is_written_where_it_is_asked_for(
    finished: Bench, experiment_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SL_EXPERIMENTS", str(experiment_folder()))
    monkeypatch.setenv("SL_DATA_LAKE", str(finished.root))
    file = tmp_path / "own.html"
    done = report("tiny", "--to", str(file))
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"report  {file}   (")
    assert "<h1>tiny</h1>" in file.read_text()
    assert 'id="answers-owl"' in file.read_text()
    refused = report("tiny", "--to", str(tmp_path / "absent" / "own.html"))
    assert refused.exit_code == 1
    assert "cannot be written (no such file or directory); name another file" in refused.output


def test_of_what_is_not_made_there_is_no_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    monkeypatch.setenv("SL_DATA_LAKE", str(tmp_path / "lake"))
    monkeypatch.chdir(tmp_path)
    done = report("pocket")
    assert done.exit_code == 1
    assert f"pocket: nothing of it is in {tmp_path / 'lake'}; sl-assets run pocket" in done.output
    assert not (tmp_path / "pocket_report.html").exists()
