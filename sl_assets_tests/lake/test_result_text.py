"""Results of SQL as text."""

import csv
import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from sl_assets.errors import LakeError
from sl_assets.lake.lake import Lake
from sl_assets.lake.result_text import beginning_of, csv_of, json_of
from sl_assets.lake.session import BATCH, Session, queried, session


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake(str(tmp_path_factory.mktemp("lake")))


@pytest.fixture(scope="module")
def opened(lake: Lake) -> Iterator[Session]:
    with session(lake) as opened:
        yield opened


def as_csv(lake: Lake, sql: str) -> str:
    with queried(lake, sql) as result:
        return "".join(csv_of(result))


def values(lake: Lake, sql: str) -> list[str]:
    """What a program reads of the first row."""
    return list(csv.reader(io.StringIO(as_csv(lake, sql))))[1]


VALUES = [
    ("[1, NULL, 3]", "[1,null,3]"),
    ("[1, 2]::INTEGER[2]", "[1,2]"),
    ("{name: 'owl', rates: [0.5::DOUBLE, 'nan'::DOUBLE]}", '{"name":"owl","rates":[0.5,NaN]}'),
    ("[{day: DATE '2026-01-02', what: 'a\"b'}]", '[{"day":"2026-01-02","what":"a\\"b"}]'),
    ("map {'owl': 1}", '{"owl":1}'),
    ("map {DATE '2026-01-02': 1.50::DECIMAL(4, 2)}", '{"2026-01-02":"1.50"}'),
    ("{bytes: '\\xAA'::BLOB}", '{"bytes":"aa"}'),
    ("'{\"a\": 1}'::JSON", '{"a": 1}'),
    ("'\\xAA\\x00'::BLOB", "aa00"),
    ("170141183460469231731687303715884105727", "170141183460469231731687303715884105727"),
    ("1.50::DECIMAL(4, 2)", "1.50"),
    ("0.1::FLOAT", "0.1"),
    ("1 / 3", str(1 / 3)),
    ("'nan'::DOUBLE", "NaN"),
    ("true", "true"),
    ("TIMESTAMPTZ '2026-01-02 03:04:05+00'", "2026-01-02 03:04:05+00:00"),
    ("TIME '03:04'", "03:04:00"),
    ("'a,b' || chr(10) || '\"c\"'", 'a,b\n"c"'),
]


def test_values_as_text(lake: Lake) -> None:
    found = values(lake, f"SELECT {', '.join(sql for sql, _ in VALUES)}")
    assert dict(zip(dict(VALUES), found, strict=True)) == dict(VALUES)


def test_what_is_missing_is_told_from_a_text_of_no_letters(lake: Lake) -> None:
    assert as_csv(lake, "SELECT NULL AS a, '' AS b, NULL::INTEGER[] AS c") == 'a,b,c\n,"",\n'


def test_columns_have_names_though_there_are_no_rows(lake: Lake) -> None:
    assert as_csv(lake, "SELECT 1 AS a, [2] AS a WHERE false") == "a,a_1\n"
    with queried(lake, "SELECT 1 AS a WHERE false") as result:
        beginning, others = beginning_of(result, 10)
        assert (beginning.columns, beginning.height, sum(others)) == (["a"], 0, 0)


@pytest.mark.parametrize("rows", [0, 9, 10, 11, BATCH, BATCH + 1, 3 * BATCH])
def test_the_first_rows_and_how_many_follow(lake: Lake, rows: int) -> None:
    with queried(lake, f"SELECT range AS i FROM range({rows})") as result:
        beginning, others = beginning_of(result, 10)
        assert beginning["i"].to_list() == list(range(min(rows, 10)))
        assert sum(others) == max(0, rows - 10)
    lines = as_csv(lake, f"SELECT range AS i FROM range({rows})").splitlines()
    assert lines == ["i", *map(str, range(rows))]


def test_a_large_result_takes_the_memory_of_a_batch(lake: Lake) -> None:
    with queried(lake, "SELECT range AS i, repeat('x', 100) AS text FROM range(100_000_000)") as result:
        pieces = csv_of(result)
        tracemalloc.start()
        try:
            assert sum(len(next(pieces)) for _ in range(30)) > 30_000_000
            assert tracemalloc.get_traced_memory()[1] < 30_000_000
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("sql", ["SET VARIABLE x = 1", "CREATE TABLE t (i INTEGER)", "USE memory", "BEGIN"])
def test_a_statement_that_gives_nothing_has_no_columns(lake: Lake, sql: str) -> None:
    with queried(lake, sql) as result:
        assert (result.columns, list(result.batches)) == ([], [])


def test_what_other_statements_give(lake: Lake, tmp_path: Path) -> None:
    assert values(lake, f"COPY (SELECT 1) TO '{tmp_path}/copy.csv'") == ["1"]
    assert values(lake, "PIVOT (SELECT 'owl' AS a) ON a USING count(*)") == ["1"]
    assert values(lake, "CREATE TABLE t AS SELECT 5 AS i; INSERT INTO t VALUES (6); SELECT sum(i) FROM t") == ["11"]
    assert values(lake, "DESCRIBE training")[0] == "experiment"
    assert values(lake, "EXPLAIN SELECT 1")[0] == "physical_plan"


@pytest.mark.parametrize("sql", ["", "  ", "-- nothing", ";"])
def test_no_statement_is_one_line(lake: Lake, sql: str) -> None:
    with pytest.raises(LakeError, match="SQL: no statement in"), queried(lake, sql):
        pass


def test_rows_as_json_keep_what_is_nested_and_what_is_missing(lake: Lake) -> None:
    sql = (
        "SELECT range AS i, [1, NULL] AS l, {'a': DATE '2026-01-02'} AS s, NULL AS missing, 'inf'::DOUBLE AS inf, "
        "1.50::DECIMAL(4, 2) AS d, '\\xAA'::BLOB AS b, 'ü\"' AS t, true AS yes FROM range("
    )
    for rows in (0, 1, BATCH + 1):
        with queried(lake, f"{sql}{rows})") as result:
            read = json.loads("".join(json_of(result)))
        assert [row.pop("i") for row in read] == list(range(rows))
        expected = {
            "l": [1, None], "s": {"a": "2026-01-02"}, "missing": None, "inf": None, "d": "1.50", "b": "aa",
            "t": 'ü"', "yes": True,
        }  # fmt: skip
        assert all(row == expected for row in read)


def test_statements_go_by_the_comment_right_above_them(opened: Session) -> None:
    text = "-- Head of the file\n\n-- How many;\n--   and which?\nSELECT 1; -- aside\n\n-- Next\nSELECT 2;\nSELECT 3"
    found = opened.statements(text)
    assert [statement.title for statement in found] == ["How many; and which?", "Next", ""]
    assert [next(opened.result(statement).batches) for statement in found] == [[(1,)], [(2,)], [(3,)]]


@pytest.mark.parametrize(
    ("sql", "gives"),
    [
        ("SELECT 1", True),
        ("PIVOT (SELECT 'owl' AS a) ON a USING count(*)", True),
        ("DESCRIBE training", True),
        ("CREATE TABLE t AS SELECT 1", False),
        ("COPY (SELECT 1) TO '/dev/null'", False),
        ("SET VARIABLE x = 1", False),
    ],
)
def test_which_statements_give_rows(opened: Session, sql: str, gives: bool) -> None:
    assert opened.statements(sql)[-1].gives_rows is gives
