"""``sl-assets ui`` with Dagster's real UI and daemon."""

import signal
import subprocess
from pathlib import Path

import psutil

from sl_assets.cli.serving import is_answered
from sl_assets_tests.cli.command import COMMAND
from sl_assets_tests.dagster_ui import free_port, wait_until


def test_a_ui_in_the_background_ends_with_its_command_and_leaves_nothing(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """What a shell starts in the background does not hear Ctrl-C, nor does what is started from there."""
    port = free_port()
    # As such a shell does, in a process of its own.
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    with (tmp_path / "ui.log").open("w") as log:
        command = [COMMAND[0], "-c", ignoring, *COMMAND, "ui", "--port", str(port)]
        ui = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait_until(lambda: is_answered("127.0.0.1", port), seconds=120)
            family = psutil.Process(ui.pid).children(recursive=True)
            assert len(family) >= 3
            ui.send_signal(signal.SIGTERM)
            assert ui.wait(60) == 0
            _, left = psutil.wait_procs(family, timeout=10)
            assert not left
        finally:
            for process in [psutil.Process(ui.pid), *family] if ui.poll() is None else []:
                process.kill()
