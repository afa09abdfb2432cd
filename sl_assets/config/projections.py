"""Stage 5: projections."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from sl_assets.config.section import AsTuple, Layer, Section, StateKind, added, repeated


class ProjectionSettings(Section):
    """Where a dataset's rows meet the persona vectors."""

    layer: Layer = Field(description="layer whose projections cut datasets into halves")
    layers: Annotated[tuple[Layer, ...], AsTuple] = Field((), description="further layers to keep and report")
    vector: StateKind = Field("prompt_mean", description="states that the persona vector is a difference of")
    state: StateKind = Field(
        "response_mean", description="states of the rows that are projected; rows of one prompt share its states"
    )
    equal_halves: bool = Field(
        True, description="cut an animal's halves to the size of the smallest; halves by sign may be smaller still"
    )
    seed: int = Field(5, ge=0, description="seed of random halves and of cutting to equal size")
    strata: Annotated[tuple[Literal["form", "count"], ...], AsTuple] = added(
        (), description="cut each set of rows alike in these by itself: how numbers are written, and how many there are"
    )

    @field_validator("strata")
    @classmethod
    def _once_each(cls, strata: tuple[str, ...]) -> tuple[str, ...]:
        if twice := repeated(strata):
            raise ValueError(f"{twice[0]} is listed twice; keep one")
        return strata

    @property
    def kept(self) -> tuple[int, ...]:
        """Layers whose activations are kept, in order."""
        return tuple(sorted({self.layer, *self.layers}))
