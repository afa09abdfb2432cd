"""What a killed process was making goes; what a living one, or one of another host, is making stays."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from sl_assets.lake.unfinished import remove_orphans, unfinished

MAKING = """
import sys
from pathlib import Path
from sl_assets.lake.unfinished import unfinished
unfinished(Path(sys.argv[1])).write_text("half")
folder = unfinished(Path(sys.argv[1]))
folder.mkdir()
(folder / "weights").write_text("half")
print("made", flush=True)
sys.stdin.read()
"""


def test_what_a_process_is_making_stays_when_the_clock_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system then says of every process that it began at another time."""
    mine = unfinished(tmp_path)
    mine.write_text("half")
    before = psutil.boot_time()
    for step in (-3600, 3600):
        monkeypatch.setattr("psutil._psplatform.boot_time", lambda step=step: before + step)
        remove_orphans(tmp_path)
        assert mine.exists()


def test_only_what_the_dead_of_this_host_left_is_removed(tmp_path: Path) -> None:
    mine = unfinished(tmp_path)
    mine.write_text("half")
    elsewhere = mine.with_name(mine.name.replace(mine.name.split()[0], "another-host"))
    elsewhere.write_text("half")
    making = [sys.executable, "-c", MAKING, str(tmp_path)]
    with subprocess.Popen(making, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"made\n"
        remove_orphans(tmp_path)
        assert len(list(mine.parent.iterdir())) == 4
        process.kill()
    remove_orphans(tmp_path)
    assert set(mine.parent.iterdir()) == {mine, elsewhere}
