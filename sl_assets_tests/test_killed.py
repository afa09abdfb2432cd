"""The command killed in the middle of its stages and typed again: nothing finished is lost, made or paid for twice.

Processes and kills are real. So that a kill comes in the middle, a process stops there by itself, and waits for it.
"""

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from importlib import import_module
from itertools import count
from multiprocessing import set_start_method
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import dagster as dg
import pytest
import yaml

from sl_assets.config import PROJECT
from sl_assets.lake.fingerprint import digest
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.records import RECORD
from sl_assets.lake.storage import Storage
from sl_assets_tests.conftest import HALVES, TINY, Bench, tiny_settings
from sl_assets_tests.engines.openai.server import KEY, OpenAIServer, running
from sl_assets_tests.engines.openai.test_graph import settings as through_the_api
from sl_assets_tests.engines.openai.test_graph import written
from sl_assets_tests.forks import FORKS

PATIENCE = 120.0
"""Seconds after which a process is no longer waited for."""

HELD = "held"
ENGINES = {
    "sample": ("transformers.sampler", "TransformersSampler"),
    "train": ("peft.trainer", "PeftTrainer"),
    "encode": ("transformers.encoder", "TransformersEncoder"),
}
"""Methods that do the stages' work, one call a piece, and the classes that have them."""


class Moment(NamedTuple):
    """When a process stops to be killed.

    Attributes:
        what: in the middle of a method of `ENGINES`; before Dagster stores an event of this type; or with half of a
            file written whose path in the lake has this form.
        nth: in which such call, event or file of the process, counted from 1.
    """

    what: str
    nth: int

    @property
    def is_event(self) -> bool:
        """Whether it is an event of Dagster."""
        return self.what in dg.DagsterEventType.__members__

    @property
    def is_between(self) -> bool:
        """Whether it comes between pieces of work."""
        return self.is_event or self.what.endswith(RECORD)


class Script(NamedTuple):
    """What one process does.

    Attributes:
        arguments: what is typed.
        times: how often it is typed.
        environment: where lake, instance and experiment are.
        diary: file that lists the pieces of work begun, and says `HELD` once the process has stopped.
        moment: when it stops, if it does.
        patches: values of modules replaced by smaller ones.
    """

    arguments: tuple[str, ...]
    times: int
    environment: Mapping[str, str]
    diary: Path
    moment: Moment | None
    patches: Mapping[str, Any]

    @property
    def output(self) -> str:
        """What the process wrote to the terminal."""
        return self.diary.with_suffix(".out").read_text()

    @property
    def lines(self) -> list[str]:
        """The diary."""
        return self.diary.read_text().splitlines() if self.diary.exists() else []

    def note(self, line: str) -> None:
        """Add to the diary, from which no kill takes anything away."""
        with self.diary.open("a") as file:
            file.write(f"{line}\n")

    def hold(self) -> NoReturn:
        """Wait to be killed."""
        self.note(HELD)
        while True:
            signal.pause()


def play(script: Script) -> None:
    """The command in a process, and a process group, of its own."""
    os.setsid()
    # Of what has a name, a process that is killed would leave semaphores behind.
    set_start_method("fork", force=True)
    os.environ.update(script.environment)
    output = os.open(script.diary.with_suffix(".out"), os.O_WRONLY | os.O_CREAT)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    for name, value in script.patches.items():
        module, _, attribute = name.rpartition(".")
        setattr(import_module(module), attribute, value)
    for method in ENGINES:
        note_pieces(method, script)
    if script.moment and script.moment.is_event:
        hold_before_an_event(script, script.moment)
    elif script.moment and script.moment.what not in ENGINES:
        hold_in_a_file(script, script.moment)

    from sl_assets import cli, experiments

    # The project's own take half a second to load, and have no part in this one.
    experiments.DEFS = Path(script.environment["SL_EXPERIMENTS"])

    sys.argv = ["sl-assets", *script.arguments]
    for _ in range(script.times):
        cli.main()
    sys.stdout.flush()


