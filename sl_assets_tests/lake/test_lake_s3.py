"""The data lake on S3, against a real S3 server of our own."""

import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from s3fs import S3FileSystem

from sl_assets.errors import AbsentError, LakeError, PassingError
from sl_assets.lake import folders
from sl_assets.lake.folders import MANIFEST, SECONDS_A_FOLDER_IS_FILLED
from sl_assets.lake.lake import Lake
from sl_assets.lake.pins import pin, pinned, pins, unpin
from sl_assets.lake.places import Place
from sl_assets.lake.prune import leftovers
from sl_assets.lake.records import RECORD
from sl_assets.lake.tables import TABLES
from sl_assets.lake.verifying import verified
from sl_assets.lake.views import query
from sl_assets.lake.work import Work
from sl_assets_tests.lake.filling import put_folder, step, write_folder, write_record, write_table
from sl_assets_tests.lake.test_records import recorded
from sl_assets_tests.s3_server import s3_server

TABLE = Place("exp", "steering_sweep", "cat")
FOLDER = Place("exp", "lora_checkpoint", "cat")
TRAINING = Place("exp", "training", "cat")
SCHEMA = TABLES["training"].schema
FRAME = pl.DataFrame([(1, 1, 0.5, 2.0, 0.1), (1, 2, 1.0, 1.5, 0.0)], schema=SCHEMA, orient="row")
BUCKET = "lakes"


@pytest.fixture(scope="module")
def s3():
    """A client of a fresh S3 server, which every other client of this process finds by the environment too."""
    with s3_server(BUCKET) as client:
        yield client


@pytest.fixture
def lake(s3, request):
    return Lake(f"s3://{BUCKET}/{request.node.name.translate(str.maketrans('[]', '--'))}")


def keys(s3, lake: Lake) -> list[str]:
    """Keys of every object below the lake's root, as the server has them."""
    prefix = str(lake.root).removeprefix(f"s3://{BUCKET}/") + "/"
    objects = s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return [item["Key"].removeprefix(prefix) for item in objects]


def fail_half_way(lake: Lake) -> None:
    with lake.building(FOLDER) as folder:
        (folder / "b").write_text("2")
        raise RuntimeError("half-way")


def test_table_comes_back_as_it_was(s3, lake):
    assert not lake.exists(TABLE)
    version = write_table(lake, TABLE, FRAME)
    other = Lake(str(lake.root))
    assert other.exists(TABLE)
    assert other.read_table(TABLE).equals(FRAME)
    assert other.reads == {TABLE: version}
    assert keys(s3, lake) == [f"{TABLE.folder}/data.parquet", f"{TABLE.folder}/{RECORD}"]


def test_table_is_replaced(lake):
    first = write_table(lake, TABLE, FRAME)
    second = write_table(lake, TABLE, FRAME[:1])
    assert first != second == lake.version(TABLE)
    assert lake.read_table(TABLE).height == 1


def test_what_has_no_record_is_not_there(lake):
    version = lake.write_table(TABLE, FRAME)
    put_folder(lake, a="1")
    for place in (TABLE, FOLDER):
        assert not lake.exists(place)
        assert lake.record(place) is None
        with pytest.raises(AbsentError, match=f"{place} is not in s3://.*: materialise it first"):
            lake.version(place)
    assert lake.read_table(TABLE).equals(FRAME), "a user's own tables have none"
    record = recorded(TABLE, version, {FOLDER: "f1"})
    lake.write_record(record)
    assert Lake(str(lake.root)).record(TABLE) == record


def test_a_record_is_forgotten_before_its_data_are_replaced(s3, lake):
    lake.forget_record(TABLE)
    write_table(lake, TABLE, FRAME)
    step(lake, TABLE).write(pl.DataFrame(schema=TABLES[TABLE.table].schema))
    assert not Lake(str(lake.root)).exists(TABLE)
    assert keys(s3, lake) == [f"{TABLE.folder}/data.parquet", f"{TABLE.folder}/record.json"]
    assert (lake.path(TABLE) / "record.json").read_bytes() == b"", "emptied, for whoever is about to open it"


