"""Every command of ``sl-assets``, each from the module that holds it."""

import click

from sl_assets.cli.adopting import adopt
from sl_assets.cli.cards import gpus
from sl_assets.cli.checking import check
from sl_assets.cli.exporting import export
from sl_assets.cli.galleries import gallery
from sl_assets.cli.interrupts import Interrupted
from sl_assets.cli.power import power
from sl_assets.cli.querying import sql, trace
from sl_assets.cli.reporting import report
from sl_assets.cli.running import run
from sl_assets.cli.serving import ui
from sl_assets.cli.status import status
from sl_assets.cli.tidying import pins, prune
from sl_assets.cli.verifying import verify
from sl_assets.cli.wording import wording

__all__ = ["Interrupted", "cli"]


@click.group()
@click.version_option(package_name="sl_assets", message="sl_assets %(version)s")
def cli() -> None:
    """Subliminal-learning experiments as Dagster assets."""


COMMANDS = (
    *(check, run, report, status, sql, export, gallery, trace, power, wording),
    *(adopt, verify, prune, pins, gpus, ui),
)
for command in COMMANDS:
    cli.add_command(command)
