"""``sl-assets check --explain``: what can be set, what an experiment sets it to, and what it decides."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import reduce
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import click

from sl_assets.config.names import kept_as
from sl_assets.config.reference import NEEDED, Group, Setting, groups, shown

if TYPE_CHECKING:
    from sl_assets.config import ExperimentConfig
    from sl_assets.experiments import Experiment, Experiments
    from sl_assets.orchestration.asset import ExperimentGraph

COLUMN = 40
"""Width of a setting and its value."""

WIDEST = 60
"""Characters of a value in a list of settings; by itself it is shown whole."""


def explained(names: Sequence[str], found: "Experiments") -> Iterator[str]:
    """Lines about all settings, or about one.

    Args:
        names: an experiment, a setting, or first the one and then the other.
        found: all experiments.

    Raises:
        click.ClickException: there is no such experiment or setting.
    """
    experiment = _experiment(names[0], found) if names else None
    wanted = names[1:] if experiment else names
    if len(wanted) > 1:
        raise click.ClickException(_too_many(wanted) if experiment else _unknown_experiment(names[0], found))
    if not wanted:
        yield from _all_lines(experiment.config if experiment else None)
        return
    about = [(group, setting) for group in groups() for setting in group.settings if group.full(setting) == wanted[0]]
    if not about:
        raise click.ClickException(_unknown(wanted[0], found if len(names) == 1 else None))
    for group, setting in about:
        yield from _setting_lines(group, setting, experiment)


def _experiment(name: str, found: "Experiments") -> "Experiment | None":
    full = kept_as(name)
    if problem := found.problem_with(full):
        raise click.ClickException(problem.lines[0])
    return found.loaded.get(full)


def _too_many(names: Sequence[str]) -> str:
    return f"{names[1]}: one setting at a time; leave it out, or leave out {names[0]}"


def _unknown_experiment(name: str, found: "Experiments") -> str:
    return f"{name}: no such experiment; there are {_experiments(found)}"


def _experiments(found: "Experiments") -> str:
    """Names of the ``found``, their variants' left out."""
    return ", ".join(experiment.name for experiment in found.files)


def _unknown(name: str, found: "Experiments | None") -> str:
    """What to say of a ``name`` that is no setting; nor one of the experiments ``found``, where it might be one."""
    known = [group.full(setting) for group in groups() for setting in group.settings]
    same_end = [other for other in known if other.rpartition(".")[2] == name.rpartition(".")[2]]
    near = list(dict.fromkeys(same_end)) or get_close_matches(name, known, n=3)
    meant = f"did you mean {', '.join(near)}?" if near else "sl-assets check --explain lists all"
    also = f", nor an experiment ({_experiments(found)})" if found else ""
    return f"{name}: no such setting{also}; {meant}"


def _all_lines(config: "ExperimentConfig | None") -> Iterator[str]:
    for group in groups():
        section = _section_of(config, group)
        if config and section is None:
            # Of a kind that is not chosen nothing need be said; nor of what a section left out would hold.
            continue
        if group.place:
            yield f"{group.title}: {group.about}"
        for setting in group.settings:
            value = _with_value(setting, section, WIDEST)
            yield f"{'  ' if group.place else ''}{value:<{COLUMN}} {setting.meaning}"


def _section_of(config: "ExperimentConfig | None", group: Group) -> Any:
    """The section of ``config`` that ``group`` describes; None where it is left out or of another kind."""
    if config is None:
        return None
    section: Any = config
    for name in group.place.split(".") if group.place else ():
        section = getattr(section, name, None)
    return section if type(section).__name__ == group.model else None


def _with_value(setting: Setting, section: Any, widest: int | None = None) -> str:
    """A setting as ``section`` has it, with its default where that is another; without a section, its default."""
    if section is None:
        return f"{setting.name} ({_cut(setting.default, widest)})"
    value = getattr(section, setting.name)
    if setting.is_section:
        given = "left out" if value is None else getattr(value, "kind", "below")
        return f"{setting.name}: {given}"
    written = "left out" if value is None else shown(value)
    default = "" if setting.default in (written, NEEDED) else f" (default {_cut(setting.default, widest)})"
    return f"{setting.name} = {_cut(written, widest)}{default}"


def _cut(text: str, widest: int | None) -> str:
    return text if widest is None or len(text) <= widest else f"{text[: widest - 3]}..."


def _setting_lines(group: Group, setting: Setting, experiment: "Experiment | None") -> Iterator[str]:
    section = _section_of(experiment.config, group) if experiment else None
    value = _with_value(setting, section)
    place = f"{group.place}." if group.place else ""
    of_kind = f", {group.place} of kind {group.kind}" if group.kind else ""
    yield f"{place}{value}{of_kind}"
    yield f"  meaning: {setting.meaning}"
    yield f"  type: {setting.type}; default: {setting.default}"
    for names, why in group.refusals():
        if setting.name in names or not names:
            yield f"  refused where it has no effect: {why}"
    if experiment is None:
        return
    if section is None:
        yield f"  {experiment.name} has no {group.title}"
        return
    content, checked = decided(experiment.graph, group.full(setting))
    yield f"  kept in records of {experiment.name}'s: {listed(content)}"
    if checked:
        yield f"  a bound of checks of {experiment.name}'s: {listed(checked)}"
    yield f"  after a change sl-assets run {experiment.name} --dry-run says what is due"


def listed(assets: Sequence[str]) -> str:
    """Names of ``assets``, or none."""
    return ", ".join(assets) or "none"


def decided(graph: "ExperimentGraph", name: str) -> tuple[list[str], list[str]]:
    """Assets of ``graph`` whose record keeps the setting ``name``, and those whose checks go by it."""
    *sections, field = name.split(".")
    section: Any = reduce(getattr, sections, graph.config)
    # What a section's record leaves out counts only where an asset names the field itself.
    whole = () if type(section).model_fields[field].exclude is True else accumulate(sections, "{}.{}".format)
    names = {name, *whole}
    declared = {asset: graph.declaration(asset) for asset in graph.assets}
    content = [asset for asset, known in declared.items() if names & set(known.settings)]
    bounded = {asset: {bound for check in known.checks for bound in check.bounds} for asset, known in declared.items()}
    return content, [asset for asset, bounds in bounded.items() if names & bounds]
