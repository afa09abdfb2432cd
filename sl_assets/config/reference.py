"""Every setting of an experiment file, from the schema alone: for docs/reference/experiment-file.md, and for terminals.

``python -m sl_assets.config.reference`` prints the page.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sl_assets.config.experiment import ExperimentConfig
from sl_assets.config.unused import UNUSED

Schema = Mapping[str, Any]
"""JSON schema of a section or of a field."""

NEEDED = "needed"
"""Stands for the default of what an experiment file cannot leave out."""


MAPPINGS = ("chat_template", "split_student")
"""Fields of the file itself that are no sections, whose keys are the user's."""


class Setting(NamedTuple):
    """A field.

    Attributes:
        name: its name in the section.
        type: what it may be, with its bounds.
        default: as YAML writes it; `NEEDED` where there is none.
        meaning: its description.
        is_section: whether it has settings of its own.
    """

    name: str
    type: str
    default: str
    meaning: str
    is_section: bool


class Group(NamedTuple):
    """A section, or one kind of it.

    Attributes:
        place: dotted name in the file; empty for the file itself.
        kind: which kind, where there are several.
        model: name of its class.
        about: what it is for.
        settings: its fields, but for ``kind``.
    """

    place: str
    kind: str | None
    model: str
    about: str
    settings: tuple[Setting, ...]

    @property
    def title(self) -> str:
        """Its place and its kind."""
        return f"{self.place} of kind {self.kind}" if self.kind else self.place

    def full(self, setting: Setting) -> str:
        """Dotted name of ``setting``."""
        return f"{self.place}.{setting.name}" if self.place else setting.name

    def refusals(self) -> list[tuple[tuple[str, ...], str]]:
        """Names of fields, none for the whole section, with where they have no effect and are refused."""
        found: dict[str, set[str]] = {}
        for row in UNUSED:
            # Rows of one section with one reason differ in when they hold, which the reason says.
            # A mapping that is no section is a field of the section that it stands in.
            section, fields = ("", (row.section,)) if row.section in MAPPINGS else (row.section, row.fields)
            names = {setting.name for setting in self.settings} & set(fields)
            if section == self.place and (names or not fields):
                found.setdefault(row.why, set()).update(names)
        return [(tuple(s.name for s in self.settings if s.name in names), why) for why, names in found.items()]


def groups() -> list[Group]:
    """Every section in the order of the file, after the fields that stand in none."""
    schema = ExperimentConfig.model_json_schema()
    # Two kinds of a section may hold the same section.
    return list(dict.fromkeys(_groups(schema, schema["$defs"], "", None)))


def _groups(schema: Schema, sections: Schema, place: str, kind: str | None) -> Iterator[Group]:
    fields = {name: field for name, field in schema["properties"].items() if name != "kind"}
    needed = schema.get("required", ())
    about = " ".join(schema.get("description", "").replace("``", "`").split())
    settings = tuple(_setting(name, field, name in needed) for name, field in fields.items())
    yield Group(place, kind, schema["title"], about, settings)
    for name, field in fields.items():
        for of_kind, reference in _sections(field).items():
            below = sections[reference.rpartition("/")[2]]
            yield from _groups(below, sections, f"{place}.{name}" if place else name, of_kind)


def _sections(field: Schema) -> dict[str | None, str]:
    """References to the sections that ``field`` may hold, by kind."""
    if "$ref" in field:
        return {None: field["$ref"]}
    if "discriminator" in field:
        kinds = {option["$ref"]: kind for kind, option in _kinds(field)}
        return {kinds[option["$ref"]]: option["$ref"] for option in field["oneOf"]}
    return {kind: found for option in field.get("anyOf", ()) for kind, found in _sections(option).items()}


def _kinds(field: Schema) -> Iterator[tuple[str, Schema]]:
    for kind, reference in field["discriminator"]["mapping"].items():
        yield kind, {"$ref": reference}


def _setting(name: str, field: Schema, needed: bool) -> Setting:
    is_section = bool(_sections(field))
    default = NEEDED if needed else _written(field.get("default"), is_section)
    return Setting(name, _type(field), default, field.get("description", ""), is_section)


def _written(default: Any, is_section: bool) -> str:
    if default is None:
        return "left out"
    return str(default.get("kind", "its own defaults")) if is_section else shown(default)


def shown(value: Any) -> str:
    """``value`` as a setting's is written, in one line."""
    if isinstance(value, str):
        return value or '""'
    return json.dumps(value, ensure_ascii=False, default=lambda other: other.model_dump(mode="json"))


NAMES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
    "object": "mapping",
}
BOUNDS = {
    "minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below",
}  # fmt: skip


def _type(field: Schema) -> str:
    if sections := _sections(field):
        kinds = [kind for kind in sections if kind]
        return ("section of kind " + _listed(kinds) if kinds else "section") + (" or null" if "anyOf" in field else "")
    if "anyOf" in field:
        return " or ".join(_type(option) for option in field["anyOf"])
    if "enum" in field or "const" in field:
        return f"one of {_listed(field.get('enum') or [field['const']])}"
    if field.get("type") == "array":
        return _list_type(field)
    bounds = ", ".join(f"{words} {field[name]:g}" for name, words in BOUNDS.items() if name in field)
    return NAMES.get(field.get("type", ""), "any value") + (f" ({bounds})" if bounds else "")


def _list_type(field: Schema) -> str:
    fixed = field.get("prefixItems", ())
    many = f" of {len(fixed)}" if fixed else " of one or more" if field.get("minItems") else " of"
    items = _type(fixed[0] if fixed else field["items"]).removeprefix("one of ")
    plural = re.sub(r"^(text|whole number|number)", r"\1s", items)
    return f"list{many} {plural}"


def _listed(names: list[Any]) -> str:
    return ", ".join(f"`{name}`" for name in names)


PAGE_BEGINS = """\
# The experiment file

Every setting of `defs/<experiment>/defs.yaml`, below `attributes`. This page is made from the schema
(`make reference`). `sl-assets check --explain EXPERIMENT` prints the same with an experiment's values, and
`sl-assets check --explain EXPERIMENT SETTING`, as `student.rank`, says which assets a setting decides.

An unknown field, a wrong type and a setting without effect are refused in a line that names file, field and fix. YAML
takes `1e-4` for text: write `1.0e-4`.
"""


def page() -> str:
    """The reference page, as Markdown."""
    return "\n".join([PAGE_BEGINS, *(line for group in groups() for line in _section_lines(group))])


def _section_lines(group: Group) -> list[str]:
    lines = [f"## {group.title or 'attributes'}", "", group.about, ""]
    if group.settings:
        lines += ["| setting | type | default | meaning |", "| --- | --- | --- | --- |"]
        lines += [
            f"| `{name}` | {kind} | {default} | {meaning} |" for name, kind, default, meaning, _ in group.settings
        ]
        lines.append("")
    if refusals := group.refusals():
        lines += ["Refused where it has no effect:", ""]
        lines += [f"- {_listed(list(names)) or 'the section'}: {why}" for names, why in refusals]
        lines.append("")
    return lines


if __name__ == "__main__":
    print(page(), end="")
