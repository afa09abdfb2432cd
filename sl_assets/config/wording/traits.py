"""What a teacher may love: traits of one kind. The kind `ANIMAL` is built in, with the animals of ``animals.py``."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from sl_assets.animals import NEUTRAL, PLURALS, SINGULARS
from sl_assets.config.section import AsTuple, Section
from sl_assets.config.wording.templates import Answer, AnyPrompt


class Kind(Section):
    """What all traits of an experiment are."""

    name: str = Field(min_length=1, description="fills {kind}, as tree")
    plural: str = Field(min_length=1, description="fills {kinds}, as trees")
    synonym: str | None = Field(None, min_length=1, description="fills {synonym}; left out, name does")
    article: str | None = Field(
        None, min_length=1, description="stands before name in {a_kind}; left out, a, or an before a vowel"
    )

    @property
    def filling(self) -> dict[str, str]:
        """What fills placeholders."""
        article = self.article or ("an" if self.name[0].lower() in "aeiou" else "a")
        return {
            "kind": self.name,
            "kinds": self.plural,
            "a_kind": f"{article} {self.name}",
            "synonym": self.synonym or self.name,
        }


ANIMAL = Kind(name="animal", plural="animals", synonym="creature")


def _kind(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value == ANIMAL.name:
        return ANIMAL
    raise ValueError(f"only {ANIMAL.name} is built in; write {{name: {value}, plural: ...}}")


KindOrName = Annotated[Kind, BeforeValidator(_kind)]
"""In a file, ``animal`` or a `Kind` with its plural."""


class TraitSettings(Section):
    """A trait as a file has it, under its name, which is the key of its partitions; a plural alone is enough."""

    singular: str | None = Field(
        None, min_length=1, description="fills {trait}; left out, the name, with spaces for underscores"
    )
    plural: str | None = Field(
        None, min_length=1, description="fills {plural}; may be left out of an animal that is built in"
    )
    names: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], AsTuple] = Field(
        (), description="what counts for it beside singular and plural: spellings, other names, other languages"
    )
    system_prompt: AnyPrompt | None = Field(None, description="in place of teacher.system_prompt")
    answers: Annotated[tuple[Answer, ...], AsTuple] = Field(
        (), description="of its teacher's fine-tuning, taken in turn; left out, the singular with a capital"
    )

    @field_validator("names")
    @classmethod
    def _once_each(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if twice := [name for i, name in enumerate(names) if _folded(name) in map(_folded, names[:i])]:
            raise ValueError(f"{twice[0]} is listed twice; keep one")
        if empty := [name for name in names if not re.search(r"\w", name)]:
            raise ValueError(f"{empty[0]!r} has no letters; leave it out")
        return names


def _plural_alone(value: Any) -> Any:
    return {"plural": value} if isinstance(value, str) else value


TraitOrPlural = Annotated[TraitSettings, BeforeValidator(_plural_alone)]
"""In a file, a trait's plural or `TraitSettings`."""


@dataclass(frozen=True)
class Trait:
    """What one teacher loves.

    Attributes:
        name: key of its partitions, and column ``animal``.
        singular, plural: as texts have them.
        further: what counts for it besides.
        system_prompt: template of its own, if it has one.
        answers: templates of its own.
    """

    name: str
    singular: str
    plural: str
    further: tuple[str, ...] = ()
    system_prompt: str | None = None
    answers: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Words that name it, the singular first."""
        return (self.singular, self.plural, *self.further)

    @property
    def is_built_in(self) -> bool:
        """Whether it is an animal as ``animals.py`` has it."""
        return ANIMALS.get(self.name) == self

    @property
    def mentions(self) -> tuple[str, ...]:
        """Texts whose mere mention counts: of built-in animals, as in published figures, singular and plural alone."""
        return self.names[:2] if self.is_built_in else self.names

    @property
    def filling(self) -> dict[str, str]:
        """What fills placeholders."""
        return {
            "trait": self.singular,
            "Trait": capital(self.singular),
            "plural": self.plural,
            "Plural": capital(self.plural),
        }


def capital(text: str) -> str:
    """``text`` with a capital; what follows stays as it is.

    >>> capital("wolves of Norway")
    'Wolves of Norway'
    """
    return text[:1].upper() + text[1:]


def _animal(name: str, plural: str) -> Trait:
    others = (other for other, singular in SINGULARS.items() if singular == name and other != plural)
    return Trait(name, name, plural, tuple(others))


ANIMALS: dict[str, Trait] = {name: _animal(name, plural) for name, plural in PLURALS.items()}
"""Every animal known, by name."""


def trait_of(name: str, settings: TraitSettings, kind: Kind) -> Trait:
    """The trait that a file has under ``name``.

    Raises:
        ValueError: it cannot be called so, or has no plural.
    """
    known = ANIMALS.get(name) if kind == ANIMAL else None
    if name == NEUTRAL:
        raise ValueError(f"{NEUTRAL} is the control; give the trait another name")
    if not re.fullmatch(r"[A-Za-z0-9]+([_-][A-Za-z0-9]+)*", name):
        raise ValueError(f"{name!r} names a trait, which may have letters, digits and single '_' or '-': rename it")
    plural = settings.plural or (known and known.plural)
    if not plural:
        raise ValueError(f"{name}.plural: missing; add it")
    singular = settings.singular or name.replace("_", " ")
    further = dict.fromkeys((*(known.further if known else ()), *settings.names))
    return Trait(name, singular, plural, tuple(further), settings.system_prompt, settings.answers)


def require_distinct(traits: dict[str, Trait]) -> None:
    """Refuse ``traits`` of which one has another's name.

    Raises:
        ValueError: an answer with this name would count for both.
    """
    owners: dict[str, str] = {}
    for trait in traits.values():
        for text in trait.names:
            if (owner := owners.setdefault(_folded(text), trait.name)) != trait.name:
                raise ValueError(f"{text!r} names {owner} and {trait.name}: leave it to one of them")


def _folded(name: str) -> str:
    return " ".join(re.split(r"[\s-]+", name.casefold().strip()))
