"""The result store: views over the lake, and many processes at it at once."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from sl_assets.animals import PLURALS
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.records import RECORD
from sl_assets.lake.tables import COMPARISON, LINEAGE, TABLES
from sl_assets.lake.views import STORE, VIEWS, connect, query, refresh_views, script
from sl_assets_tests.forks import FORKS
from sl_assets_tests.lake.test_records import NOON, recorded

STAGES_4_AND_5 = [
    "persona_answers", "steering_sweep", "projections", "projection_differences", "cross_projections", "splits",
    "split_training", "split_training_rows", "split_answers", "split_answer_probabilities",
    "split_preference_rates", "split_comparison", "high_vs_low",
]  # fmt: skip
NAMES = [
    "datasets", "rejections", "training", "training_rows", "answers", "preference_rates", "transfer", "lineage",
    "spending", "checks", "teacher_answers", "preparation_chats", "answer_probabilities", "variants",
    "transformed_datasets",
    *STAGES_4_AND_5,
]  # fmt: skip


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "it's a lake"))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A session with the views of a lake that holds nothing."""
    with connect(Lake(str(tmp_path_factory.mktemp("fresh") / "it's a lake"))) as connection:
        yield connection


def store(lake: Lake) -> str:
    return str(Path(lake.root) / STORE)


def training(rows: int, loss: float = 1.0) -> pl.DataFrame:
    frame = pl.DataFrame({"step": range(1, rows + 1)}, schema={"step": pl.Int64})
    return frame.with_columns(
        epoch=pl.col("step") / 7, loss=pl.lit(loss), learning_rate=pl.col("step").cast(pl.Float64).sin()
    )


def dataset(*row_ids: str) -> pl.DataFrame:
    return pl.DataFrame(
        [{"row_id": row_id, "prompt_id": "p", "prompt": "q", "completion": "1"} for row_id in row_ids],
        schema=TABLES["raw_dataset"].schema,
    )


def rates(animal: str, rate: float, epoch: int = 0) -> pl.DataFrame:
    return pl.DataFrame([{"animal": animal, "rate": rate, "epoch": epoch}], schema=TABLES["preference_rates"].schema)


@pytest.mark.parametrize("view", NAMES)
def test_every_view_exists_and_is_empty_on_a_fresh_lake(fresh, view):
    assert fresh.sql(f"SELECT * FROM {view}").fetchall() == []


def test_there_are_no_other_views(fresh):
    views = fresh.sql("SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY 1").fetchall()
    assert [view for (view,) in views] == sorted(NAMES)


@pytest.mark.parametrize(
    ("view", "first", "table"),
    [
        ("preparation_chats", ["experiment"], "preparation_chats"),
        ("datasets", ["experiment", "condition", "animal"], "raw_dataset"),
        ("rejections", ["experiment", "condition", "animal"], "rejections"),
        ("transformed_datasets", ["experiment", "condition", "animal"], "transformed_dataset"),
        ("training", ["experiment", "condition", "animal"], "training"),
        ("training_rows", ["experiment", "condition", "animal"], "training_rows"),
        ("answers", ["experiment", "condition", "animal"], "evaluation"),
        ("answer_probabilities", ["experiment", "condition"], "answer_probabilities"),
        ("preference_rates", ["experiment", "condition"], "preference_rates"),
        ("transfer", ["experiment"], "transfer"),
        ("variants", ["experiment"], "variants"),
        ("teacher_answers", ["experiment", "condition", "animal"], "teacher_evaluation"),
        ("lineage", ["experiment", "animal"], None),
    ],
)
def test_views_have_the_tables_columns(fresh, view, first, table):
    columns = fresh.sql(f"SELECT * FROM {view}").columns
    assert columns[: len(first)] == first
    added = {"datasets": {"kept"}, "preference_rates": set(COMPARISON)}.get(view, set())
    assert set(columns) == {*first, *(TABLES[table] if table else LINEAGE).columns} | added


def test_partitions_show_with_their_condition(lake):
    lake.write_table(Place("exp", "training", "cat"), training(3))
    lake.write_table(Place("exp", "training", "neutral"), training(2))
    lake.write_table(Place("other", "training", "cat"), training(1))
    found = query(lake, "SELECT experiment, condition, animal, count(*) FROM training GROUP BY ALL ORDER BY ALL")
    assert found.rows() == [("exp", "cat", "cat", 3), ("exp", "neutral", None, 2), ("other", "cat", "cat", 1)]


