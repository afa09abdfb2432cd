"""Damage: what is there and is not what was put there."""


class DamageError(Exception):
    """A file that is lost or is not what it was; its text says which, or what is wrong."""
