"""The ``sl-assets`` command: runs what one ``dagster`` call cannot, and queries the lake.

It drives the same assets, instance and lake as the UI, one Dagster run per asset and stretch of partitions.

Here nothing is imported before `main` runs: from the first moment on, Ctrl-C ends in one line.
"""

import _thread
import os
import signal
import sys
import threading
from typing import NoReturn


def main() -> None:
    """Entry point: mistakes of the user end in one line, never in a traceback."""
    sys.unraisablehook = _interrupt_again
    try:
        _run_command()
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # Whoever reads what is written has seen enough, as in `sl-assets pins | head -1`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def _interrupt_again(ignored: "sys.UnraisableHookArgs") -> None:
    """Ctrl-C while Python clears away something would be printed and forgotten; it comes again right after."""
    if issubclass(ignored.exc_type, Exception | GeneratorExit | SystemExit):
        sys.__unraisablehook__(ignored)
    else:
        # A KeyboardInterrupt, or what Dagster raises in its place. Not from here, where it would be forgotten again.
        again = threading.Timer(0.1, _thread.interrupt_main)
        again.daemon = True
        again.start()


def _run_command() -> None:
    import click

    from sl_assets.cli.commands import Interrupted, cli
    from sl_assets.cli.environment import load_environment
    from sl_assets.errors import SlAssetsError

    try:
        load_environment()
        cli(standalone_mode=False)
    except Interrupted as error:
        _fail(error.format_message(), INTERRUPTED)
    except click.Abort:
        _fail("interrupted", INTERRUPTED)
    except click.ClickException as error:
        _fail(error.format_message())
    except SlAssetsError as error:
        _fail(str(error))


def _fail(message: str, status: int = 1) -> NoReturn:
    """End with ``message`` on standard error."""
    # Another Ctrl-C would fill what Python does at its end with tracebacks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print(f"sl-assets: {message}", file=sys.stderr, flush=True)
    sys.exit(status)
