"""Where things are in the lake, by name."""

from dataclasses import dataclass

from sl_assets.lake.tables import DIMENSIONS, keys_of


@dataclass(frozen=True, order=True)
class Place:
    """Where a table or a folder of one partition lives; a partition is ``owl``, or ``owl|animal_high`` with a split."""

    experiment: str
    table: str
    partition: str | None = None

    @property
    def folder(self) -> str:
        """Folder below the lake's root."""
        return f"experiment={self.experiment}/{self.subfolder}"

    @property
    def subfolder(self) -> str:
        """Folder below the experiment's."""
        keys = zip(DIMENSIONS, keys_of(self.partition), strict=False)
        return "/".join([self.table, *(f"{name}={key}" for name, key in keys)])

    def __str__(self) -> str:
        return f"{self.experiment}/{self.table}" + (f" of {self.partition}" if self.partition else "")