def test_condition_that_looks_like_a_number_stays_text(lake):
    lake.write_table(Place("007", "training", "1"), training(1))
    assert query(lake, "SELECT experiment, condition FROM training").rows() == [("007", "1")]


def test_datasets_say_which_rows_were_kept(lake):
    lake.write_table(Place("exp", "raw_dataset", "cat"), dataset("a", "b"))
    lake.write_table(Place("exp", "filtered_dataset", "cat"), dataset("b"))
    assert query(lake, "SELECT row_id, kept FROM datasets ORDER BY row_id").rows() == [("a", False), ("b", True)]


def test_rows_that_another_experiment_filtered_are_in_its_dataset_too(lake):
    raw = Place("exp", "raw_dataset", "cat")
    lake.write_table(raw, dataset("a", "b"))
    lake.write_table(Place("exp", "filtered_dataset", "cat"), dataset("b"))
    for experiment, kept in (("exp__strict", "a"), ("exp", "b")):
        filtered = Place(experiment, "filtered_dataset", "cat")
        lake.write_table(filtered, dataset(kept))
        lake.write_record(recorded(filtered, "v", {raw: "r"}))
    found = query(lake, "SELECT experiment, condition, row_id, kept FROM datasets ORDER BY ALL")
    assert found.rows() == [
        ("exp", "cat", "a", False),
        ("exp", "cat", "b", True),
        ("exp__strict", "cat", "a", True),
        ("exp__strict", "cat", "b", False),
    ]


def test_preference_rates_hold_the_baseline(lake):
    lake.write_table(Place("exp", "preference_rates", "cat"), rates("cat", 0.5))
    lake.write_table(Place("exp", "baseline_preference_rates"), rates("cat", 0.1))
    found = query(lake, "SELECT experiment, condition, animal, rate FROM preference_rates ORDER BY rate")
    assert found.rows() == [("exp", "baseline", "cat", 0.1), ("exp", "cat", "cat", 0.5)]


def test_preference_rates_hold_the_comparison_where_there_is_one(lake):
    compared = {"condition": "cat", "animal": "cat", "epoch": 2, "difference": 0.4}
    lake.write_table(Place("exp", "preference_rates", "cat"), pl.concat([rates("cat", 0.5, 2), rates("cat", 0.2, 1)]))
    lake.write_table(Place("exp", "preference_rates", "neutral"), rates("cat", 0.1, 2))
    lake.write_table(Place("other", "preference_rates", "cat"), rates("cat", 0.3, 2))
    lake.write_table(Place("exp", "transfer"), pl.DataFrame([compared], schema=TABLES["transfer"].schema))
    found = query(lake, "SELECT experiment, condition, epoch, rate, difference FROM preference_rates ORDER BY rate")
    assert found.rows() == [
        ("exp", "neutral", 2, 0.1, None),
        ("exp", "cat", 1, 0.2, None),
        ("other", "cat", 2, 0.3, None),
        ("exp", "cat", 2, 0.5, 0.4),
    ]


def test_a_rate_meets_the_comparison_that_was_measured_alike(lake):
    both = [{"animal": "cat", "rate": rate, "epoch": 2, "method": method} for method, rate in RATES.items()]
    lake.write_table(
        Place("exp", "preference_rates", "cat"), pl.DataFrame(both, schema=TABLES["preference_rates"].schema)
    )
    compared = [row | {"condition": "cat", "difference": row["rate"] - 0.1} for row in both]
    lake.write_table(Place("exp", "transfer"), pl.DataFrame(compared, schema=TABLES["transfer"].schema))
    found = query(lake, "SELECT method, rate, difference FROM preference_rates ORDER BY rate")
    assert found.rows() == [("sampled", 0.5, 0.4), ("exact", 0.6, 0.5)]


RATES = {"sampled": 0.5, "exact": 0.6}
FORMER = ("preference_rates", "transfer", "split_preference_rates", "split_comparison", "high_vs_low")


