"""Students of one partition: one for every seed, trained one after another by one trainer.

A seed decides where its adapter starts, in which order it sees the rows, and which rows it sees where ``max_rows`` is
fewer than there are. Students of other seeds have no part in it. So those that are finished are kept until the
partition is recorded, and those of the partition as it was are taken over where nothing but the list of seeds differs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import polars as pl

from sl_assets.config import StudentSettings, TrainingSettings
from sl_assets.engines.interfaces import Trainer
from sl_assets.errors import AbsentError
from sl_assets.lake.fingerprint import folder_digest
from sl_assets.lake.folders import take_files
from sl_assets.lake.replicates import ROWS_SEEN, student_folder, students_of
from sl_assets.lake.tables import TABLES
from sl_assets.orchestration.partition import Product, Step
from sl_assets.stages.students.rows import draw_rows, examples_of
from sl_assets.stages.training import CURVES, curve_metadata, finish_adapters, training_metadata


class Earlier(NamedTuple):
    """A student of the partition as it was.

    Attributes:
        folder: holds its epochs.
        curve: its ``training`` table.
    """

    folder: Path
    curve: pl.DataFrame


def train_students(
    step: Step,
    trainer_for: Callable[[TrainingSettings], Trainer],
    rows: pl.DataFrame,
    student: StudentSettings,
) -> Product:
    """Write the adapters of every seed's kept epochs, all training curves, and which rows each student was trained on.

    Raises:
        DatasetError: there are no rows, or the trainer wrote an adapter that is none of the base model.
    """
    seeds = student.all_seeds
    with step.new_folder() as folder, _earlier(step, seeds) as earlier:
        ours = {seed: student_folder(folder, seed, seeds) for seed in seeds}
        for seed, former in earlier.items():
            take_files(former.folder, ours[seed])
        curves = {seed: former.curve for seed, former in earlier.items()}
        left = [seed for seed in seeds if seed not in earlier]
        trained, engine = _trained(step, trainer_for, rows, student, {seed: ours[seed] for seed in left})
        versions: dict[int | None, str] = {seed: folder_digest(ours[seed]) for seed in seeds}
        version = step.put(folder)
    curve = pl.concat([(curves | trained)[seed] for seed in seeds])
    step.write(curve, CURVES[step.asset])
    # A student that is taken over saw these as well: it is one of the same code, settings and dataset.
    step.write(rows_seen(rows, student, str(step.partition)), ROWS_SEEN[step.asset])
    metadata = training_metadata(step, version, min(rows.height, student.max_rows)) | curve_metadata(curve)
    if len(seeds) > 1 or earlier:
        metadata |= {"seeds": listed(seeds), "trained": listed(left), "taken_over": listed(list(earlier))}
    # What nobody trains was still made by someone.
    made_by = engine or (step.earlier.engine if step.earlier else "")
    return Product(version, metadata, made_by, versions)


def rows_seen(rows: pl.DataFrame, student: StudentSettings, partition: str) -> pl.DataFrame:
    """Which of ``rows`` the student of each seed is trained on: ``seed, row_id``, in the order of ``rows``.

    Raises:
        DatasetError: there are no rows.
    """
    return pl.concat(
        draw_rows(rows, student.max_rows, seed, partition).select(pl.lit(seed, pl.Int64).alias("seed"), "row_id")
        for seed in student.all_seeds
    )


def listed(seeds: Sequence[int]) -> str:
    """``1, 2, 3``, or ``none``."""
    return ", ".join(map(str, seeds)) or "none"


def _trained(
    step: Step,
    trainer_for: Callable[[TrainingSettings], Trainer],
    rows: pl.DataFrame,
    student: StudentSettings,
    folders: Mapping[int, Path],
) -> tuple[dict[int, pl.DataFrame], str]:
    """Train a student of each seed into its folder; returns the curves, and what trained.

    What an interrupted run has finished is taken as it is.
    """
    progress, several = step.progress("steps"), len(student.all_seeds) > 1
    work = step.work_of_seeds if several else step.work
    trainer: Trainer | None = None
    curves: dict[int, pl.DataFrame] = {}
    for before, (seed, folder) in enumerate(folders.items()):
        drawn = draw_rows(rows, student.max_rows, seed, str(step.partition))
        examples = examples_of(drawn, student.system_prompt)
        piece = ("student", seed, examples)
        curve = work.load(f"curve-{seed}", *piece) if several else None
        if curve is not None and work.load_folder(f"seed-{seed}", folder, *piece):
            step.log(f"{step.name}: the student of seed {seed} was finished by an earlier run")
            curves[seed] = curve
            continue

        def report(done: int, total: int, _: float, before: int = before) -> None:
            progress(before * total + done, len(folders) * total)

        folder.mkdir(exist_ok=True)
        trainer = trainer or trainer_for(student)
        settings = student.of_seed(seed)
        curves[seed] = trainer.train(examples, settings, student.kept, folder, report, work)
        finish_adapters(step, folder, trainer.engine)
        if several:
            work.save(f"curve-{seed}", curves[seed], *piece)
            work.save_folder(f"seed-{seed}", folder, *piece)
    return curves, trainer.engine if trainer else ""


@contextmanager
def _earlier(step: Step, seeds: Sequence[int]) -> Iterator[dict[int, Earlier]]:
    """Students of ``seeds`` that the partition has already, made by the same code of the same settings and rows.

    None where it has just these: then it was asked to be made again.
    """
    record, place = step.earlier, step.place(step.asset)
    # Everything has been read that a student is made of.
    there = students_of(record) if record and record.parents == step.lake.reads else {}
    shared = [] if there.keys() == set(seeds) else [seed for seed in seeds if seed in there]
    found: dict[int, Earlier] = {}
    with ExitStack() as stack:
        if shared:
            # With reads of its own: a partition is no input of itself.
            aside = step.lake.apart()
            try:
                folder = stack.enter_context(aside.folder(place))
                curve = aside.read_table(step.place(CURVES[step.asset]))
            except AbsentError as error:
                step.log(f"{step.name}: nothing is taken over, for {error}")
            else:
                found = {
                    seed: Earlier(student_folder(folder, seed, list(there)), _of_seed(curve, seed)) for seed in shared
                }
        yield found


def _of_seed(curve: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Rows of ``seed`` in a ``training`` table; all of one that is older than its column for it."""
    own = curve.filter(seed=seed) if "seed" in curve.columns else curve.with_columns(seed=pl.lit(seed))
    return own.select(pl.col(name).cast(dtype) for name, dtype in TABLES["training"].schema.items())