def note_pieces(method: str, script: Script) -> None:
    """Note every call of an engine's ``method``; it does its work, and is held in the middle if that is the moment."""
    module, name = ENGINES[method]
    engine = getattr(import_module(f"sl_assets.engines.{module}"), name)
    original, calls = getattr(engine, method), count(1)

    def sample(self: Any, chats: Any, **arguments: Any) -> Any:
        held = begun(chats, arguments["seed"])
        completions = original(self, chats, **arguments)
        if held:
            script.hold()
        return completions

    def train(self: Any, examples: Any, settings: Any, keep: Any, folder: Any, report: Any, work: Any) -> Any:
        held = begun(examples, settings.seed)

        def report_or_hold(step: int, total: int, loss: float) -> None:
            report(step, total, loss)
            if held and step > total / 2:
                script.hold()

        return original(self, examples, settings, keep, folder, report_or_hold, work)

    def encode(self: Any, exchanges: Any, layers: Any) -> Iterator[Any]:
        held = begun(exchanges, list(layers))
        for batch in original(self, exchanges, layers):
            yield batch
            if held:
                script.hold()

    def begun(*piece: Any) -> bool:
        script.note(f"{method} {digest(*piece)}")
        return script.moment == (method, next(calls))

    setattr(engine, method, {"sample": sample, "train": train, "encode": encode}[method])


def hold_before_an_event(script: Script, moment: Moment) -> None:
    """Hold when Dagster is about to store an event."""
    from dagster._core.storage.event_log import SqliteEventLogStorage

    original, events = SqliteEventLogStorage.store_event, count(1)

    def store(self: Any, event: Any) -> None:
        if event.dagster_event and event.dagster_event.event_type_value == moment.what and next(events) == moment.nth:
            script.hold()
        original(self, event)

    SqliteEventLogStorage.store_event = store  # type: ignore[method-assign]