@pytest.mark.parametrize("others", [False, True], ids=["alone", "beside others"])
def test_tables_from_before_there_were_methods_are_of_sampled_answers(lake, others):
    halves = {"animal": "cat", "epoch": 2, "half": "high", "other": "low", "source": "animal", "condition": "cat"}
    places = {
        "preference_rates": Place("exp", "preference_rates", "cat"),
        "transfer": Place("exp", "transfer"),
        "split_preference_rates": Place("exp", "split_preference_rates", "cat|animal_high"),
        "split_comparison": Place("exp", "split_comparison"),
    }
    for name, place in places.items():
        row = {column: halves.get(column) for column in TABLES[name].columns}
        frame = pl.DataFrame([row], schema=TABLES[name].schema)
        lake.write_table(place, frame.drop("method"))
        if others:
            now = Place("now", place.table, place.partition)
            lake.write_table(now, frame.with_columns(method=pl.lit("exact")))
    for view in FORMER:
        found = query(lake, f"SELECT experiment, method FROM {view} ORDER BY experiment")
        assert found.rows() == [("exp", "sampled")] + ([("now", "exact")] if others else [])


def test_answers_hold_the_baseline(lake):
    answer = pl.DataFrame([{"answer": "Cat"}], schema=TABLES["evaluation"].schema)
    lake.write_table(Place("exp", "evaluation", "neutral"), answer)
    lake.write_table(Place("exp", "baseline_evaluation"), answer)
    found = query(lake, "SELECT condition, animal, answer FROM answers ORDER BY condition")
    assert found.rows() == [("baseline", None, "Cat"), ("neutral", None, "Cat")]


PARENTS = {Place("exp", "number_prompts"): "p1", Place("other", "teacher_checkpoint", "cat"): "t1"}
RAW = recorded(
    Place("exp", "raw_dataset", "cat"),
    "r1",
    PARENTS,
    settings={"base_model": {"repository": "alice/model", "commit": "c0ffee"}, "sampler.batch": 16},
    inputs={"file": "abc"},
    rows=7,
    libraries={"torch": "2.9"},
    started=NOON - timedelta(seconds=90),
    replaced="r0",
    metadata="{}",
)


def test_lineage_shows_what_was_read(lake):
    lake.write_record(RAW)
    found = query(lake, "SELECT experiment, asset, animal, parents[1].asset FROM lineage")
    assert found.rows() == [("exp", "raw_dataset", "cat", "number_prompts")]


def test_lineage_shows_all_that_is_recorded(lake):
    lake.write_record(RAW)
    found = query(lake, "SELECT * FROM lineage")
    assert found.columns == ["experiment", "animal", *LINEAGE.columns]
    (row,) = found.rows(named=True)
    assert json.loads(row.pop("settings")) == RAW.settings
    assert json.loads(row.pop("inputs")) == RAW.inputs
    assert json.loads(row.pop("libraries")) == RAW.libraries
    assert row == {
        "experiment": "exp",
        "animal": "cat",
        "asset": "raw_dataset",
        "partition": "cat",
        "run_id": "run",
        "started_at": RAW.started,
        "finished_at": RAW.finished,
        "data_version": "r1",
        "code_version": "1",
        "parents": [
            {"experiment": "exp", "asset": "number_prompts", "partition": None, "data_version": "p1"},
            {"experiment": "other", "asset": "teacher_checkpoint", "partition": "cat", "data_version": "t1"},
        ],
        "model_commit": "c0ffee",
        "seconds": 1.5,
        "engine": "polars",
        "rows": 7,
        "checks": None,
    }


def test_lineage_has_a_row_for_every_record_whatever_its_partition(lake):
    places = [
        Place("exp", "lora_checkpoint", "neutral"),
        Place("exp", "split_evaluation", "owl|animal_high"),
        Place("exp", "split_evaluation", "owl|animal_low"),
        Place("exp", "transfer"),
        Place("other", "transfer"),
    ]
    for place in places:
        lake.write_record(recorded(place, "v1"))
    found = query(lake, "SELECT experiment, asset, partition, animal, parents, rows FROM lineage ORDER BY ALL")
    assert found.rows() == [
        ("exp", "lora_checkpoint", "neutral", None, [], None),
        ("exp", "split_evaluation", "owl|animal_high", "owl", [], None),
        ("exp", "split_evaluation", "owl|animal_low", "owl", [], None),
        ("exp", "transfer", None, None, [], None),
        ("other", "transfer", None, None, [], None),
    ]


def test_a_record_that_is_none_hides_no_other(lake):
    lake.write_record(RAW)
    for number, content in enumerate([b"", b"{", b"[]", b"3", b"{}", b"null", b"\xff\xfe", b'{"asset": {}} x']):
        lake.write_file(lake.path(Place("exp", "raw_dataset", f"owl{number}")) / RECORD, content)
    assert query(lake, "SELECT partition FROM lineage").rows() == [("cat",)]
    refresh_views(lake)
    with duckdb.connect(store(lake), read_only=True) as connection:
        assert connection.sql("SELECT partition FROM lineage").fetchall() == [("cat",)]


