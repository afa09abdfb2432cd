"""Bounds of the checks, for every stage."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from sl_assets.config.section import AsTuple, Count, Section

Share = Annotated[float, Field(ge=0, le=1)]


class CheckSettings(Section):
    """When a check of a partition fails. Bounds have no part in results: changed, they are checked anew."""

    independence: Share = Field(
        0.001, description="smallest p-value of the test that a preparation's numbers do not depend on the animal"
    )
    minimum_rows: Count = Field(500, description="fewest rows of a filtered dataset")
    keep_rate: Annotated[tuple[Share, Share], AsTuple] = Field(
        (0.1, 1.0), description="smallest and largest share of completions that pass the filter"
    )
    shared_prompts: Share = Field(
        1.0,
        description="smallest share of prompts that a condition's raw dataset and neutral's have in common; "
        "of imported numbers no bound, unless it is set here",
    )
    minimum_loss_drop: float = Field(
        0.0, description="nats a token that the last epoch's loss has to lie below that of the first steps"
    )
    usable_answers: Share = Field(
        0.5, description="smallest share of answers that are a bare name; exact, probability that an animal is named"
    )
    cut_answers: Share = Field(0.5, description="largest share of answers that were cut at max_tokens")
    uncounted_answers: Share = Field(
        0.5,
        description="largest share, of the answers that name an animal, that are no bare name and so do not count",
    )
    teacher_rate: Share = Field(0.3, description="smallest share of a teacher's answers that name its animal")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.keep_rate[0] > self.keep_rate[1]:
            raise ValueError(f"keep_rate {list(self.keep_rate)}: put the smaller share first")
        return self
