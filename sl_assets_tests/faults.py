"""Kills runs in every stage, harms every kind of file, and takes the disk away, and says what came of it.

``python -m sl_assets_tests.faults --kills 50 --seed 1``: the tiny experiment with halves, really run. After every fault
the same command is typed again; in the end the lake has to be the one that an undisturbed run gives. The last table is
that of docs/faults.md.
"""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import click
import dagster as dg
import yaml

from sl_assets.components import declare
from sl_assets.config import PROJECT
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.unfinished import UNFINISHED
from sl_assets.lake.verifying import verified
from sl_assets.locks import is_locked
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.planner import Planner
from sl_assets_tests.cli.command import OUTPUTS, typed
from sl_assets_tests.conftest import HALVES, tiny_config, tiny_settings
from sl_assets_tests.forks import FORKS
from sl_assets_tests.test_killed import contents, differing

SECONDS = 600.0
"""After which a command is no longer waited for."""


class Outcome(NamedTuple):
    """What came of one kind of fault.

    Attributes:
        fault: what was done.
        times: how often.
        result: what was seen of it.
    """

    fault: str
    times: int
    result: str


class Patient:
    """The tiny experiment in a lake and a home of its own, made by the command as a user types it.

    Attributes:
        root: folder of everything.
        lake: its lake.
    """

    def __init__(self, root: Path, settings: Mapping[str, Any] = HALVES) -> None:
        self.root, self.settings = root, settings
        self.lake = Lake(str(root / "lake"))
        (root / "dagster").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT / "dagster.yaml", root / "dagster" / "dagster.yaml")
        experiment = root / "experiments" / "tiny" / "defs.yaml"
        experiment.parent.mkdir(parents=True, exist_ok=True)
        attributes = tiny_settings(**self.settings)
        experiment.write_text(yaml.safe_dump({"type": "sl_assets.SubliminalExperiment", "attributes": attributes}))

    @property
    def environment(self) -> dict[str, str]:
        """Where its lake, its instance and its experiment are."""
        return {
            "SL_DATA_LAKE": str(self.lake.root),
            "DAGSTER_HOME": str(self.root / "dagster"),
            "SL_EXPERIMENTS": str(self.root / "experiments"),
            "OMP_NUM_THREADS": "1",
        }

    @property
    def assets(self) -> list[str]:
        """Its assets in the order in which a run makes them."""
        graph = ExperimentGraph("tiny", tiny_config(**self.settings))
        declare(graph)
        return Planner(graph, self.lake, graph.config.conditions).assets

    def types(self, *arguments: str, killed_after: float = SECONDS) -> tuple[int, str]:
        """Exit status and output of ``sl-assets`` with ``arguments``.

        Args:
            arguments: what is typed.
            killed_after: seconds after which all its processes are killed, if it still runs then.
        """
        with tempfile.TemporaryDirectory() as said:
            files = [Path(said) / output for output in OUTPUTS]
            process = FORKS.Process(target=typed, args=(os.environ | self.environment, arguments, None, files, True))
            process.start()
            # By then it leads a group of its own, and what takes long to import is there.
            while not files[-1].exists() and process.is_alive():
                time.sleep(0.02)
            process.join(killed_after)
            if process.exitcode is None:
                os.killpg(process.pid or 0, signal.SIGKILL)
                process.join()
            return process.exitcode or 0, "".join(file.read_text() for file in files)

    def makes(self, *arguments: str) -> str:
        """``sl-assets run tiny``, which has to succeed; returns what it wrote."""
        status, said = self.types("run", "tiny", *arguments)
        assert status == 0, said
        return said

    def require_whole(self) -> None:
        """Whatever is recorded is there, and is what was recorded."""
        for place in self.lake.recorded_places("tiny"):
            found = verified(self.lake, place)
            assert found is None or not found.damage, found

    def require_tidy(self) -> None:
        """No run is left under way, no lock is held, and nothing half made is there."""
        with dg.DagsterInstance.from_config(str(self.root / "dagster")) as instance:
            left = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
            assert not left, left
        locks = [*(Path(self.lake.root) / ".work" / "locks").glob("*"), *self.root.glob("dagster/.processes/*.lock")]
        assert not [lock for lock in locks if is_locked(lock)]
        assert not list((Path(self.lake.root) / UNFINISHED).glob("*"))
        work = [path for path in (Path(self.lake.root) / ".work").glob("experiment=*/**/*") if path.is_file()]
        assert not work, work

    def require_equal(self, undisturbed: "Patient") -> None:
        """It is what ``undisturbed`` is, records and all, and Dagster knows it."""
        made = {path.name for path in (Path(self.lake.root) / "experiment=tiny").iterdir()}
        here, there = (contents(Path(one.lake.root), made) for one in (self, undisturbed))
        assert not (others := differing(here, there)), others
        with dg.DagsterInstance.from_config(str(self.root / "dagster")) as instance:
            for place in self.lake.recorded_places("tiny"):
                keys = place.partition and [place.partition]
                wanted = dg.AssetRecordsFilter(dg.AssetKey(["tiny", place.table]), asset_partitions=keys)
                (latest,) = instance.fetch_materializations(wanted, limit=1).records
                told = latest.asset_materialization
                assert told
                assert (told.tags or {})["dagster/data_version"] == self.lake.version(place), place