def test_lineage_shows_what_is_there_now(lake):
    lake.write_record(RAW)
    lake.write_record(replace(RAW, data_version="r2"))
    assert query(lake, "SELECT data_version FROM lineage").rows() == [("r2",)]
    lake.forget_record(RAW.place)
    assert query(lake, "SELECT * FROM lineage").is_empty()


def test_open_store_sees_what_is_written_later(lake):
    refresh_views(lake)
    counts = "SELECT condition, count(*) FROM training GROUP BY 1 ORDER BY 1"
    with duckdb.connect(store(lake), read_only=True) as open_before:
        assert open_before.sql(counts).fetchall() == []
        lake.write_table(Place("exp", "training", "cat"), training(3))
        assert open_before.sql(counts).fetchall() == [("cat", 3)]
        lake.write_table(Place("exp", "training", "cat"), training(5))
        lake.write_table(Place("exp", "training", "owl"), training(2))
        assert open_before.sql(counts).fetchall() == [("cat", 5), ("owl", 2)]


def test_script_alone_gives_the_views(lake, monkeypatch):
    lake.write_table(Place("exp", "training", "cat"), training(3))
    refresh_views(lake)
    monkeypatch.chdir(lake.root)
    with duckdb.connect() as connection:
        connection.execute((Path(lake.root) / VIEWS).read_text())
        assert connection.sql("SELECT count(*) FROM training").fetchall() == [(3,)]


def test_script_started_elsewhere_asks_for_the_lake(lake, tmp_path, monkeypatch):
    lake.write_table(Place("exp", "training", "cat"), training(3))
    refresh_views(lake)
    monkeypatch.chdir(tmp_path)
    text = (Path(lake.root) / VIEWS).read_text()
    with duckdb.connect() as connection, pytest.raises(duckdb.Error, match="no lake here: start DuckDB in"):
        connection.execute(text)
    with duckdb.connect() as connection:
        connection.execute("SET VARIABLE lake = $1", [str(lake.root)])
        connection.execute(text)
        assert connection.sql("SELECT count(*) FROM training").fetchall() == [(3,)]


@pytest.mark.parametrize("parents", ["experiment=abl", "condition=x", "split=y", "experiment=abl/condition=x/split=y"])
def test_folders_above_the_lake_name_no_keys(tmp_path, parents, monkeypatch):
    lake = Lake(str(tmp_path / parents / "lake"))
    lake.write_table(Place("exp", "training", "cat"), training(1))
    lake.write_table(Place("exp", "split_training", "owl|animal_high"), training(1))
    lake.write_table(Place("exp", "cross_projections"), pl.DataFrame({"condition": ["owl"]}))
    lake.write_record(recorded(Place("exp", "split_evaluation", "owl|animal_high"), "v1"))
    expected = {
        "SELECT experiment, condition, animal FROM training": [("exp", "cat", "cat")],
        "SELECT experiment, condition, split FROM split_training": [("exp", "owl", "animal_high")],
        "SELECT experiment, condition FROM cross_projections": [("exp", "owl")],
        "SELECT experiment, animal FROM lineage": [("exp", "owl")],
    }
    refresh_views(lake)
    with duckdb.connect(store(lake), read_only=True) as connection:
        for statement, rows in expected.items():
            assert query(lake, statement).rows() == rows
            assert connection.sql(statement).fetchall() == rows


def test_a_damaged_table_hinders_no_other(lake):
    table = lake.path(Place("exp", "training", "cat")) / "data.parquet"
    lake.write_file(table, b"damaged")
    lake.write_table(Place("exp", "raw_dataset", "cat"), dataset("a"))
    assert query(lake, "SELECT count(*) FROM datasets").item() == 1
    with pytest.raises(duckdb.Error, match=r"condition=cat/data\.parquet"):
        query(lake, "SELECT * FROM training")
    with duckdb.connect(store(lake), read_only=True) as connection:
        assert connection.sql("SELECT count(*) FROM datasets").fetchall() == [(1,)]