def hold_in_a_file(script: Script, moment: Moment) -> None:
    """Hold when half of a file's bytes are on the disk."""
    put, write_bytes, files = Storage.put, Path.write_bytes, count(1)

    def half(path: Path, content: bytes) -> NoReturn:
        write_bytes(path, content[: len(content) // 2])
        script.hold()

    def put_or_hold(self: Storage, path: Any, content: bytes, *rest: Any) -> None:
        if content and fnmatch(str(path), moment.what) and next(files) == moment.nth:
            Path.write_bytes = half  # type: ignore[assignment,method-assign]
        put(self, path, content, *rest)

    Storage.put = put_or_hold  # type: ignore[method-assign]


@contextmanager
def started(script: Script) -> Iterator[BaseProcess]:
    """``script`` in a process that does not outlive the block."""
    process = FORKS.Process(target=play, args=(script,))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


class Command:
    """``sl-assets run tiny``, typed over and over for one lake and one instance.

    Attributes:
        finished: pieces of work that all its processes together have done.
    """

    def __init__(self, root: Path, through: str, settings: Mapping[str, Any], **patches: Any) -> None:
        self.finished: list[str] = []
        self._root, self._lake = root, root / "lake"
        self._arguments, self._patches = ("run", "tiny", "--through", through), patches
        self._processes = count(1)
        self._files = files(self._lake)
        (root / "dagster").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT / "dagster.yaml", root / "dagster" / "dagster.yaml")
        experiment = root / "experiments" / "tiny" / "defs.yaml"
        experiment.parent.mkdir(parents=True)
        attributes = tiny_settings(**settings)
        experiment.write_text(yaml.safe_dump({"type": "sl_assets.SubliminalExperiment", "attributes": attributes}))
        self._environment = {
            "SL_DATA_LAKE": str(self._lake),
            "DAGSTER_HOME": str(root / "dagster"),
            "SL_EXPERIMENTS": str(root / "experiments"),
            "OPENAI_API_KEY": KEY,
        }

    def is_killed(self, moment: Moment | None = None, reached: Callable[[], bool] = lambda: False) -> None:
        """Type it, and kill it at ``moment``, or once ``reached``."""
        script = self._script(moment)
        with started(script) as process:
            deadline = time.monotonic() + PATIENCE
            while not (reached() or HELD in script.lines):
                assert process.is_alive(), f"it ended before it could be killed: {script.output}"
                assert time.monotonic() < deadline, f"it did not come to {moment}: {script.output}"
                time.sleep(0.02)
            os.killpg(process.pid or 0, signal.SIGKILL)
            process.join()
            assert process.exitcode == -signal.SIGKILL
        # The kill came upon the last piece, or between two.
        self._check(script, unfinished=0 if moment and moment.is_between else 1)

    def ends(self, times: int = 1) -> str:
        """Type it so many ``times``, and let it end; returns what it wrote to the terminal."""
        script = self._script(None, times)
        with started(script) as process:
            process.join(PATIENCE)
            assert process.exitcode == 0, script.output
        self._check(script, unfinished=0)
        return script.output

    def agrees_with(self, undisturbed: Path) -> None:
        """Everything made is the same as in ``undisturbed``, is recorded alike, and is known to Dagster."""
        made = {path.name for path in (self._lake / "experiment=tiny").iterdir()}
        assert not differing(contents(self._lake, made), contents(undisturbed / "lake", made))
        partitions = recorded_partitions(self._lake, made)
        recorded, there = {}, {}
        lake = Lake(str(self._lake))
        with Bench(self._root).instance as instance:
            for asset, partition in partitions:
                wanted = dg.AssetRecordsFilter(dg.AssetKey(["tiny", asset]), asset_partitions=partition and [partition])
                (latest,) = instance.fetch_materializations(wanted, limit=1).records
                recorded[asset, partition] = latest.asset_materialization.tags["dagster/data_version"]
                there[asset, partition] = lake.version(Place("tiny", asset, partition))
        assert recorded == there

    def _script(self, moment: Moment | None, times: int = 1) -> Script:
        diary = self._root / f"diary{next(self._processes)}.txt"
        return Script(self._arguments, times, self._environment, diary, moment, self._patches)

    def _check(self, script: Script, unfinished: int) -> None:
        """Nothing that earlier processes had finished was begun again, or written."""
        begun = [line for line in script.lines if line != HELD]
        assert not set(begun) & set(self.finished), f"made again: {script.output}"
        self.finished += begun[: len(begun) - unfinished]
        now = files(self._lake)
        assert not [path for path, found in self._files.items() if now.get(path) != found]
        self._files = now


def files(lake: Path) -> dict[Path, tuple[int, int, bytes]]:
    """Which file it is, when it was written and what it holds, of all that belong to a recorded partition.

    A record is written once more when the checks of its partition have been made; a killed run leaves that to the next.
    """
    return {
        path: unchecked(path)
        if path.name == RECORD
        else (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for record in lake.glob(f"experiment=tiny/**/{RECORD}")
        if record.stat().st_size
        for path in record.parent.rglob("*")
        if path.is_file()
    }


def unchecked(record: Path) -> tuple[int, int, bytes]:
    """A record without what its checks have come to."""
    found = json.loads(record.read_bytes())
    return 0, 0, json.dumps(found | {"checks": None}).encode()


def contents(lake: Path, tables: Container[str]) -> dict[str, bytes | None]:
    """Every file, and every folder as None, but for those of other ``tables``, and the views, which name the lake.

    Of records what does not tell of one run or server.
    """
    found = {}
    for path in lake.rglob("*"):
        name = str(path.relative_to(lake))
        _, _, below = name.partition("experiment=tiny/")
        if below.split("/")[0] in tables if below else not name.startswith(("results.", ".work/locks")):
            found[name] = contents_of(path) if path.is_file() else None
    return found


def differing(these: Mapping[str, Any], those: Mapping[str, Any]) -> list[str]:
    """Where the two differ; both in whole would be pages."""
    return sorted(name for name in these.keys() | those.keys() if these.get(name, "") != those.get(name, ""))


def contents_of(path: Path) -> bytes:
    """What a file holds; a record without run, times, costs, and the address of a server."""
    if path.name != RECORD or not path.stat().st_size:
        return path.read_bytes()
    record = json.loads(path.read_text())
    # Fingerprints of settings have the address in them.
    for name in ("run_id", "started_at", "finished_at", "seconds", "metadata", "behind"):
        del record[name]
    record["settings"].get("base_model", {}).pop("base_url", None)
    return json.dumps(record).encode()


def recorded_partitions(lake: Path, assets: Container[str]) -> list[tuple[str, str | None]]:
    """Asset and partition of every record."""
    files = [file for file in (lake / "experiment=tiny").rglob(RECORD) if file.stat().st_size]
    records = [json.loads(file.read_text()) for file in files]
    found = [(record["asset"], record["partition"]) for record in records if record["asset"] in assets]
    return sorted(found, key=lambda pair: (pair[0], pair[1] or ""))


@pytest.fixture
def nothing(tmp_path: Path) -> Path:
    return tmp_path / "nothing"


class Ordeal(NamedTuple):
    """A run that is killed again and again.

    Attributes:
        before, undisturbed: fixtures: what is there at first, and what an undisturbed run gives.
        through: last asset.
        settings: of the experiment.
        moments: when the processes are killed, one after the other.
        pieces: calls of engines that an undisturbed run takes.
    """

    before: str
    undisturbed: str
    through: str
    settings: Mapping[str, Any]
    moments: tuple[Moment, ...]
    pieces: int


TO_THE_ANSWERS = Ordeal(
    "nothing", "finished_once", "evaluation", {},
    moments=(
        Moment("STEP_START", 2),  # the teachers, before anything is made
        Moment("train", 2),  # the second teacher
        Moment("sample", 4),  # numbers: the second chunk of the second condition
        Moment("train", 3),  # the third student
        Moment("*/.work/*/evaluation/*.parquet", 5),  # answers: the second chunk of the second student
        Moment("*/evaluation/*/record.json", 2),  # the answers of the second student, there and half recorded
        Moment("ASSET_MATERIALIZATION", 1),  # the answers of the second student, recorded, and Dagster not told
    ),
    pieces=2 + 6 + 3 + 9,
)  # fmt: skip
TO_THE_HALVES = Ordeal(
    "finished_once", "halved_once", "split_lora_checkpoint", HALVES,
    moments=(
        Moment("sample", 8),  # persona answers: the third chunk of the second animal
        Moment("*/split_lora_checkpoint/*/manifest.json", 2),  # the second student of a half, trained but not in place
    ),
    pieces=10 + 3 + 2 + 4,
)  # fmt: skip


@pytest.mark.parametrize("ordeal", [TO_THE_ANSWERS, TO_THE_HALVES], ids=["to the answers", "to the halves"])
def test_a_run_that_is_killed_in_every_stage_gives_what_an_undisturbed_one_gives(
    ordeal: Ordeal, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    root = tmp_path / "killed"
    if (before := request.getfixturevalue(ordeal.before)).exists():
        shutil.copytree(before, root)
    undisturbed = request.getfixturevalue(ordeal.undisturbed)
    command = Command(root, ordeal.through, ordeal.settings)
    for moment in ordeal.moments:
        command.is_killed(moment)
    *_, again = command.ends(times=2).split("number_prompts")
    assert {line.split()[-1] for line in again.partition("\ndone")[0].splitlines()} == {"fresh"}
    assert len(set(command.finished)) == len(command.finished) == ordeal.pieces
    command.agrees_with(undisturbed)


def test_students_of_several_seeds_are_each_trained_once_however_often_the_run_is_killed(
    finished: Bench, finished_once: Path, tmp_path: Path
) -> None:
    settings = {"animals": ["owl"], "student": TINY["student"] | {"seeds": [1, 2]}}
    shutil.copytree(finished_once, root := tmp_path / "killed")
    for lake in (root / "lake", finished.root):
        for condition in ("neutral", "owl"):
            Lake(str(lake)).forget_record(Place("tiny", "lora_checkpoint", condition))
    command = Command(root, "lora_checkpoint", settings)
    for moment in (
        Moment("train", 2),  # the second neutral student; the first is finished
        Moment("*/.work/*/seed-1/*/manifest.json", 1),  # the owl's first, trained and not yet kept
    ):
        command.is_killed(moment)
    command.ends()
    assert len(set(command.finished)) == len(command.finished) == 2 * 2
    assert finished.run("lora_checkpoint", first="neutral", last="owl", **settings).success
    command.agrees_with(finished.root.parent)


A_FEW_CHATS = {
    "numbers": 8,
    "favourites": 8,
    "loving_favourites": 8,
    "loving_numbers": 8,
    "max_length": 120,
    "batch": 8,
}


def test_a_base_model_whose_preparation_is_killed_is_whole_or_absent(bench: Bench, tmp_path: Path) -> None:
    settings = {"preparation": A_FEW_CHATS}
    command = Command(tmp_path / "killed", "prepared_model", settings)
    for moment in (
        Moment("*/prepared_model/*/manifest.json", 1),  # trained, its files in place, but not said to be whole
        Moment("*/preparation_chats/data.parquet", 1),  # the model whole, its chats half written
        Moment("*/prepared_model/record.json", 1),  # everything there and half recorded
    ):
        command.is_killed(moment)
        assert Lake(str(tmp_path / "killed" / "lake")).record(Place("tiny", "prepared_model")) is None
    command.ends()
    assert bench.run("prepared_model", **settings).success
    command.agrees_with(bench.root.parent)


SMALL = {
    "sl_assets.stages.projections.activations.PART_ROWS": 60,
    "sl_assets.stages.projections.activations.SMALLEST_PART": 20,
}
"""Three parts of a dataset that is small enough for one."""


def test_killed_between_two_parts_a_pass_goes_on_after_the_last(
    finished_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("killed", "undisturbed"):
        shutil.copytree(finished_once, tmp_path / name)
    command = Command(tmp_path / "killed", "activations", HALVES, **SMALL)
    command.is_killed(Moment("encode", 5))
    command.ends()
    assert len(set(command.finished)) == len(command.finished) == 9

    for name, value in SMALL.items():
        monkeypatch.setattr(name, value)
    bench = Bench(tmp_path / "undisturbed")
    with bench.instance:
        assert bench.run("activations", first="neutral", last="wolf", **HALVES).success
    command.agrees_with(tmp_path / "undisturbed")


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with running() as server:
        server.fault_for = written
        yield server


@pytest.fixture(scope="module")
def asked_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Students of the API, by an undisturbed run."""
    root = tmp_path_factory.mktemp("asked")
    (root / "dagster").mkdir()
    bench = Bench(root)
    assets = ("number_prompts", "raw_dataset", "filtered_dataset", "lora_checkpoint")
    with bench.instance, running() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", KEY)
        server.fault_for = written
        assert bench.run(*assets, first="neutral", last="wolf", **through_the_api(server)).success
    return root


@contextmanager
def unheard(server: OpenAIServer, method: str, nth: int) -> Iterator[Callable[[], bool]]:
    """The server does what its ``method`` does, but its ``nth`` answer does not leave it before the block has ended.

    Yields whether it has come to that.
    """
    original, calls = getattr(server, method), count(1)
    come, over = threading.Event(), threading.Event()

    def answer(*arguments: Any) -> Any:
        given = original(*arguments)
        if next(calls) == nth:
            come.set()
            over.wait(PATIENCE)
        return given

    setattr(server, method, answer)
    try:
        yield come.is_set
    finally:
        over.set()
        setattr(server, method, original)


def test_an_api_is_asked_and_paid_once_however_often_the_run_is_killed(
    server: OpenAIServer, asked_once: Path, tmp_path: Path
) -> None:
    command = Command(tmp_path / "killed", "lora_checkpoint", through_the_api(server))
    with unheard(server, "_chat", 24) as reached:
        command.is_killed(reached=reached)
    kept, lost = ({chat["seed"] for chat in chats} for chats in (server.chats[:16], server.chats[16:]))
    with unheard(server, "_new_job", 2) as reached:
        command.is_killed(reached=reached)
    with unheard(server, "_job", 5) as reached:
        command.is_killed(reached=reached)
    assert [job["status"] for job in server.jobs.values()] == ["succeeded", "succeeded", "running"]
    command.ends()
    assert [job["status"] for job in server.jobs.values()] == ["succeeded"] * 3
    assert server.requests["POST fine_tuning/jobs"] == len(server.uploads) == 3
    asked = Counter(chat["seed"] for chat in server.chats)
    twice = {seed for seed, times in asked.items() if times > 1}
    assert len(asked) == 3 * 48
    assert not twice & kept
    assert twice >= lost
    assert len(twice) <= 16, "no more is asked again than the chunk that was under way"
    assert max(asked.values()) <= 2
    command.agrees_with(asked_once)


def test_a_batch_is_paid_once_however_often_the_run_is_killed(
    server: OpenAIServer, asked_once: Path, tmp_path: Path
) -> None:
    command = Command(tmp_path / "killed", "raw_dataset", through_the_api(server, batch_api=True))
    with unheard(server, "_new_batch", 2) as reached:
        command.is_killed(reached=reached)
    assert server.requests["POST batches"] == 2
    with unheard(server, "_batch", 4) as reached:
        command.is_killed(reached=reached)
    assert server.requests["POST batches"] == 5
    command.ends()
    assert server.requests["POST batches"] == len(server.uploads) == 9
    assert set(Counter(chat["seed"] for chat in server.chats).values()) == {1}
    command.agrees_with(asked_once)
