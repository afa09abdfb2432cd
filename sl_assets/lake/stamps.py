"""What a file of a partition was when it was put in place, by which any other content is known for damage."""

from pathlib import Path
from typing import NamedTuple

from sl_assets.lake.damage import DamageError
from sl_assets.lake.fingerprint import file_digest, sha256_of


class Stamp(NamedTuple):
    """Size and checksum of a file.

    Attributes:
        size: in bytes.
        sha256: as hexadecimal digits.
    """

    size: int
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> "Stamp":
        """The stamp of ``content``."""
        return cls(len(content), sha256_of(content))

    @classmethod
    def of_file(cls, file: Path) -> "Stamp":
        """The stamp of ``file``."""
        return cls(file.stat().st_size, file_digest(file))

    def require_size(self, size: int) -> None:
        """Refuse what has another size.

        Raises:
            DamageError: it has.
        """
        if size != self.size:
            raise DamageError(f"{size:,} bytes, and its record tells of {self.size:,}")

    def require(self, found: "Stamp") -> None:
        """Refuse a file that is found to be another.

        Raises:
            DamageError: it is.
        """
        self.require_size(found.size)
        if found.sha256 != self.sha256:
            raise DamageError(f"SHA-256 {found.sha256[:12]}…, and its record tells of {self.sha256[:12]}…")
