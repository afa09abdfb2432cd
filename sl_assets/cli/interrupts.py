"""What Ctrl-C ends a command with."""

from collections.abc import Iterator
from contextlib import contextmanager

import click


class Interrupted(click.ClickException):
    """The user has interrupted a command, which says how to go on."""


@contextmanager
def interrupted_with(line: str) -> Iterator[None]:
    """End with ``line`` where the user interrupts the block."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(line) from None