def test_a_refused_upload_leaves_the_partition_as_it_was(s3, lake, monkeypatch):
    write_table(lake, TABLE, FRAME)
    before = keys(s3, lake)

    call = lake.root.fs.call_s3

    def no_room(method: str, *arguments: object, **named: Any) -> Any:
        # As with a quota, a file of no bytes is taken: a record that is emptied.
        if method == "put_object" and named["Body"]:
            raise PermissionError(errno.EACCES, "Quota Exceeded")
        return call(method, *arguments, **named)

    with monkeypatch.context() as server:
        server.setattr(lake.root.fs, "call_s3", no_room)
        with pytest.raises(LakeError, match="quota exceeded"):
            lake.write_table(TABLE, FRAME[:1], part_of=TABLE)
    assert lake.exists(TABLE)
    assert lake.read_table(TABLE).equals(FRAME)
    assert keys(s3, lake) == before
    lake.write_table(TABLE, FRAME[:1], part_of=TABLE)
    assert not lake.exists(TABLE), "until it is recorded"
    assert lake.read_table(TABLE).equals(FRAME[:1])
    assert keys(s3, lake) == before, "nothing is left of the upload"


def test_a_record_is_forgotten_once_the_server_has_the_data(s3, lake, monkeypatch):
    write_table(lake, TABLE, FRAME)
    copy, seen = lake.root.fs.cp_file, []

    def look(source: str, target: str) -> None:
        record = f"{target.rpartition('/')[0]}/{RECORD}"
        seen.extend(lake.root.fs.cat_file(key) for key in (source, target, record))
        copy(source, target)

    monkeypatch.setattr(lake.root.fs, "cp_file", look)
    lake.write_table(TABLE, FRAME[:1], part_of=TABLE)
    new, old, record = seen
    assert [pl.read_parquet(content).height for content in (new, old)] == [1, 2]
    assert record == b""


def test_what_killed_runs_left_goes_after_a_day(s3, lake, monkeypatch):
    write_folder(lake, a="1")
    put_folder(lake, a="2")
    left = f"{FOLDER.folder}/0123456789abcdef/deep/a"
    for name in (left, ".work/unfinished/0123"):
        lake.write_file(lake.root / name, b"left")

    def found() -> set[str]:
        return {str(one.path.relative_to(lake.root)) for one in leftovers(lake, {"exp": lambda _: True})}

    assert found() == set()
    before = keys(s3, lake)
    write_folder(lake, a="1")
    assert keys(s3, lake) == before
    monkeypatch.setattr(folders, "time", SimpleNamespace(time=lambda: time.time() + SECONDS_A_FOLDER_IS_FILLED))
    assert len(found()) == 3
    for one in leftovers(lake, {"exp": lambda _: True}):
        one.delete()
    assert found() == set()
    lake.write_file(lake.root / left, b"left")
    write_folder(lake, a="1")
    assert left not in keys(s3, lake), "whoever writes there next removes it, too"
    with lake.folder(FOLDER):
        pass


def test_a_damaged_table_is_absent_and_named(lake):
    write_table(lake, TABLE, FRAME)
    (lake.path(TABLE) / "data.parquet").write_bytes(b"PAR1")
    with pytest.raises(AbsentError, match=r"exp/steering_sweep of cat is damaged \(s3://.*: materialise it again"):
        lake.read_table(TABLE)
    assert not lake.exists(TABLE), "so the next run makes it again"


def test_all_that_was_uploaded_is_told_by_its_record(lake):
    write_record(lake, TABLE, lake.write_table(TABLE, FRAME, part_of=TABLE))
    lake.writes.clear()
    write_folder(lake, a="1", b="2")
    assert [verified(lake, place).damage for place in lake.recorded_places("exp")] == [(), ()]
    table, weights = lake.path(TABLE) / "data.parquet", lake.path(FOLDER) / lake.version(FOLDER) / "deep" / "a"
    flipped = bytearray(table.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    table.write_bytes(bytes(flipped))
    weights.unlink()
    (folder,) = verified(lake, FOLDER).damage
    assert folder == f"{weights}: no such file"
    (of_table,) = verified(lake, TABLE).damage
    assert of_table.startswith(f"{table}: SHA-256 ")
    with pytest.raises(AbsentError, match="is damaged"):
        lake.read_table(TABLE)


@pytest.mark.parametrize("looks", [1, 2])
def test_what_was_harmed_on_its_way_is_looked_at_again(lake, monkeypatch, looks):
    write_table(lake, TABLE, FRAME)
    read, left = lake.root.fs.cat_file, [b"PAR1"] * looks

    def harmed(path):
        return left.pop() if left and path.endswith("data.parquet") else read(path)

    monkeypatch.setattr(lake.root.fs, "cat_file", harmed)
    if looks == 1:
        assert lake.read_table(TABLE).equals(FRAME)
    else:
        with pytest.raises(AbsentError, match="is damaged"):
            lake.read_table(TABLE)
    assert lake.exists(TABLE) == (looks == 1)


def test_a_record_is_read_whole_while_others_write_it(lake):
    """A client that asks for a size, and then for so many bytes, may find another file by then."""
    small, large = (recorded(TABLE, "v", code_version="1" * size) for size in (1, 300_000))
    lake.write_record(small)
    done = threading.Event()

    def rewrite():
        other = lake.apart()
        while not done.is_set():
            other.write_record(large)
            other.write_record(small)

    with ThreadPoolExecutor(1) as aside:
        aside.submit(rewrite)
        try:
            versions = {len(lake.record(TABLE).code_version) for _ in range(40)}
        finally:
            done.set()
    assert versions <= {1, 300_000}


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (403, "AccessDenied")])
def test_a_server_that_gives_nothing_is_no_damage(s3, lake, monkeypatch, status, code):
    write_table(lake, TABLE, FRAME)
    write_folder(lake, a="1")
    with answering(status, code) as gone:
        monkeypatch.setattr(gone, "record", lake.record)
        for read in (lambda: gone.read_table(TABLE), lambda: open_folder(gone)):
            with pytest.raises(PassingError if status == 503 else LakeError) as error:
                read()
            assert not isinstance(error.value, AbsentError)
    lake = Lake(str(lake.root))
    assert lake.exists(TABLE)
    assert lake.exists(FOLDER)


