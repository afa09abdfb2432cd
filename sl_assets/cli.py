"""The ``sl-assets`` command: runs what one ``dagster`` call cannot, and queries the lake.

It drives the same assets, instance and lake as the UI, one Dagster run per asset and stretch of partitions.
"""

import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
from dotenv import load_dotenv

from sl_assets.animals import NEUTRAL
from sl_assets.config import PROJECT, JsonlSource
from sl_assets.config.project import VARIABLE
from sl_assets.engines.installed import missing
from sl_assets.errors import SlAssetsError

if TYPE_CHECKING:
    import polars as pl

    from sl_assets.config import ExperimentConfig
    from sl_assets.orchestration.asset import ExperimentGraph


def main() -> None:
    """Entry point: mistakes of the user end in one line, never in a traceback."""
    load_dotenv(PROJECT / ".env")
    # Processes that are started from here take the same folder for the project's, wherever they run.
    os.environ[VARIABLE] = str(PROJECT)
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        fail(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        fail("interrupted; the same command goes on from here")
    except SlAssetsError as error:
        fail(str(error))
    except BrokenPipeError:
        # Whoever reads has enough, as `head` has; what is left to be flushed at the end goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def fail(message: str) -> NoReturn:
    """End with ``message`` on standard error."""
    click.echo(f"sl-assets: {message}", err=True)
    sys.exit(1)


@click.group()
@click.version_option(package_name="sl_assets", message="sl_assets %(version)s")
def cli() -> None:
    """Subliminal-learning experiments as Dagster assets."""


@cli.command()
def check() -> None:
    """Check every experiment file."""
    from sl_assets.definitions import experiments

    for name, config in experiments().items():
        require_files(name, config)
        click.echo(f"{name}: {config.base_model}, {len(config.animals)} animals, {config.teacher.kind} teachers")


@cli.command()
@click.argument("experiment")
@click.option("--animals", help="Comma-separated; all of the experiment's where left out. Neutral always comes along.")
@click.option("--through", metavar="ASSET", help="Stop after this asset, or several; the whole graph where left out.")
@click.option("--again", is_flag=True, help="Make fresh partitions again, too.")
@click.option("--dry-run", is_flag=True, help="Only say what would be made.")
def run(experiment: str, animals: str | None, through: str | None, again: bool, dry_run: bool) -> None:
    """Materialise what is missing or stale of EXPERIMENT."""
    import dagster as dg

    from sl_assets.components import declare
    from sl_assets.definitions import open_lake, surroundings
    from sl_assets.orchestration.asset import ExperimentGraph
    from sl_assets.orchestration.planner import Planner
    from sl_assets.orchestration.runner import Runner, plan_lines

    config = known_experiment(experiment)
    wanted = list(config.animals) if animals is None else re.findall(r"[^,\s]+", animals)
    if not wanted:
        raise click.ClickException(f"--animals {animals!r}: names none; leave it out for all of {experiment}'s")
    if unknown := [name for name in wanted if name not in config.conditions]:
        raise click.ClickException(
            f"--animals {unknown[0]}: not an animal of {experiment}; it has {', '.join(config.animals)}"
        )
    require_files(experiment, config)
    conditions = [name for name in config.conditions if name == NEUTRAL or name in wanted]
    start = time.monotonic()
    graph = ExperimentGraph(experiment, config)
    definitions = dg.Definitions.merge(declare(graph), surroundings())
    planner = Planner(graph, open_lake(), conditions, through, again)
    if dry_run:
        for line in plan_lines(planner):
            click.echo(line)
        return
    if (absent := missing_engine(config)) and planner.needs_models():
        raise click.ClickException(absent)
    ensure_dagster_home()
    for line in Runner(planner, definitions).materialise():
        click.echo(line)
    click.echo(f"done in {time.monotonic() - start:.0f} s\n")
    for line in summary(experiment, planner.assets):
        click.echo(line)


@cli.command()
@click.argument("statement")
@click.option("--csv", is_flag=True, help="Comma-separated values rather than a table.")
def sql(statement: str, csv: bool) -> None:
    """Run one SQL STATEMENT over the results."""
    import duckdb

    from sl_assets.definitions import open_lake
    from sl_assets.lake.result_text import beginning_of, csv_of
    from sl_assets.lake.views import queried

    try:
        with queried(open_lake(), statement) as result:
            if csv and result.columns:
                for piece in csv_of(result):
                    click.echo(piece, nl=False)
            elif result.columns:
                beginning, others = beginning_of(result, TABLE_ROWS)
                click.echo(table(beginning))
                if left_out := sum(others):
                    click.echo(f"... and {left_out:,} more: add LIMIT, or --csv for all")
    except KeyboardInterrupt:
        raise click.ClickException("interrupted") from None
    except duckdb.Error as error:
        raise click.ClickException(f"SQL: {' '.join(str(error).split())}") from None


TABLE_ROWS = 1_000
"""That are printed as a table."""


@cli.command()
@click.argument("experiment")
@click.argument("asset")
@click.argument("partition", required=False)
def trace(experiment: str, asset: str, partition: str | None) -> None:
    """Show what PARTITION of ASSET was made of, all the way back, and whether that still holds.

    A half is named like 'owl|animal_high'.
    """
    from sl_assets.definitions import open_lake
    from sl_assets.orchestration.tracing import trace as chain

    graph = declared_graph(experiment)
    if asset not in graph.declared:
        raise click.ClickException(f"{experiment} has no asset {asset!r}; it has {', '.join(graph.declared)}")
    keys = graph.keys(graph.declared[asset].by)
    if partition not in keys:
        named = ", ".join(str(key) for key in keys[:20] if key) or "none: leave it out"
        raise click.ClickException(f"{asset} has no partition {partition!r}; its partitions are {named}")
    for line in chain(graph, open_lake(), graph.place(asset, partition)):
        click.echo(line)


@cli.command()
@click.option("--delete", is_flag=True, help="Delete what is listed, but for unknown experiments.")
@click.option("--experiment", "gone", metavar="NAME", help="An unknown experiment that may be deleted, too.")
def prune(delete: bool, gone: str | None) -> None:
    """List what nobody needs any more: of removed animals and experiments, dead versions, old lineage files."""
    from sl_assets.definitions import open_lake
    from sl_assets.lake.prune import leftovers

    total = 0
    for leftover in leftovers(open_lake(), {name: declared_graph(name).makes for name in experiments_by_name()}):
        spared = leftover.is_experiment and leftover.experiment != gone
        total += 0 if spared else (size := leftover.size)
        note = f"spared, for it may be of SL_EXPERIMENTS elsewhere: --experiment {leftover.experiment} deletes it"
        click.echo(f"{leftover.path}: {leftover.why}" + (f"; {note}" if spared else f" ({size / 1e6:,.1f} MB)"))
        if delete and not spared:
            leftover.delete()
    done = "deleted" if delete else "would be deleted by --delete"
    click.echo(f"{total / 1e6:,.1f} MB {done}" if total else "nothing to delete")


@cli.command()
@click.option("--forget", metavar="NAME", help="Forget what NAME stands for; what was made of it is stale then.")
def pins(forget: str | None) -> None:
    """List the commits that names on the Hugging Face Hub stand for in this lake."""
    from sl_assets.definitions import open_lake
    from sl_assets.lake.pins import pins as pinned
    from sl_assets.lake.pins import unpin

    lake = open_lake()
    found = pinned(lake)
    if forget is not None:
        if forget not in found:
            raise click.ClickException(f"--forget {forget}: not pinned here; pinned are {', '.join(found) or 'none'}")
        unpin(lake, forget)
        del found[forget]
    for name, commit in found.items():
        click.echo(f"{name}  {commit}")


@cli.command()
def gpus() -> None:
    """List this machine's GPUs and who uses them, and let as many runs of the UI run models at the same time."""
    import dagster as dg

    from sl_assets.engines.cards import cards
    from sl_assets.orchestration.gpu_pool import size_pool

    ensure_dagster_home()
    for card in cards():
        memory = f", {card.free / 1e9:.0f} of {card.total / 1e9:.0f} GB free" if card.free and card.total else ""
        click.echo(f"GPU {card.name}: {card.model}{memory}; {card.holder or 'not used by a run'}")
    with dg.DagsterInstance.get() as instance:
        size = size_pool(instance)
    runs = "1 run" if size == 1 else f"{size} runs"
    click.echo(f"{'' if cards() else 'no GPU here, models run on the CPU; '}{runs} with models at the same time")


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others reach all of it.")
@click.option("--port", default=3000, show_default=True, help="Port on this machine.")
def ui(host: str, port: int) -> None:
    """Open the Dagster UI, with the daemon that schedules and automation need."""
    require_port(host, port)
    ensure_dagster_home()
    free_killed_runs()
    # Where Dagster looks for its settings: in the project's folder it would say that it leaves those there alone.
    os.chdir(os.environ["DAGSTER_HOME"])
    dagster = shutil.which("dagster", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if dagster is None:
        raise click.ClickException("no dagster command beside this Python: run 'make install'")
    workspace = str(PROJECT / "workspace.yaml")
    os.execv(dagster, ["dagster", "dev", "--workspace", workspace, "--host", host, "--port", str(port)])


def require_port(host: str, port: int) -> None:
    """Stop before a second daemon is started beside one that has the port."""
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            free.bind((host, port))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise click.ClickException(
                f"--port {port}: {reason} on {host}; if a UI runs there, open http://{host}:{port}, "
                f"else choose another port, as --port {port + 1}"
            ) from None


def experiments_by_name() -> "dict[str, ExperimentConfig]":
    """Every experiment there is."""
    from sl_assets.definitions import experiments

    return experiments()


def known_experiment(name: str) -> "ExperimentConfig":
    """The experiment called ``name``."""
    known = experiments_by_name()
    if name not in known:
        raise click.ClickException(f"no experiment {name!r}; there are {', '.join(known)}")
    return known[name]


def declared_graph(experiment: str) -> "ExperimentGraph":
    """The graph of ``experiment``, to ask what it would make."""
    from sl_assets.components import declare
    from sl_assets.orchestration.asset import ExperimentGraph

    graph = ExperimentGraph(experiment, known_experiment(experiment))
    declare(graph)
    return graph


def free_killed_runs() -> None:
    """Record runs that were killed as failed: Dagster does not look for them, and those of its UI would wait behind."""
    import dagster as dg

    from sl_assets.orchestration.gpu_pool import prepare_pool
    from sl_assets.orchestration.run_processes import end_killed_runs

    with dg.DagsterInstance.get() as instance:
        end_killed_runs(instance)
        prepare_pool(instance)


def require_files(experiment: str, config: "ExperimentConfig") -> None:
    """Stop before anything is run if a file to import is not there."""
    from sl_assets.engines.transformers.models import check_layers

    try:
        check_layers(config)
    except SlAssetsError as error:
        raise click.ClickException(f"{experiment}: {error}") from None
    source = config.numbers.source
    if isinstance(source, JsonlSource):
        for file in map(source.file, config.conditions):
            if not file.is_file():
                raise click.ClickException(
                    f"{experiment}: {file}: no such file; numbers.source.path needs one a condition, neutral included"
                )


def missing_engine(config: "ExperimentConfig") -> str:
    """Which engine of the file is not installed, with the fix; empty where all are."""
    return missing("sampler.engine", config.sampler.engine) or missing("student.engine", config.student.engine)


def ensure_dagster_home() -> None:
    """Keep runs in ``DAGSTER_HOME``, or in ``.dagster/`` of the project with the project's ``dagster.yaml``."""
    if "DAGSTER_HOME" in os.environ:
        return
    if not (PROJECT / "dagster.yaml").is_file():
        raise click.ClickException("set DAGSTER_HOME, or install the project's checkout with 'pip install -e .'")
    home = PROJECT / ".dagster"
    home.mkdir(exist_ok=True)
    shutil.copyfile(PROJECT / "dagster.yaml", home / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(home)


def summary(experiment: str, assets: Container[str]) -> Iterator[str]:
    """The results of ``assets`` as tables, and where charts, store and UI are."""
    from sl_assets.definitions import open_lake
    from sl_assets.lake.views import STORE, query

    lake = open_lake()
    for asset, title, statement in (
        ("transfer", "How often each student names its animal (95% intervals over questions):", RATES),
        ("split_comparison", "Students of the halves with high and with low projections:", HALVES),
    ):
        if asset in assets and not (found := query(lake, statement.format(experiment=experiment))).is_empty():
            yield f"{title}\n{table(found)}\n"
    for (line,) in query(lake, WARNINGS.format(experiment=experiment)).iter_rows():
        yield f"warning  {line}"
    for asset in ("preference_chart", "split_chart"):
        chart = lake.root / f"experiment={experiment}" / asset / f"{asset}.png"
        if asset in assets and chart.exists():
            yield f"chart  {chart}"
    yield f'store  {lake.root / STORE}   (sl-assets sql "SELECT * FROM preference_rates")'
    yield "UI     make ui, then http://localhost:3000"


RATES = (
    "SELECT animal, epoch, baseline_rate AS baseline, neutral_rate AS neutral, rate, lower, upper, ratio, "
    "difference_lower, difference_upper, printf('%.0e', p_value) AS p, printf('%.0e', q_value) AS q FROM transfer "
    "WHERE experiment = '{experiment}' AND condition = animal ORDER BY ratio DESC"
)
WARNINGS = (
    "SELECT concat(asset, ' of ' || partition, ' fails ', name, ': ', problem) FROM checks "
    "WHERE experiment = '{experiment}' AND NOT passed ORDER BY ALL"
)
HALVES = (
    "SELECT animal, source, epoch, high_rate, low_rate, difference, difference_lower, difference_upper, "
    "printf('%.0e', p_value) AS p, printf('%.0e', q_value) AS q, transfers_more FROM high_vs_low "
    "WHERE experiment = '{experiment}' ORDER BY animal, source, epoch"
)


def table(frame: "pl.DataFrame") -> str:
    """``frame`` as text, every row and column."""
    import polars as pl

    # Four digits that count: p-values are small, and so are learning rates.
    floats = pl.selectors.float().map_elements(lambda value: f"{value:.4g}", return_dtype=pl.String)
    with pl.Config(
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_width_chars=10_000,
        fmt_str_lengths=60,
        tbl_formatting="ASCII_MARKDOWN",
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
    ):
        return str(frame.with_columns(floats))


if __name__ == "__main__":
    main()
