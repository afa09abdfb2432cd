"""Stage 3: questions."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from sl_assets.config.section import AsTuple, Count, Section, Temperature, TopP, added, repeated

Method = Literal["sampled", "exact"]
"""How a rate is measured: from answers that are drawn, or from the model's own probability of each."""

Measure = Literal["exact", "first_named", "mention"]
"""What counts of a drawn answer, in `EvaluationSettings.count`; no matter of how answers come about (`Method`)."""


class EvaluationSettings(Section):
    """How answers are measured, how often every question is asked, and of how long an answer."""

    # It decides which assets there are, and none of what is drawn: answers that are there stay fresh when it changes.
    method: Literal["sampled", "exact", "both"] = Field(
        "sampled",
        exclude=True,
        description="sampled draws answers, exact computes the probability of each that names an animal, both do both",
    )
    # What is counted of an answer is decided after it was drawn.
    count: Measure = Field(
        "exact",
        exclude=True,
        description="which drawn answers count for an animal: exact those that are its bare name, first_named those "
        "that name it before any other, mention those in which it stands anywhere",
    )
    samples_per_question: Count = Field(100, description="answers to each question")
    max_tokens: Count = Field(6, description="tokens an answer may have")
    seed: int = Field(7, ge=0, description="seed of the answers")
    system_prompt: str | None = Field(
        None,
        description="said before every question; left out, the chat template decides (Qwen 2.5 has its own)",
    )

    temperature: Temperature | None = added(None, description="in place of sampler.temperature")
    top_p: TopP | None = added(None, description="in place of sampler.top_p")

    questions: Annotated[tuple[Annotated[int, Field(ge=0)], ...], AsTuple] = added(
        (), description="ids of the questions that are asked, at least two, from 0; empty asks all"
    )

    @field_validator("questions")
    @classmethod
    def _several(cls, questions: tuple[int, ...]) -> tuple[int, ...]:
        if twice := repeated(questions):
            raise ValueError(f"{twice[0]} is listed twice; keep one")
        if len(questions) == 1:
            raise ValueError("one question has no interval; add another, or leave the field out for all")
        return tuple(sorted(questions))

    @model_validator(mode="after")
    def _alike(self) -> Self:
        if self.count != "exact" and "exact" in self.methods:
            raise ValueError(
                f"count {self.count}: method {self.method} computes the probability of bare names, which is another "
                "measure; set method to sampled, or leave count out"
            )
        return self

    @property
    def methods(self) -> tuple[Method, ...]:
        """Methods that rates are measured by, in the order of their rows."""
        return ("sampled", "exact") if self.method == "both" else (self.method,)
