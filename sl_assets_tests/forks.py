"""Processes that begin with what takes long to import, so that a test need not wait for it each time."""

from multiprocessing import get_context

FORKS = get_context("forkserver")
# Nothing that starts threads, as polars does: they would not come along.
LIBRARIES = ["dagster", "dagster_aws", "transformers.trainer", "peft", "matplotlib.pyplot", "openai"]
FORKS.set_forkserver_preload([*LIBRARIES, "sl_assets_tests.databases", "sl_assets_tests.frozen"])
