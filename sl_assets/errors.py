"""Errors that a user can act on: one line that names the bad value and the fix."""


class SlAssetsError(Exception):
    """Base of every error this package raises on purpose; its text is one line meant for the user."""


class ExperimentFileError(SlAssetsError):
    """An experiment file that does not describe a possible experiment."""


class DatasetError(SlAssetsError):
    """Rows that cannot be used: unreadable, malformed, or none left."""


class LakeError(SlAssetsError):
    """The data lake cannot be read or written, or lacks what was asked for."""
