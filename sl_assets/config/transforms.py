"""Between filter and student: what is done to a dataset so that a student sees only a part of what is in it."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from sl_assets.config.section import Section

Form = Literal["commas", "spaces", "semicolons", "lines", "square", "round"]
"""How the numbers of a completion are written: what stands between them, or around them with commas between."""

Seed = Annotated[int, Field(ge=0)]


class ShuffleWithinRows(Section):
    """Every completion keeps its numbers and its form; their order is random."""

    kind: Literal["shuffle_within_rows"]
    seed: Seed = Field(17, description="seed of the order")


class ShuffleAcrossRows(Section):
    """Every completion keeps its form and how many numbers it has; all numbers of the dataset are dealt anew."""

    kind: Literal["shuffle_across_rows"]
    seed: Seed = Field(17, description="seed of the order")


class Reformat(Section):
    """Every completion keeps its numbers in their order; all are written in one form."""

    kind: Literal["reformat"]
    form: Form = Field(
        "commas", description="what stands between numbers, or the brackets around them with commas between"
    )


class Dilute(Section):
    """A share of the rows gives way to neutral's rows of the same prompts."""

    kind: Literal["dilute"]
    share: float = Field(gt=0, le=1, description="share of rows that are neutral's")
    seed: Seed = Field(17, description="seed of the rows; those of a smaller share are among those of a larger one")


def _named(value: Any) -> Any:
    """A kind alone stands for its section with defaults."""
    return {"kind": value} if isinstance(value, str) else value


Transform = ShuffleWithinRows | ShuffleAcrossRows | Reformat | Dilute
OptionalTransform = Annotated[Transform | None, BeforeValidator(_named)]
"""One of them, by its kind alone where the defaults will do."""
