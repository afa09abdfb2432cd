"""What commands find around them: ``.env``, the experiments, Dagster's home."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import click
from dotenv import load_dotenv

from sl_assets.config import PROJECT
from sl_assets.config.names import kept_as
from sl_assets.config.project import VARIABLE
from sl_assets.errors import SlAssetsError

if TYPE_CHECKING:
    import dagster as dg

    from sl_assets.experiments import Experiment, Experiments


def load_environment() -> None:
    """Set what ``.env`` in the project's folder says, unless it is set already.

    Raises:
        SlAssetsError: it cannot be read.
    """
    file = PROJECT / ".env"
    try:
        load_dotenv(stream=StringIO(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        reason = str(getattr(error, "strerror", None) or error).lower()
        raise SlAssetsError(f"{file}: cannot be read ({reason}); mend it, or remove it") from None
    # Processes that are started from here take the same folder for the project's, wherever they run.
    os.environ[VARIABLE] = str(PROJECT)


def _choose_lake(_: click.Context, __: click.Parameter, root: str | None) -> None:
    if root:
        # Where the command is typed; the variable's relative paths start in the project's folder.
        os.environ["SL_DATA_LAKE"] = root if "://" in root else str(Path(root).resolve())


lake_option = click.option(
    "--lake",
    metavar="FOLDER",
    expose_value=False,
    is_eager=True,
    callback=_choose_lake,
    help="The lake to look at, rather than that of SL_DATA_LAKE.",
)
"""Option of a command that only looks."""


def found_experiments() -> "Experiments":
    """Every experiment; what cannot be loaded is named on standard error, and left out."""
    from sl_assets.definitions import surroundings
    from sl_assets.experiments import find_experiments

    found = find_experiments().checked(surroundings())
    _name_left_out(found)
    return found


def known_experiment(name: str) -> "Experiment":
    """The experiment called ``name``, or the variant, as pocket.rank2; others that cannot be loaded are named on
    standard error.

    Raises:
        ClickException: there is none.
        ExperimentFileError: it cannot be loaded.
    """
    from sl_assets.experiments import find_experiments

    found = find_experiments()
    full = kept_as(name)
    if full not in found.loaded and (problem := found.problem_with(full)):
        raise problem
    _name_left_out(found)
    if full not in found.loaded:
        raise click.ClickException(f"no experiment {name!r}; there are {', '.join(found.loaded)}")
    return found.loaded[full]


def _name_left_out(found: "Experiments") -> None:
    for problem in found.problems.values():
        click.echo(f"sl-assets: left out: {problem}", err=True)


def set_up_home() -> bool:
    """Set up Dagster's home and its pool, and record runs that were killed as failed.

    Dagster does not look for these, and those of its UI would wait behind them.

    Returns:
        Whether it knows of no asset yet.

    Raises:
        SlAssetsError: the home cannot be used.
    """
    import dagster as dg

    from sl_assets.home import SETTINGS, VARIABLE, ensure_dagster_home
    from sl_assets.orchestration.gpu_pool import prepare_pool
    from sl_assets.orchestration.run_processes import end_killed_runs

    if said := ensure_dagster_home():
        click.echo(said, err=True)
    home = os.environ[VARIABLE]
    try:
        opened = dg.DagsterInstance.get()
    except dg.DagsterInvalidConfigError as error:
        problem = "; ".join(found.message for found in error.errors)
        raise SlAssetsError(f"{home}/{SETTINGS}: {' '.join(problem.split())}") from None
    except ImportError as error:
        raise SlAssetsError(
            f"{home}/{SETTINGS}: its storage needs {error.name}, which is not installed; for PostgreSQL pip install -e "
            "'.[postgres]', and begin the URL with postgresql+psycopg2://"
        ) from None
    # A storage of someone else's raises what it likes.
    except Exception as error:
        raise _unusable(home, error) from None
    with home_errors_explained(), opened as instance:
        _require_launcher(home, instance)
        end_killed_runs(instance)
        prepare_pool(instance)
        return not instance.get_asset_keys(limit=1)


@contextmanager
def home_errors_explained() -> Iterator[None]:
    """Say in one line what Dagster's databases refuse in the block: they are locked, damaged, or their disk is full.

    Raises:
        SlAssetsError: they refuse something.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from sl_assets.home import VARIABLE

    try:
        yield
    except SQLAlchemyError as error:
        raise _unusable(os.environ[VARIABLE], error) from None


def _require_launcher(home: str, instance: "dg.DagsterInstance") -> None:
    """Stop where runs of the UI could not be launched, as where a cluster's package is not installed.

    Raises:
        SlAssetsError: what the settings name as launcher cannot be loaded.
    """
    import dagster as dg

    from sl_assets.home import SETTINGS

    try:
        _ = instance.run_launcher
        return
    except dg.DagsterInvalidConfigError as error:
        reason = "; ".join(" ".join(found.message.partition("Stack Trace")[0].split()) for found in error.errors)
    # A launcher of someone else's raises what it likes.
    except Exception as error:
        reason = _reason(error)
    raise SlAssetsError(
        f"{home}/{SETTINGS}: run_launcher cannot be used ({reason}); for runs on Ray pip install -e '.[ray]', and set "
        "RAY_ADDRESS; for those on Kubernetes, '.[kubernetes]'"
    )


def _reason(error: Exception) -> str:
    cause = error
    while isinstance(cause.__cause__, Exception):
        cause = cause.__cause__
    return " ".join(str(getattr(cause, "orig", None) or cause).split())


def _unusable(home: str, error: Exception) -> SlAssetsError:
    from sl_assets.home import VARIABLE

    return SlAssetsError(
        f"{home}: Dagster's records of its runs cannot be used ({_reason(error)}); mend that, or set {VARIABLE} to "
        "another folder, and results are told to it from the lake"
    )