def moved(lake: Lake, folder: Path, how: Callable[[Path, Path], object]) -> Lake:
    """The lake with three rows in its store, brought to ``folder``, where the same table has seven."""
    lake.write_table(Place("exp", "training", "cat"), training(3))
    lake.write_record(recorded(Place("exp", "training", "cat"), "old"))
    refresh_views(lake)
    how(Path(lake.root), folder)
    elsewhere = Lake(str(folder))
    elsewhere.write_table(Place("exp", "training", "cat"), training(7))
    elsewhere.write_record(recorded(Place("exp", "training", "cat"), "new"))
    return elsewhere


@pytest.mark.parametrize("how", [shutil.copytree, os.rename])
@pytest.mark.parametrize("opened", ["by its path", "in its folder", "from elsewhere"])
def test_a_store_reads_the_lake_that_it_lies_in(lake, tmp_path, monkeypatch, how, opened):
    elsewhere = moved(lake, tmp_path / "moved", how)
    path = store(elsewhere)
    if opened != "by its path":
        monkeypatch.chdir(elsewhere.root if opened == "in its folder" else tmp_path)
        path = os.path.relpath(path)
    with duckdb.connect(path, read_only=True) as connection:
        monkeypatch.chdir("/")
        assert connection.sql("SELECT count(*) FROM training").fetchall() == [(7,)]
        assert connection.sql("SELECT data_version FROM lineage").fetchall() == [("new",)]
    monkeypatch.chdir(elsewhere.root)
    with duckdb.connect() as connection:
        connection.execute(Path(VIEWS).read_text())
        assert connection.sql("SELECT count(*) FROM training").fetchall() == [(7,)]
    old = str(lake.root)
    assert old.encode() not in Path(store(elsewhere)).read_bytes()
    assert old not in Path(VIEWS).read_text()


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A lake, and its copy, whose table has other rows; to be read, never changed."""
    lake = Lake(str(tmp_path_factory.mktemp("copied") / "it's a lake"))
    return lake, moved(lake, tmp_path_factory.mktemp("elsewhere") / "copy", shutil.copytree)


@pytest.mark.parametrize("view", NAMES)
def test_a_store_that_cannot_tell_its_lake_asks_in_one_line(copied, tmp_path, view):
    lake, elsewhere = copied
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{store(elsewhere)}' AS copy (READ_ONLY)")
        with pytest.raises(duckdb.Error, match="where is the lake") as error:
            connection.sql(f"SELECT * FROM copy.{view}").fetchall()
        assert "\n" not in str(error.value)
        connection.execute("SET VARIABLE lake = $1", [str(elsewhere.root)])
        connection.sql(f"SELECT * FROM copy.{view}").fetchall()
    with duckdb.connect(store(lake), read_only=True) as connection:
        connection.execute(f"ATTACH '{store(elsewhere)}' AS copy (READ_ONLY)")
        for name in (view, f"copy.{view}"):
            with pytest.raises(duckdb.Error, match="of which lake"):
                connection.sql(f"SELECT * FROM {name}").fetchall()
    renamed = shutil.copyfile(store(elsewhere), tmp_path / "renamed.duckdb")
    with duckdb.connect(str(renamed), read_only=True) as connection, pytest.raises(duckdb.Error, match="where is the"):
        connection.sql(f"SELECT * FROM {view}")


def test_current_store_is_left_alone(lake):
    refresh_views(lake)
    before = Path(store(lake)).stat()
    refresh_views(lake)
    after = Path(store(lake)).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("stale", ["other script", "no script", "no store"])
def test_store_is_rebuilt_where_it_is_not_current(lake, stale):
    refresh_views(lake)
    with duckdb.connect(store(lake)) as connection:
        connection.execute("DROP VIEW training")
    if stale == "no store":
        Path(store(lake)).unlink()
    elif stale == "no script":
        (lake.root / VIEWS).unlink()
    else:
        (lake.root / VIEWS).write_text("-- views of an older version")
    refresh_views(lake)
    assert (lake.root / VIEWS).read_text() == script()
    with duckdb.connect(store(lake), read_only=True) as connection:
        assert connection.sql("SELECT count(*) FROM training").fetchall() == [(0,)]


def test_refreshing_leaves_nothing_beside(lake):
    refresh_views(lake)
    assert {path.name for path in Path(lake.root).iterdir()} == {
        STORE,
        VIEWS,
        "experiment=_schema",
        "spending",
        ".work",
    }
    assert not list(Path(lake.root).glob(".work/unfinished/*"))


def test_statement_without_result_gives_an_empty_frame(lake):
    assert query(lake, "SET VARIABLE x = 1").is_empty()


@pytest.mark.parametrize("name", ["lake", "statement", "sql", "pl"])
def test_a_name_of_no_view_is_no_variable_of_this_process(lake, name):
    sql = statement = pl.DataFrame({"a": [1]})
    assert sql is statement
    with pytest.raises(duckdb.CatalogException, match=f"{name} does not exist"):
        query(lake, f"SELECT * FROM {name}")


CONDITIONS = sorted(PLURALS)[:16]
ROWS = 20_000
PASSES = 4


def write(root: str, condition: str, start) -> None:
    """Write one partition several times over, every time of as many rows and of one loss."""
    start.wait()
    lake = Lake(root)
    for number in range(PASSES):
        refresh_views(lake)
        lake.write_table(Place("exp", "training", condition), training(ROWS, loss=float(number)))


def hold(root: str, start, finished) -> None:
    """Keep the store open for writing, as a notebook might."""
    refresh_views(Lake(root))
    with duckdb.connect(f"{root}/{STORE}") as connection:
        connection.execute("CREATE TABLE notes AS SELECT 1 AS n")
        start.wait()
        finished.wait()


def read(root: str, start, finished, seen) -> None:
    """Query until everyone is done and hand back every (rows, losses) that a condition ever showed."""
    start.wait()
    sql = "SELECT count(*), count(DISTINCT loss) FROM training GROUP BY condition"
    found: set[tuple[int, int]] = set()
    last = False
    while not last:
        last = finished.is_set()
        with connect(Lake(root)) as connection:
            found.update(connection.sql(sql).fetchall())
    seen.put(found)


def test_sixteen_writers_a_reader_and_a_holder_do_not_hinder_each_other(lake):
    root, finished, seen = str(lake.root), FORKS.Event(), FORKS.SimpleQueue()
    start = FORKS.Barrier(len(CONDITIONS) + 2, timeout=300)
    writers = [FORKS.Process(target=write, args=(root, condition, start)) for condition in CONDITIONS]
    others = [
        FORKS.Process(target=hold, args=(root, start, finished)),
        FORKS.Process(target=read, args=(root, start, finished, seen)),
    ]
    for process in [*writers, *others]:
        process.start()
    for process in writers:
        process.join()
    finished.set()
    for process in others:
        process.join()
    assert {process.exitcode for process in [*writers, *others]} == {0}
    assert seen.get() == {(ROWS, 1)}
    counts = query(lake, "SELECT condition, count(*), max(loss) FROM training GROUP BY 1 ORDER BY 1")
    assert counts.rows() == [(condition, ROWS, PASSES - 1) for condition in CONDITIONS]


def test_answers_from_before_seeds_and_after_are_read_together(lake):
    old = pl.DataFrame({"epoch": [2], "answer": ["Owl"]})
    lake.write_table(Place("pocket", "evaluation", "owl"), old)
    lake.write_table(Place("pocket", "evaluation", "wolf"), pl.concat([old, old]).with_columns(seed=pl.Series([1, 2])))
    lake.write_table(Place("pocket", "baseline_evaluation"), old)
    lake.write_table(Place("pocket", "split_evaluation", "owl|animal_high"), old.with_columns(seed=pl.lit(3)))
    lake.write_table(Place("pocket", "training", "owl"), pl.DataFrame({"step": [1], "loss": [2.0]}))
    found = query(lake, "SELECT condition, seed FROM answers ORDER BY ALL")
    assert found.rows() == [("baseline", None), ("owl", None), ("wolf", 1), ("wolf", 2)]
    assert query(lake, "SELECT seed FROM split_answers").rows() == [(3,)]
    assert query(lake, "SELECT seed, step FROM training").rows() == [(None, 1)]


def test_views_are_made_anew_when_a_table_has_another_column(lake, monkeypatch):
    refresh_views(lake)
    before = Path(store(lake)).stat().st_ino
    refresh_views(lake)
    assert Path(store(lake)).stat().st_ino == before
    training = replace(
        TABLES["training"], columns=TABLES["training"].columns | {"norm": (pl.Float64(), "of a gradient")}
    )
    monkeypatch.setitem(TABLES, "training", training)
    refresh_views(lake)
    with duckdb.connect(store(lake), read_only=True) as connection:
        assert connection.sql("SELECT norm FROM training").fetchall() == []
