"""The page of all tables, made from the views of an empty lake and the catalogue: ``make reference``."""

import tempfile
from collections.abc import Iterator

from sl_assets.lake.catalogue import CATALOGUE
from sl_assets.lake.lake import Lake
from sl_assets.lake.views import query

PAGE_BEGINS = """\
# Tables of the store

Every view of `results.duckdb`, with the types that DuckDB gives its columns. This page is made from the views
(`make reference`). `sl-assets sql --tables` and `sl-assets sql --columns VIEW` print the same, and in the database it
stands as comments. How to ask them: [results in SQL](../sql.md).

The last column says whether `sl-assets export` takes them.
"""

COLUMNS = (
    "SELECT table_name, column_name, data_type FROM duckdb_columns() "
    "WHERE NOT internal AND database_name = current_database() ORDER BY column_index"
)


def page() -> str:
    """The page, as Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        columns = query(Lake(folder), COLUMNS).rows()
    return "\n".join([PAGE_BEGINS, *contents(), "", *_sections(columns)])


def contents() -> list[str]:
    """The table of all views: what a row of each is, and when it is exported."""
    rows = [
        f"| [`{name}`](#{name}) | {view.row} | {'with --rows' if view.of_rows else 'yes'} |"
        for name, view in CATALOGUE.items()
    ]
    return ["| view | a row is | exported |", "| --- | --- | --- |", *rows]


def _sections(columns: list[tuple[str, ...]]) -> Iterator[str]:
    for name, view in CATALOGUE.items():
        yield f"## {name}\n\nA row is {view.row}.\n\n| column | type | meaning |\n| --- | --- | --- |"
        for table, column, type_ in columns:
            if table == name:
                yield f"| `{column}` | {type_} | {view.columns[column].replace('|', '&#124;')} |"
        yield ""


if __name__ == "__main__":
    print(page(), end="")