def undisturbed_run(root: Path, say: Callable[[str], None]) -> tuple[Patient, dict[str, float]]:
    """The whole experiment, asset by asset, and how many seconds the command took for each."""
    patient = Patient(root)
    # The first process of all imports what the others share.
    patient.types("--version")
    seconds = {}
    for asset in patient.assets:
        start = time.monotonic()
        patient.makes("--through", asset)
        seconds[asset] = time.monotonic() - start
        say(f"{asset}: {seconds[asset]:.1f} s undisturbed")
    return patient, seconds


def kills(
    patient: Patient, seconds: Mapping[str, float], count: int, luck: random.Random, say: Callable[[str], None]
) -> Outcome:
    """SIGKILL at random moments of every asset in turn, ``count`` in all; each time the command is typed again.

    Moments are drawn from the whole command, so some come before the asset is begun, and some when it is recorded.
    """
    assets = [asset for asset in patient.assets if asset in seconds]
    each, more = divmod(count, len(assets))
    killed = 0
    for index, asset in enumerate(assets):
        wanted = each + (index < more)
        for _ in range(4 * wanted):
            if not wanted:
                break
            moment = luck.uniform(0.2, 1.0) * seconds[asset]
            status, said = patient.types("run", "tiny", "--through", asset, killed_after=moment)
            patient.require_whole()
            if status == -signal.SIGKILL:
                wanted, killed = wanted - 1, killed + 1
            else:
                # It was faster, and there is nothing left to kill: what it made is forgotten.
                assert status == 0, said
                for place in list(patient.lake.recorded_places("tiny")):
                    if place.table == asset:
                        patient.lake.forget_record(place)
        patient.makes("--through", asset)
        patient.require_tidy()
        say(f"{asset}: killed, {killed} kills so far")
    return Outcome(f"SIGKILL of all processes, in each of {len(assets)} assets", killed, SAME)


SAME = "no half file, no lock, no run left; typed again, the lake is that of an undisturbed run"


def flipped(file: Path, luck: random.Random) -> None:
    """One bit of a file is another."""
    content = bytearray(file.read_bytes())
    content[luck.randrange(len(content))] ^= 1 << luck.randrange(8)
    file.write_bytes(content)


def cut(file: Path, luck: random.Random) -> None:
    """A file ends early."""
    content = file.read_bytes()
    file.write_bytes(content[: luck.randrange(len(content))])


READERS = {
    "filtered_dataset": "lora_checkpoint",
    "teacher_checkpoint": "raw_dataset",
    "lora_checkpoint": "evaluation",
    "persona_vector": "projections",
    "activations": "projections",
    "projection_split": "split_lora_checkpoint",
}
"""Tables, adapters, vectors and hidden states, and what reads each."""


def harmed_and_read(patient: Patient, luck: random.Random, say: Callable[[str], None]) -> Outcome:
    """A flipped bit in what a stage is about to read: it is named, nothing is made of it, and the next run mends it."""
    for parent, reader in READERS.items():
        place = Place("tiny", parent, "owl|animal_high" if parent == "projection_split" else "owl")
        record = patient.lake.record(place)
        assert record
        # A table beside it is read by others.
        name = luck.choice([name for name in record.files if name.startswith(f"{place.subfolder}/")])
        file = Path(patient.lake.root) / "experiment=tiny" / name
        flipped(file, luck)
        patient.lake.forget_record(replace(place, table=reader))
        status, said = patient.types("run", "tiny", "--through", reader, "--animals", "owl")
        assert status == 1, said
        assert f"{place} is damaged ({file}: " in said, said
        assert "materialise it again" in said, said
        patient.makes("--through", reader)
        say(f"{file.name} of {place}: named when {reader} read it")
    return Outcome("one bit flipped in what a stage reads (tables, adapters, vectors, states)", len(READERS), NAMED)