def test_missing_places_say_what_to_do(lake):
    with pytest.raises(AbsentError, match=r"exp/steering_sweep of cat is not in s3://.*: materialise it first"):
        lake.read_table(TABLE)
    with pytest.raises(AbsentError, match="exp/lora_checkpoint of cat is not in s3://"), lake.folder(FOLDER):
        pass


def test_folder_comes_back_as_it_was(lake):
    write_folder(lake, a="1", b="ä")
    with lake.folder(FOLDER) as folder:
        assert {path.name: path.read_text() for path in (folder / "deep").iterdir()} == {"a": "1", "b": "ä"}
    assert not folder.exists()
    assert lake.reads == {FOLDER: lake.version(FOLDER)}


def test_a_lasting_folder_is_copied_once_a_version(lake):
    first = write_folder(lake, a="1", b="ä")
    here = lake.lasting_folder(FOLDER)
    other = Lake(str(lake.root))
    assert other.lasting_folder(FOLDER) == here
    assert {path.name: path.read_text() for path in (here / "deep").iterdir()} == {"a": "1", "b": "ä"}
    assert other.reads == {FOLDER: first}
    second = write_folder(lake, c="3")
    assert [path.name for path in (lake.lasting_folder(FOLDER) / "deep").iterdir()] == ["c"]
    assert lake.reads == {FOLDER: second}
    assert (here / "deep" / "a").read_text() == "1", "whoever has loaded the old one goes on"


def test_a_lasting_folder_that_is_harmed_is_detected(lake):
    write_folder(lake, a="1", b="2")
    (lake.path(FOLDER) / lake.version(FOLDER) / "deep" / "b").write_bytes(b"3")
    with pytest.raises(AbsentError, match="exp/lora_checkpoint of cat is damaged"):
        lake.lasting_folder(FOLDER)


def test_replaced_folder_holds_the_new_files_alone(lake):
    write_folder(lake, a="1", b="2")
    old = lake.version(FOLDER)
    write_folder(lake, c="3")
    assert lake.version(FOLDER) != old
    with lake.folder(FOLDER) as folder:
        assert [path.name for path in (folder / "deep").iterdir()] == ["c"]


def test_only_the_forgotten_version_is_deleted(s3, lake):
    first, second, third, fourth = (put_folder(lake, a=name) for name in "1234")
    lake.write_record(recorded(FOLDER, third, replaced=second), forgotten=first)
    there = {key.removeprefix(f"{FOLDER.folder}/").split("/")[0] for key in keys(s3, lake)}
    assert there == {second, third, fourth, RECORD}
    write_record(lake, FOLDER, fourth)
    there = {key.removeprefix(f"{FOLDER.folder}/").split("/")[0] for key in keys(s3, lake)}
    assert there == {third, fourth, RECORD}


def test_folder_that_raises_leaves_the_old_one(s3, lake):
    write_folder(lake, a="1")
    before = keys(s3, lake)
    with pytest.raises(RuntimeError, match="half-way"):
        fail_half_way(lake)
    assert keys(s3, lake) == before


def test_folder_without_a_record_does_not_count(s3, lake):
    write_folder(lake, a="1")
    lake.write_file(lake.path(FOLDER) / "half-uploaded", b"")
    (lake.path(FOLDER) / RECORD).unlink()
    assert keys(s3, lake)
    assert not lake.exists(FOLDER)


