"""The page of all commands, made from the commands themselves: ``make reference``."""

from collections.abc import Iterator

import click

from sl_assets.cli.commands import cli

PAGE_BEGINS = """\
# The command sl-assets

This page is made from the commands (`make reference`); `sl-assets run --help` prints the same of one. A mistake ends in
one line on standard error that names the fix, and in a non-zero exit code; after Ctrl-C that is 130, and the same
command goes on from there. `python -m sl_assets` is the same command.
"""


def page() -> str:
    """The page, as Markdown."""
    sections = [section for name, command in cli.commands.items() for section in _sections(name, command)]
    return "\n".join([PAGE_BEGINS, *sections])


def _sections(name: str, command: click.Command) -> Iterator[str]:
    """A section for ``command``, which is typed as ``name``; or one for each of its own."""
    if isinstance(command, click.Group):
        for below, own in command.commands.items():
            yield from _sections(f"{name} {below}", own)
        return
    context = click.Context(command, info_name=f"sl-assets {name}")
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    about = "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))
    lines = [f"## {name}", "", "```", usage, "```", "", about, ""]
    options = [parameter for parameter in command.get_params(context) if isinstance(parameter, click.Option)]
    rows = [record for option in options if (record := option.get_help_record(context)) and "--help" not in option.opts]
    if rows:
        lines += ["| option | meaning |", "| --- | --- |"]
        lines += [f"| `{written}` | {' '.join(meaning.split())} |" for written, meaning in rows]
        lines.append("")
    yield "\n".join(lines)


if __name__ == "__main__":
    print(page(), end="")
