"""``sl-assets report``."""

from pathlib import Path

import click

from sl_assets.cli.environment import known_experiment
from sl_assets.cli.querying import existing_lake


@click.command()
@click.argument("experiment")
@click.option("--to", type=click.Path(dir_okay=False, path_type=Path), help="File to write.  [EXPERIMENT_report.html]")
@click.option("--open", "show", is_flag=True, help="Show it in the browser.")
def report(experiment: str, to: Path | None, show: bool) -> None:
    """Write the page of EXPERIMENT, of what is in the lake: results, samples, settings and lineage in one file."""
    from sl_assets.stages.report.assets import source_of
    from sl_assets.stages.report.page import report_page

    graph = known_experiment(experiment).graph
    source = source_of(graph, existing_lake())
    if not any(True for _ in source.records()):
        raise click.ClickException(f"{experiment}: nothing of it is in {source.lake.root}; sl-assets run {experiment}")
    page = report_page(source)
    file = to or Path(f"{source.name}_report.html")
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        reason = str(error.strerror or error).lower()
        raise click.ClickException(f"--to {file}: cannot be written ({reason}); name another file") from None
    click.echo(f"report  {file.resolve()}   ({len(page.encode()):,} bytes)")
    if show:
        click.launch(str(file.resolve()))