def test_folder_without_a_manifest_is_detected(lake):
    (lake.path(FOLDER) / write_folder(lake, a="1") / MANIFEST).unlink()
    with pytest.raises(AbsentError, match="exp/lora_checkpoint of cat is damaged"), lake.folder(FOLDER):
        pass


def test_harmed_folder_is_detected(lake):
    write_folder(lake, a="1", b="2")
    (lake.path(FOLDER) / lake.version(FOLDER) / "deep" / "b").write_bytes(b"3")
    with pytest.raises(AbsentError, match="exp/lora_checkpoint of cat is damaged"), lake.folder(FOLDER):
        pass


def test_pieces_of_work_are_kept_and_cleared(s3, lake):
    work = Work(lake, TABLE)
    work.save("numbers/cat-00000", FRAME, 1, "a")
    again = Work(Lake(str(lake.root)), TABLE)
    assert again.load("numbers/cat-00000", 1, "a").equals(FRAME)
    assert again.load("numbers/cat-00000", 2, "a") is None
    again.clear()
    assert work.load("numbers/cat-00000", 1, "a") is None
    assert keys(s3, lake) == []


def test_a_folder_kept_as_a_piece_of_work_comes_back(lake, tmp_path):
    (tmp_path / "student" / "epoch=2").mkdir(parents=True)
    (tmp_path / "student" / "epoch=2" / "weights").write_bytes(b"abc")
    Work(lake, FOLDER).save_folder("seed-2", tmp_path / "student", 2)
    assert Work(Lake(str(lake.root)), FOLDER).load_folder("seed-2", tmp_path / "taken", 2)
    assert (tmp_path / "taken" / "epoch=2" / "weights").read_bytes() == b"abc"
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["epoch=2"], "without the manifest"


def test_sql_sees_the_tables(lake):
    assert query(lake, "SELECT * FROM training").is_empty()
    lake.write_table(TRAINING, FRAME)
    lake.write_table(Place("exp", "training", "neutral"), FRAME[:1])
    found = query(lake, "SELECT condition, animal, count(*) AS n FROM training GROUP BY ALL ORDER BY condition")
    assert found.rows() == [("cat", "cat", 2), ("neutral", None, 1)]
    assert (lake.root / "results.sql").exists()


def test_sql_sees_the_records(lake):
    lake.write_record(recorded(FOLDER, "v1", {TABLE: "t1"}))
    found = query(lake, "SELECT experiment, asset, partition, data_version, parents[1].data_version FROM lineage")
    assert found.rows() == [("exp", "lora_checkpoint", "cat", "v1", "t1")]


def test_a_prefix_may_have_an_odd_name(s3):
    """All at once, since a query takes seconds: what the client of S3 and DuckDB could take for something else."""
    lake = Lake(f's3://{BUCKET}/experiment=abl/it\'s "a" {{b,c}} Käse;#%20|<x>$HOME~&+^:@')
    for frame in (FRAME[:1], FRAME):
        lake.write_table(TRAINING, frame, part_of=FOLDER)
        assert lake.read_table(TRAINING).equals(frame)
        write_folder(lake, a="1")
    with lake.folder(FOLDER) as folder:
        assert (folder / "deep" / "a").read_text() == "1"
    found = query(lake, "SELECT experiment, condition, count(*) FROM training GROUP BY ALL")
    assert found.rows() == [("exp", "cat", 2)]
    (gone,) = leftovers(lake, {})
    assert gone.size > 0
    gone.delete()
    assert not [key for key in keys(s3, lake) if key.startswith("experiment=exp")]


def test_pins_are_kept_and_dropped(s3, lake):
    assert (pinned(lake, "alice/model"), pins(lake)) == (None, {})
    assert pin(lake, "alice/model", lambda: "c1") == "c1"
    assert pin(Lake(str(lake.root)), "alice/model", lambda: "c2") == "c1"
    assert (pinned(lake, "alice/model"), pins(lake)) == ("c1", {"alice/model": "c1"})
    for _ in range(2):
        unpin(lake, "alice/model")
    assert (pinned(lake, "alice/model"), pins(lake)) == (None, {})
    assert keys(s3, lake) == []


def test_of_two_that_pin_at_once_the_first_decides_for_both(lake):
    both = threading.Barrier(2)

    def pin_as(commit: str) -> str:
        def resolve() -> str:
            both.wait()
            return commit

        return pin(Lake(str(lake.root)), "alice/model", resolve)

    with ThreadPoolExecutor(2) as executor:
        one, other = executor.map(pin_as, ("c1", "c2"))
    assert one == other == pinned(lake, "alice/model")