NAMED = "named in one line with file and fix, nothing was made of it; typed again, it was made again as it was"


def harmed_and_verified(patient: Patient, count: int, luck: random.Random, say: Callable[[str], None]) -> Outcome:
    """Any file of the lake flipped or cut: `sl-assets verify` names it and no other."""
    for _ in range(count):
        place = luck.choice([place for place in patient.lake.recorded_places("tiny") if patient.lake.record(place)])
        record = patient.lake.record(place)
        assert record
        file = Path(patient.lake.root) / "experiment=tiny" / luck.choice(list(record.files))
        luck.choice([flipped, cut])(file, luck)
        status, said = patient.types("verify", "tiny", "--forget")
        assert status == 1, said
        line, _ = said.splitlines()
        assert line.startswith(f"{place}: {file}: "), said
        patient.makes()
        say(f"{file.name} of {place}: named by verify")
    return Outcome("one bit flipped, or the end cut off, in any file", count, VERIFIED)


VERIFIED = "`sl-assets verify` named it and no other; the next run made it again as it was"


@contextmanager
def disk(folder: Path, size: int) -> Iterator[Callable[[str], None]]:
    """A disk of ``size`` bytes at ``folder``; yields what mounts it again with other options."""
    folder.mkdir(parents=True, exist_ok=True)

    def mount(options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)

    mount(f"size={size}")
    try:
        yield lambda options: mount(f"remount,{options}")
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def size_of(folder: Path) -> int:
    """Bytes of all files below ``folder``, as a disk counts them."""
    return sum(4096 * -(-path.stat().st_size // 4096) for path in folder.rglob("*") if path.is_file())


FIRST = ("--through", "lora_checkpoint")
"""As far as runs go whose disk fills up, or whose event log cannot be written."""


def full_disks(root: Path, undisturbed: Patient, shares: Sequence[float], say: Callable[[str], None]) -> Outcome:
    """A disk that fills up in the middle of a run, and is made larger then."""
    made = undisturbed.assets
    folders = [Path(undisturbed.lake.root) / "experiment=tiny" / name for name in made[: made.index(FIRST[-1]) + 1]]
    whole = sum(map(size_of, folders))
    for share in shares:
        patient = Patient(root / f"full{share}")
        with disk(Path(patient.lake.root), int(share * whole)) as mounted:
            status, said = patient.types("run", "tiny", *FIRST)
            assert status == 1, said
            assert "no space left on device; nothing was changed there. Make room" in said, said
            patient.require_whole()
            mounted("size=0")
            patient.makes(*FIRST)
            patient.require_tidy()
            patient.require_equal(undisturbed)
        say(f"a disk of {share:.0%}: {said.strip().splitlines()[-1][:160]}")
    return Outcome("disk full in the middle of a run, then made larger", len(shares), SAID + SAME)


SAID = "one line says so and what to do; "


def read_only_disk(root: Path, undisturbed: Patient, say: Callable[[str], None]) -> Outcome:
    """A disk that nothing can be written to, halfway."""
    patient = Patient(root / "read_only")
    with disk(Path(patient.lake.root), 0) as mounted:
        shutil.copytree(undisturbed.lake.root, patient.lake.root, dirs_exist_ok=True)
        for place in list(patient.lake.recorded_places("tiny")):
            if place.table in ("filtered_dataset", "preference_chart"):
                patient.lake.forget_record(place)
        mounted("ro")
        status, said = patient.types("run", "tiny")
        assert status == 1, said
        assert "read-only file system; nothing was changed there" in said, said
        assert patient.types("status", "tiny")[0] == 0
        assert patient.types("verify", "tiny")[0] == 0
        mounted("rw")
        patient.makes()
        patient.require_tidy()
        assert not differing(
            contents(Path(patient.lake.root), patient.assets), contents(Path(undisturbed.lake.root), patient.assets)
        )
    say("read-only")
    return Outcome("lake read-only", 1, SAID + "`status` and `verify` go on; " + SAME)


def clock_jumps(patient: Patient, say: Callable[[str], None]) -> Outcome:
    """Records of a time to come, and of long ago."""
    jumps = (timedelta(days=400), timedelta(days=-4000))
    for jump in jumps:
        for place in list(patient.lake.recorded_places("tiny")):
            if record := patient.lake.record(place):
                moved = replace(record, started=record.started + jump, finished=record.finished + jump)
                patient.lake.write_record(moved)
        said = patient.makes()
        lines = [line for line in said.partition("\ndone")[0].splitlines() if " warning: " not in line]
        assert {line.split()[-1] for line in lines} == {"fresh"}, said
        patient.makes("--again", "--through", "number_prompts")
        again = patient.lake.record(Place("tiny", "number_prompts"))
        assert again
        assert abs(again.finished - datetime.now(UTC)) < timedelta(minutes=5)
    say("clock jumps")
    result = "nothing is made again unasked, and what is asked for `--again` is"
    return Outcome("clock set back by 400 days, and on by 11 years", len(jumps), result)


def event_log(root: Path, undisturbed: Patient, say: Callable[[str], None]) -> Outcome:
    """Dagster's databases on a disk that is full, and locked by another process."""
    patient = Patient(root / "event_log")
    home = patient.root / "dagster"
    settings = (home / "dagster.yaml").read_bytes()
    with disk(home, 20_000_000):
        (home / "dagster.yaml").write_bytes(settings)
        patient.makes("--through", "number_prompts")
        with (home / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(4096))
        status, said = patient.types("run", "tiny", *FIRST, killed_after=120.0)
        say(f"event log full: {status}, {said.strip().splitlines()[-1][:160]}")
        assert status == 1, said
        patient.require_whole()
        (home / "ballast").unlink()
        locked = [sqlite3.connect(file, isolation_level=None) for file in sorted(home.rglob("*.db"))]
        for connection in locked:
            connection.execute("BEGIN EXCLUSIVE")
        status, said = patient.types("run", "tiny", *FIRST, killed_after=120.0)
        say(f"event log locked: {status}, {said.strip().splitlines()[-1][:160]}")
        assert status == 1, said
        assert "Dagster's records of its runs cannot be used (database is locked); " in said, said
        for connection in locked:
            connection.close()
        patient.require_whole()
        patient.makes(*FIRST)
        patient.require_tidy()
        patient.require_equal(undisturbed)
    return Outcome("Dagster's event log full, and locked by another process", 2, SAID + SAME)


@click.command()
@click.option("--kills", "count", default=50, help="How many runs are killed.")
@click.option("--harms", default=12, help="How many files are harmed beside those that a stage is about to read.")
@click.option("--seed", default=1, help="Of the moments, files and bits.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where; a temporary folder where left out.")
@click.option("--only", help="Faults, comma-separated: kills, reads, verify, full, read-only, clock, event-log.")
def main(count: int, harms: int, seed: int, folder: Path | None, only: str | None) -> None:
    """Try all faults on the tiny experiment, and print what came of each as a table."""
    start = time.monotonic()

    def say(line: str) -> None:
        click.echo(f"{time.monotonic() - start:7.1f} s  {line}", err=True)

    with tempfile.TemporaryDirectory() as scratch:
        root = (folder or Path(scratch)).absolute()
        known = root / "seconds.json"
        if known.exists():
            undisturbed, seconds = Patient(root / "undisturbed"), json.loads(known.read_text())
        else:
            undisturbed, seconds = undisturbed_run(root / "undisturbed", say)
            known.write_text(json.dumps(seconds))
        luck = random.Random(seed)
        patient = Patient(root / "killed")

        def equal(outcome: Outcome) -> Outcome:
            patient.require_equal(undisturbed)
            return outcome

        faults = {
            "kills": lambda: equal(kills(patient, seconds, count, luck, say)),
            "reads": lambda: equal(harmed_and_read(patient, luck, say)),
            "verify": lambda: equal(harmed_and_verified(patient, harms, luck, say)),
            "full": lambda: full_disks(root, undisturbed, (0.4, 0.8), say),
            "read-only": lambda: read_only_disk(root, undisturbed, say),
            "event-log": lambda: event_log(root, undisturbed, say),
            "clock": lambda: clock_jumps(patient, say),
        }
        click.echo("| fault | times | what came of it | minutes |\n| --- | --- | --- | --- |")
        for name, fault in faults.items():
            if only is None or name in only.split(","):
                began = time.monotonic()
                outcome = fault()
                minutes = (time.monotonic() - began) / 60
                click.echo(f"| {outcome.fault} | {outcome.times} | {outcome.result} | {minutes:.1f} |")


if __name__ == "__main__":
    main()
