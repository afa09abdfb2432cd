"""``sl-assets ui`` with Dagster's real UI and daemon."""

import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil

from sl_assets_tests.cli.command import COMMAND


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


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
            last = time.monotonic() + 120
            while time.monotonic() < last:
                with socket.socket() as asking:
                    if asking.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.2)
            family = psutil.Process(ui.pid).children(recursive=True)
            assert len(family) >= 3
            ui.send_signal(signal.SIGTERM)
            assert ui.wait(60) == 0
            _, left = psutil.wait_procs(family, timeout=10)
            assert not left
        finally:
            for process in [psutil.Process(ui.pid), *family] if ui.poll() is None else []:
                process.kill()
