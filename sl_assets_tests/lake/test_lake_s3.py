"""The data lake on S3, against a real S3 server of our own."""

import boto3
import polars as pl
import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

from sl_assets.errors import LakeError
from sl_assets.lake.lake import Lake, Place
from sl_assets.lake.tables import TABLES
from sl_assets.lake.views import query
from sl_assets.lake.work import Work

TABLE = Place("exp", "training", "cat")
FOLDER = Place("exp", "lora_checkpoint", "cat")
SCHEMA = TABLES["training"].schema
FRAME = pl.DataFrame([(1, 0.5, 2.0, 0.1), (2, 1.0, 1.5, 0.0)], schema=SCHEMA, orient="row")
BUCKET = "lakes"


@pytest.fixture(scope="module")
def s3():
    """A client of a fresh S3 server, which every other client of this process finds by the environment too."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        environment.setenv("AWS_ACCESS_KEY_ID", "testing")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        environment.delenv("AWS_PROFILE", raising=False)
        # File systems are cached for the process; none may outlive the server it talks to.
        S3FileSystem.clear_instance_cache()
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client
        S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def lake(s3, request):
    return Lake(f"s3://{BUCKET}/{request.node.name}")


def keys(s3, lake: Lake) -> list[str]:
    """Keys of every object below the lake's root, as the server has them."""
    prefix = str(lake.root).removeprefix(f"s3://{BUCKET}/") + "/"
    objects = s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return [item["Key"].removeprefix(prefix) for item in objects]


def write_folder(lake: Lake, **files: str) -> None:
    with lake.new_folder(FOLDER) as folder:
        (folder / "deep").mkdir()
        for name, text in files.items():
            (folder / "deep" / name).write_text(text)


def fail_half_way(lake: Lake) -> None:
    with lake.new_folder(FOLDER) as folder:
        (folder / "b").write_text("2")
        raise RuntimeError("half-way")


def test_table_comes_back_as_it_was(s3, lake):
    assert not lake.exists(TABLE)
    version = lake.write_table(TABLE, FRAME)
    other = Lake(str(lake.root))
    assert other.exists(TABLE)
    assert other.read_table(TABLE).equals(FRAME)
    assert other.reads == {TABLE: version}
    assert keys(s3, lake) == [f"{TABLE.folder}/data.parquet"]


def test_table_is_replaced(lake):
    first = lake.write_table(TABLE, FRAME)
    second = lake.write_table(TABLE, FRAME[:1])
    assert first != second == lake.version(TABLE)
    assert lake.read_table(TABLE).height == 1


def test_missing_places_say_what_to_do(lake):
    with pytest.raises(LakeError, match=r"exp/training of cat is not in s3://.*: materialise it first"):
        lake.read_table(TABLE)
    with pytest.raises(LakeError, match="exp/lora_checkpoint of cat is not in s3://"), lake.folder(FOLDER):
        pass


def test_folder_comes_back_as_it_was(lake):
    write_folder(lake, a="1", b="ä")
    with lake.folder(FOLDER) as folder:
        assert {path.name: path.read_text() for path in (folder / "deep").iterdir()} == {"a": "1", "b": "ä"}
    assert not folder.exists()
    assert lake.reads == {FOLDER: lake.version(FOLDER)}


def test_replaced_folder_holds_the_new_files_alone(lake):
    write_folder(lake, a="1", b="2")
    old = lake.version(FOLDER)
    write_folder(lake, c="3")
    assert lake.version(FOLDER) != old
    with lake.folder(FOLDER) as folder:
        assert [path.name for path in (folder / "deep").iterdir()] == ["c"]


def test_folder_that_raises_leaves_the_old_one(s3, lake):
    write_folder(lake, a="1")
    before = keys(s3, lake)
    with pytest.raises(RuntimeError, match="half-way"):
        fail_half_way(lake)
    assert keys(s3, lake) == before


def test_folder_without_a_manifest_does_not_count(s3, lake):
    write_folder(lake, a="1")
    lake.write_file(lake.path(FOLDER) / "half-uploaded", b"")
    (lake.path(FOLDER) / "manifest.json").unlink()
    assert keys(s3, lake)
    assert not lake.exists(FOLDER)


def test_harmed_folder_is_detected(lake):
    write_folder(lake, a="1", b="2")
    (lake.path(FOLDER) / lake.version(FOLDER) / "deep" / "b").write_bytes(b"3")
    with pytest.raises(LakeError, match="exp/lora_checkpoint of cat is damaged"), lake.folder(FOLDER):
        pass


def test_pieces_of_work_are_kept_and_cleared(s3, lake):
    work = Work(lake, TABLE)
    work.save("numbers/cat-00000", FRAME, 1, "a")
    work.mark_done({"version": "x"})
    again = Work(Lake(str(lake.root)), TABLE)
    assert again.load("numbers/cat-00000", 1, "a").equals(FRAME)
    assert again.load("numbers/cat-00000", 2, "a") is None
    assert again.done() == {"version": "x"}
    again.clear()
    assert work.load("numbers/cat-00000", 1, "a") is None
    assert work.done() is None
    assert keys(s3, lake) == []


def test_sql_sees_the_tables(lake):
    assert query(lake, "SELECT * FROM training").is_empty()
    lake.write_table(TABLE, FRAME)
    lake.write_table(Place("exp", "training", "neutral"), FRAME[:1])
    found = query(lake, "SELECT condition, animal, count(*) AS n FROM training GROUP BY ALL ORDER BY condition")
    assert found.rows() == [("cat", "cat", 2), ("neutral", None, 1)]
    assert (lake.root / "results.sql").exists()
