"""``sl-assets run``."""

import shutil
import time
from collections.abc import Container, Iterator
from typing import TYPE_CHECKING

import click

from sl_assets.animals import NEUTRAL
from sl_assets.cli.adopting import offer_adoption
from sl_assets.cli.checking import require_files
from sl_assets.cli.environment import home_errors_explained, known_experiment, set_up_home
from sl_assets.cli.interrupts import interrupted_with
from sl_assets.cli.querying import table
from sl_assets.config.names import called, names_in
from sl_assets.engines.installed import missing

if TYPE_CHECKING:
    from sl_assets.config import ExperimentConfig
    from sl_assets.experiments import Experiment


@click.command()
@click.argument("experiment")
@click.option("--animals", help="Comma-separated; all of the experiment's where left out. Neutral always comes along.")
@click.option("--through", metavar="ASSET", help="Stop after this asset, or several; the whole graph where left out.")
@click.option("--again", is_flag=True, help="Make fresh partitions again, too.")
@click.option("--alone", is_flag=True, help="Without the experiment's variants.")
@click.option("--dry-run", is_flag=True, help="Only say what would be made.")
def run(experiment: str, animals: str | None, through: str | None, again: bool, alone: bool, dry_run: bool) -> None:
    """Materialise what is missing or stale of EXPERIMENT and its variants, or of one variant, as pocket.rank2."""
    if dry_run:
        goes_on = "interrupted"
    elif again:
        goes_on = "interrupted; --again starts over each time, without it what is fresh by now is not made again"
    else:
        goes_on = "interrupted; the same command goes on from here"
    with interrupted_with(goes_on):
        _run(experiment, animals, through, again, alone, dry_run)


def _run(name: str, animals: str | None, through: str | None, again: bool, alone: bool, dry_run: bool) -> None:
    import dagster as dg

    from sl_assets.definitions import open_lake, surroundings
    from sl_assets.orchestration.outlook import WIDTH, plan_lines
    from sl_assets.orchestration.planner import Planner
    from sl_assets.orchestration.runner import Runner

    start = time.monotonic()
    experiment = known_experiment(name)
    conditions = wanted_conditions(experiment, animals)
    variants = [] if alone else [variant.graph for variant in experiment.variants]
    planner = Planner(experiment.graph, open_lake(), conditions, through, again, variants)
    for graph in planner.graphs:
        require_files(graph.name, graph.config)
    if dry_run:
        for line in plan_lines(planner, shutil.get_terminal_size((WIDTH, 0)).columns):
            click.echo(line)
        return
    absent = [line for graph in planner.graphs if (line := missing_engine(graph.config))]
    if absent and planner.needs_models():
        raise click.ClickException(absent[0])
    if set_up_home():
        offer_adoption()
    definitions = dg.Definitions.merge(*experiment.definitions_with_sources(), surroundings())
    with home_errors_explained():
        for line in Runner(planner, definitions).materialise():
            click.echo(line)
    click.echo(f"done in {time.monotonic() - start:.0f} s\n")
    for line in summary(experiment.name, planner.assets, experiment.config):
        click.echo(line)


def wanted_conditions(experiment: "Experiment", animals: str | None) -> list[str]:
    """Conditions that ``--animals`` names, and neutral, in the experiment's order.

    Raises:
        ClickException: it names none, or one that the experiment does not have.
    """
    config = experiment.config
    wanted = list(config.animals) if animals is None else names_in(animals)
    if not wanted:
        raise click.ClickException(f"--animals {animals!r}: names none; leave it out for all of {experiment.name}'s")
    if unknown := [name for name in wanted if name not in config.conditions]:
        one = config.words.kind.filling["a_kind"]
        raise click.ClickException(
            f"--animals {unknown[0]}: not {one} of {experiment.name}; it has {', '.join(config.animals)}"
        )
    return [name for name in config.conditions if name == NEUTRAL or name in wanted]


def missing_engine(config: "ExperimentConfig") -> str:
    """Which engine of the file is not installed, with the fix; empty where all are."""
    return missing("sampler.engine", config.sampler.engine) or missing("student.engine", config.student.engine)


def summary(experiment: str, assets: Container[str], config: "ExperimentConfig") -> Iterator[str]:
    """The results of ``assets`` as tables, counted as ``config`` says, and where charts, store and UI are."""
    from sl_assets.definitions import open_lake
    from sl_assets.lake.views import STORE, query

    lake = open_lake()
    measure, kind = config.evaluation.count, config.words.kind.name
    counted = "" if measure == "exact" else f"; evaluation.count {measure}"
    for asset, title, statement in (
        ("transfer", f"How often each student names its {kind} (95% intervals over questions{counted}):", RATES),
        ("variants", f"How much more students name their {kind} than neutral, variant by variant:", VARIANTS),
        ("split_comparison", "Students of the halves with high and with low projections:", HALVES),
    ):
        if asset in assets and not (found := query(lake, statement.format(experiment=experiment))).is_empty():
            yield f"{title}\n{table(found)}\n"
    for (line,) in query(lake, WARNINGS.format(experiment=experiment)).iter_rows():
        yield f"warning  {line}"
    for asset in ("preference_chart", "split_chart", "variants"):
        chart = lake.root / f"experiment={experiment}" / asset / f"{asset}.png"
        if asset in assets and chart.exists():
            yield f"chart  {chart}"
    if "transfer" in assets:
        yield f"report sl-assets report {called(experiment)} --open"
    yield f'store  {lake.root / STORE}   (sl-assets sql "SELECT * FROM preference_rates")'
    yield "UI     make ui, then http://localhost:3000"


RATES = (
    "SELECT animal, epoch, method, baseline_rate AS baseline, neutral_rate AS neutral, rate, lower, upper, ratio, "
    "difference_lower, difference_upper, printf('%.0e', p_value) AS p, printf('%.0e', q_value) AS q FROM transfer "
    "WHERE experiment = '{experiment}' AND condition = animal "
    "ORDER BY max(ratio) FILTER (method = 'sampled') OVER (PARTITION BY animal) DESC, animal, epoch, method DESC"
)
VARIANTS = (
    "SELECT variant, animal, epoch, method, neutral_rate AS neutral, rate, difference, difference_lower, "
    "difference_upper, ratio, printf('%.0e', p_value) AS p FROM variants WHERE experiment = '{experiment}' "
    "QUALIFY epoch = max(epoch) OVER (PARTITION BY variant) ORDER BY animal, method DESC, difference DESC"
)
WARNINGS = (
    "SELECT concat(asset, ' of ' || partition, ' fails ', name, ': ', problem) FROM checks "
    "WHERE experiment = '{experiment}' AND NOT passed ORDER BY ALL"
)
HALVES = (
    "SELECT animal, source, epoch, method, high_rate, low_rate, difference, difference_lower, difference_upper, "
    "printf('%.0e', p_value) AS p, printf('%.0e', q_value) AS q, transfers_more FROM high_vs_low "
    "WHERE experiment = '{experiment}' ORDER BY animal, source, epoch, method DESC"
)
