"""Errors that a user can act on: one line that names the bad value and the fix."""


class SlAssetsError(Exception):
    """Base of every error this package raises on purpose; its text is one line meant for the user."""


class ExperimentFileError(SlAssetsError):
    """An experiment file that does not describe a possible experiment.

    Attributes:
        lines: everything that is wrong with it, each in one line; the text has the first and counts the others.
    """

    def __init__(self, line: str, *others: str) -> None:
        super().__init__(f"{line} (and {len(others)} more)" if others else line)
        self.lines = [line, *others]


class DatasetError(SlAssetsError):
    """Rows that cannot be used: unreadable, malformed, or none left. Concerns one partition; others may be well."""


class LakeError(SlAssetsError):
    """The data lake cannot be read or written, or lacks what was asked for."""


class RefusalError(LakeError):
    """A disk or a server refuses what is asked of it."""


class AbsentError(LakeError):
    """The lake lacks a partition, or what it holds is damaged. Concerns that partition; others may be well."""


class PassingError(SlAssetsError):
    """A service that does not answer now may answer later: worth another try, which no mistake of the user is."""
