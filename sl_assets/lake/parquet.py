"""Tables as Parquet files that carry the version of their content."""

import io

import polars as pl

from sl_assets.lake.damage import DamageError

DATA = "data.parquet"
VERSION_KEY = "sl_assets.data_version"


def parquet_bytes(frame: pl.DataFrame, metadata: dict[str, str] | None = None) -> bytes:
    """``frame`` as a Parquet file, to be put in place whole."""
    data = io.BytesIO()
    frame.write_parquet(data, metadata=metadata)
    return data.getvalue()


def read_parquet(content: bytes) -> tuple[pl.DataFrame, str]:
    """The table in the file ``content``, and its version.

    Raises:
        DamageError: it is no such file.
    """
    try:
        return pl.read_parquet(io.BytesIO(content)), pl.read_parquet_metadata(io.BytesIO(content))[VERSION_KEY]
    except (pl.exceptions.PolarsError, KeyError, OSError) as error:
        raise DamageError((str(error).splitlines() or ["unreadable"])[0]) from None
