"""What experiments have spent in this lake: a ledger that only grows, kept across runs and whoever runs them.

Layout: ``<root>/spending/experiment=<name>/<process>.jsonl``, a file a process and a line a note. A charge is noted
twice under one id: with the most that it may come to, before anything is asked for, and with its bill. Of a process
that is killed in between, the first note stays, and counts. On a local disk a note is on the disk before the next step
is taken; on S3, where nothing can be added to, the process's file is written anew as a whole.
"""

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from uuid import uuid4

from upath import UPath

from sl_assets.errors import LakeError
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place

FOLDER = "spending"

_name = uuid4().hex
_writing = Lock()


@dataclass(frozen=True)
class Charge:
    """What something costs, or may cost.

    Attributes:
        id: the same in both notes.
        settled: whether this is the bill; else it is the most that it may come to.
        model: what is asked or trained, by the API's name.
        tokens_read, tokens_written, tokens_trained: tokens by price.
        input_price, output_price, training_price: dollars per million of them when it was noted; 0 where unknown.
        dollars: the sum; None where a price is unknown.
    """

    id: str
    settled: bool
    model: str
    tokens_read: int
    tokens_written: int
    tokens_trained: int
    input_price: float
    output_price: float
    training_price: float
    dollars: float | None


@dataclass(frozen=True)
class Ledger:
    """The ledger of ``experiment``, as one partition in the making writes it.

    Attributes:
        lake, experiment: whose money it is.
        asset, partition, run_id: what it is spent on.
    """

    lake: Lake
    experiment: str
    asset: str
    partition: str | None
    run_id: str

    @property
    def folder(self) -> UPath:
        """Where it is kept."""
        return self.lake.root / FOLDER / f"experiment={self.experiment}"

    @property
    def locks(self) -> bool:
        """Whether `alone` holds; on S3 nothing can be held."""
        return self.lake.local

    def alone(self) -> AbstractContextManager[bool]:
        """Nobody else is in such a block meanwhile, in this lake and for this experiment, where that can be had."""
        return self.lake.making(Place(self.experiment, FOLDER))

    def charges(self) -> list[Charge]:
        """Every charge once: by its bill, else by the most that it may come to.

        Raises:
            LakeError: a note cannot be read.
        """
        with self.lake.errors_explained(self.folder, "read"):
            files = sorted(self.folder.iterdir()) if self.folder.exists() else []
        found: dict[str, Charge] = {}
        for charge in (charge for file in files for charge in self._read(file)):
            if charge.settled or charge.id not in found:
                found[charge.id] = charge
        return list(found.values())

    def _read(self, file: UPath) -> Iterator[Charge]:
        for line in self.lake.read(file).splitlines():
            try:
                note = json.loads(line)
                yield Charge(**{field.name: note[field.name] for field in fields(Charge)})
            except ValueError:
                # Cut off as it was written; nothing was asked for on its account.
                continue
            except (KeyError, TypeError):
                raise LakeError(f"{file}: a line that notes no charge ({line[:80]!r}): delete that line") from None

    def note(self, charge: Charge) -> None:
        """Add a note.

        Raises:
            LakeError: it cannot be written.
        """
        paid_by = {"asset": self.asset, "partition": self.partition, "run_id": self.run_id}
        noted = {"noted_at": datetime.now(UTC).isoformat(), **paid_by, **asdict(charge)}
        # In front of it: after a line that was cut off this one begins anew.
        line = f"\n{json.dumps(noted)}".encode()
        # A forked process has a number, and so a file, of its own.
        file = self.folder / f"{_name}-{os.getpid()}.jsonl"
        with _writing, self.lake.errors_explained(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            if not self.lake.local:
                file.write_bytes((file.read_bytes() if file.exists() else b"") + line)
                return
            with Path(file).open("ab") as opened:
                opened.write(line)
                opened.flush()
                os.fsync(opened.fileno())
