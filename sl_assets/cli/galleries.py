"""``sl-assets gallery``: the small tables of results as a lake of their own, for readers who run nothing."""

from pathlib import Path

import click

from sl_assets.cli.environment import lake_option


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("experiments", nargs=-1, required=True)
@lake_option
def gallery(folder: Path, experiments: tuple[str, ...]) -> None:
    """Copy the results of EXPERIMENTS to FOLDER: rates, comparisons, training curves, checks and lineage.

    Datasets, answers and weights are not copied. 'sl-assets sql --lake FOLDER' asks what is there.
    """
    from sl_assets.cli.querying import existing_lake
    from sl_assets.config.names import kept_as
    from sl_assets.lake.gallery import write_gallery
    from sl_assets.lake.lake import Lake

    size = write_gallery(existing_lake(), Lake(str(folder.resolve())), [kept_as(name) for name in experiments])
    click.echo(f"{folder}: {size.tables:,} tables ({size.bytes_of_tables / 1e3:,.0f} kB), {size.records:,} records")