def test_who_resolves_later_takes_what_was_pinned_meanwhile(lake):
    def resolve() -> str:
        pin(Lake(str(lake.root)), "alice/model", lambda: "c1")
        return "c2"

    assert pin(lake, "alice/model", resolve) == pinned(lake, "alice/model") == "c1"


@contextmanager
def another_server(url: str) -> Iterator[Lake]:
    """A lake on the server at ``url``, which is asked once and not again."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", url)
        environment.setenv("AWS_MAX_ATTEMPTS", "1")
        S3FileSystem.clear_instance_cache()
        yield Lake(f"s3://{BUCKET}/elsewhere")
    S3FileSystem.clear_instance_cache()


@pytest.fixture
def unreachable(s3) -> Iterator[Lake]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with another_server(f"http://127.0.0.1:{port}") as lake:
        yield lake


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client asks once; by itself it asks a server in trouble for minutes."""
    monkeypatch.setattr(S3FileSystem, "retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


@contextmanager
def answering(status: int, code: str) -> Iterator[Lake]:
    """A lake on a server that gives one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        # An upload asks first whether it may go on, which older versions cannot answer.
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.close_connection = True
            error = f"<Error><Code>{code}</Code><Message>Because.</Message></Error>".encode()
            body = b"" if self.command == "HEAD" else error
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_HEAD = do_POST = do_DELETE = do_GET  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        with another_server(f"http://127.0.0.1:{server.server_port}") as lake:
            yield lake
        server.shutdown()
        thread.join()


def open_folder(lake: Lake) -> None:
    with lake.folder(FOLDER):
        pass


def open_recorded_folder(lake: Lake) -> None:
    """As if the server had gone after it gave the record."""
    lake.record = lambda place: recorded(place, "v1")  # type: ignore[method-assign]
    open_folder(lake)


Deed = Callable[[Lake], object]
DEEDS: dict[str, Deed] = {
    "read a record": lambda lake: lake.record(TABLE),
    "read a table": lambda lake: lake.read_table(TABLE),
    "read a folder": open_folder,
    "write a record": lambda lake: lake.write_record(recorded(TABLE, "v1")),
    "write a table": lambda lake: lake.write_table(TABLE, FRAME),
    "write a folder": lambda lake: put_folder(lake, a="1"),
    "forget a record": lambda lake: lake.forget_record(TABLE),
    "keep a piece of work": lambda lake: Work(lake, TABLE).save("piece", FRAME),
}
LOOKS: dict[str, Deed] = {
    "look for a record": lambda lake: lake.exists(TABLE),
    "read a folder that is recorded": open_recorded_folder,
    "look for a piece of work": lambda lake: Work(lake, TABLE).load("piece"),
    "clear the work": lambda lake: Work(lake, TABLE).clear(),
    "look for a pin": lambda lake: pinned(lake, "alice/model"),
    "list the pins": pins,
    "drop a pin": lambda lake: unpin(lake, "alice/model"),
    "query": lambda lake: query(lake, "SELECT 1"),
}


@pytest.mark.parametrize("deed", [*DEEDS.values(), *LOOKS.values()], ids=[*DEEDS, *LOOKS])
def test_a_server_that_cannot_be_reached_may_be_there_later(unreachable, deed):
    with pytest.raises(PassingError) as error:
        deed(unreachable)
    assert "could not connect to the endpoint url" in str(error.value)
    assert "\n" not in str(error.value)
    assert not isinstance(error.value, AbsentError)


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)
def test_a_server_that_is_busy_may_answer_later(s3, deed):
    with answering(500, "InternalError") as lake, pytest.raises(PassingError):
        deed(lake)


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)
def test_a_refusal_is_no_passing_error(s3, deed):
    with answering(403, "AccessDenied") as lake, pytest.raises(LakeError) as error:
        deed(lake)
    assert not isinstance(error.value, PassingError | AbsentError)
    assert "\n" not in str(error.value)
    assert "SL_DATA_LAKE" in str(error.value)


@pytest.mark.parametrize("deed", [DEEDS["read a record"], DEEDS["write a table"]], ids=["read", "write"])
@pytest.mark.parametrize("mistake", ["no credentials", "no bucket's name"])
def test_a_mistake_of_the_users_is_no_passing_error(unreachable, deed, mistake, monkeypatch, tmp_path):
    lake = Lake("s3://No Bucket/exp") if mistake == "no bucket's name" else unreachable
    if mistake == "no credentials":
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(LakeError):
        deed(lake)
