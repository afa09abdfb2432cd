"""Answers that a partition has already: of students that are what they were, asked as they would be today.

Nobody is asked twice for having got fellows of other seeds. Which student gave an answer is known by its version, the
fingerprint of its files, which the record of the answers tells.
"""

from collections.abc import Sequence

import polars as pl

from sl_assets.errors import AbsentError
from sl_assets.lake.records import Record
from sl_assets.lake.tables import TABLES
from sl_assets.orchestration.partition import Step, Student

Seed = int | None


def draw_of(seed: Seed, seeds: Sequence[Seed]) -> str:
    """What stands behind the name of a student's draw, so that students of several seeds draw apart.

    The first has nothing there, as a lone one: getting fellows does not change what it says.
    """
    return "" if seed == seeds[0] else f"/seed={seed}"


def seeds_of(students: Sequence[Student]) -> list[Seed]:
    """Seeds of ``students``, each once, in order."""
    return list(dict.fromkeys(student.seed for student in students))


def answered_before(step: Step, checkpoint: str, students: Sequence[Student], drawn: bool) -> dict[Seed, pl.DataFrame]:
    """The rows of this partition so far, by seed, that would be made alike for these ``students``.

    None where the checkpoint is the one that they were made of: then it was asked to be made again.

    Args:
        step: makes a table of answers.
        checkpoint: the parent that holds the students.
        students: all that are to answer.
        drawn: whether answers depend on a student's place among its fellows (`draw_of`).
    """
    record, place, reads = step.earlier, step.place(checkpoint), dict(step.lake.reads)
    if record is None:
        return {}
    read_before, read = dict(record.parents), reads.pop(place)
    asked = read_before.pop(place, None)
    if asked == read or read_before != reads:
        return {}
    there = _who_answered(record, asked)
    before, now = list(there.values()), seeds_of(students)
    same = {
        student.seed: there[student.version]
        for student in students
        if student.version in there
        and (not drawn or draw_of(there[student.version], before) == draw_of(student.seed, now))
    }
    if not same:
        return {}
    try:
        # With reads of its own: a partition is no input of itself.
        table = step.lake.apart().read_table(step.place(step.asset))
    except AbsentError as error:
        step.log(f"{step.name}: nothing is taken over, for {error}")
        return {}
    schema = TABLES[step.asset].schema
    return {
        seed: _of(table, former)
        .with_columns(seed=pl.lit(seed))
        .select(pl.col(name).cast(dtype) for name, dtype in schema.items())
        for seed, former in same.items()
    }


def _who_answered(record: Record, checkpoint: str | None) -> dict[str, Seed]:
    """Seeds, in order, by the versions of the students whose answers ``record`` tells of."""
    if record.students:
        return {version: int(seed) for seed, version in record.students.items()}
    # Of a lone student, the whole checkpoint is its version.
    return {checkpoint: None} if checkpoint else {}


def _of(table: pl.DataFrame, seed: Seed) -> pl.DataFrame:
    """Rows of ``seed``; all, where it is the only student."""
    return table if seed is None else table.filter(seed=seed)
