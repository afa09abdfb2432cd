"""Environment variables by which a machine says otherwise than an experiment file."""

import os

from sl_assets.errors import SlAssetsError


def whole_number(variable: str, otherwise: int) -> int:
    """What ``variable`` says; ``otherwise`` where it is unset or empty.

    Raises:
        SlAssetsError: it is no whole number.
    """
    text = os.environ.get(variable, "")
    if text and not text.isdecimal():
        raise SlAssetsError(f"{variable} = {text!r}: write a whole number, or unset it")
    return int(text) if text else otherwise
