"""Students of several seeds in one partition: where each lies, and what records tell of them.

A lone student's epochs lie in its partition's folder (``epoch=6``), those of several below their seeds
(``seed=2/epoch=6``). A student's version is the fingerprint of its files below that point, so it is the same wherever
it lies. What else made it stands in the record of the whole partition, and is the same for all seeds in it: one that
differs from another record in nothing but the list of seeds tells of the same students.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sl_assets.lake.records import Record, Settings, identity

CHECKPOINTS = ("lora_checkpoint", "split_lora_checkpoint")
"""Assets whose partitions hold students."""

ROWS_SEEN = {"lora_checkpoint": "training_rows", "split_lora_checkpoint": "split_training_rows"}
"""Tables of the rows that students were trained on, by the asset that writes them. Partitions that are older than these
tables have none."""

SEEDS = ("seed", "seeds")
"""Fields of the section ``student`` that say of which seeds there are students, and nothing more."""


def student_folder(folder: Path, seed: int | None, seeds: Sequence[int | None]) -> Path:
    """Where the epochs of the student of ``seed`` lie in a partition's ``folder`` that has those of ``seeds``."""
    return folder / f"seed={seed}" if len(seeds) > 1 else folder


def students_of(record: Record) -> dict[int | None, str]:
    """Versions by seed of the students that a ``record`` of a checkpoint tells of; an imported one's seed is None."""
    if record.students:
        return {int(seed): version for seed, version in record.students.items()}
    # A lone student is all that its partition holds.
    student = record.settings.get("student")
    return {student.get("seed") if student else None: record.data_version}


def seeds_of(settings: Settings) -> list[int]:
    """Seeds of the students that ``settings`` ask for; none where they say nothing of students."""
    student = settings.get("student")
    return list(student.get("seeds") or [student["seed"]]) if isinstance(student, Mapping) else []


def but_for_seeds(settings: Settings) -> dict[str, Any]:
    """``settings`` without the seeds of students."""
    found = dict(settings)
    if isinstance(student := found.get("student"), Mapping):
        found["student"] = {name: value for name, value in student.items() if name not in SEEDS}
    return found


def made_alike(record: Record, code_version: str, settings: Settings, inputs: Mapping[str, Any]) -> bool:
    """Whether the students or answers of ``record`` were made by this code, of these settings and inputs, whatever
    their seeds; what was read is another question.
    """
    return (
        record.code_version == code_version
        and identity(but_for_seeds(record.settings)) == identity(but_for_seeds(settings))
        and record.inputs == inputs
    )
