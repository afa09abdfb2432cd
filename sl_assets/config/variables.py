"""Environment variables by which a machine says otherwise than an experiment file."""

import os
import re

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


def number(variable: str, otherwise: float) -> float:
    """What ``variable`` says, 0 or more; ``otherwise`` where it is unset or empty.

    Raises:
        SlAssetsError: it is no such number.
    """
    text = os.environ.get(variable, "")
    if text and not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        raise SlAssetsError(f"{variable} = {text!r}: write a number, such as 30 or 0.5, or unset it")
    return float(text) if text else otherwise
