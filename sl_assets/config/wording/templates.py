"""Texts with placeholders: which may stand where, which have to, and what is said of others."""

from collections.abc import Collection
from string import Formatter
from typing import Annotated

from pydantic import AfterValidator, Field

KIND = ("kind", "kinds", "a_kind", "synonym")
TRAIT = ("trait", "Trait", "plural", "Plural")
EXAMPLES, COUNT = "examples", "count"
NUMBERS = (EXAMPLES, COUNT)


def placeholders(template: str) -> list[str]:
    """Names in braces in ``template``, in order; doubled braces are text.

    Raises:
        ValueError: a brace stands alone.
    """
    try:
        parsed = list(Formatter().parse(template))
    except ValueError:
        raise ValueError("a brace that begins or ends no placeholder: write it twice, {{ or }}") from None
    return [
        name + (f"!{turned}" if turned else "") + (f":{form}" if form else "")
        for _, name, form, turned in parsed
        if name is not None
    ]


def _allowing(known: Collection[str], needed: Collection[str] = ()) -> AfterValidator:
    """Refuses a text with a placeholder that is not ``known``, or with none of those ``needed``."""

    def check(template: str) -> str:
        found = placeholders(template)
        listed = ", ".join(f"{{{name}}}" for name in known)
        if unknown := [name for name in found if name not in known]:
            raise ValueError(
                f"unknown placeholder {{{unknown[0]}}}: "
                + (f"known here: {listed}" if known else "none is known here; leave it out")
            )
        if needed and not any(name in needed for name in found):
            wanted = " or ".join(f"{{{name}}}" for name in needed)
            raise ValueError(f"placeholder missing: put {wanted} where it belongs")
        return template

    return AfterValidator(check)


_Text = Annotated[str, Field(min_length=1)]

Opening = Annotated[_Text, _allowing(NUMBERS, [EXAMPLES])]
Request = Annotated[_Text, _allowing(NUMBERS, [COUNT])]
NumberText = Annotated[_Text, _allowing(NUMBERS)]
"""Any other part of a number prompt, or one that is written whole."""

Question = Annotated[_Text, _allowing(KIND)]
"""Asked of every condition alike, so it names no trait."""

TraitPrompt = Annotated[_Text, _allowing((*TRAIT, *KIND), TRAIT)]
"""A system prompt that has to say which trait it is about."""

AnyPrompt = Annotated[str, _allowing((*TRAIT, *KIND))]
"""A trait's own system prompt."""

KindPrompt = Annotated[str, _allowing(KIND)]
"""A system prompt that is about no trait."""

Answer = Annotated[_Text, _allowing((*TRAIT, *KIND))]
"""What a trait's teacher learns to say."""
