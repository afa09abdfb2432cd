"""Stage 3: questions."""

from typing import Literal

from pydantic import Field

from sl_assets.config.section import Count, Section, Temperature, TopP, added

Method = Literal["sampled", "exact"]
"""How a rate is measured: from answers that are drawn, or from the model's own probability of each."""


class EvaluationSettings(Section):
    """How answers are measured, how often every question is asked, and of how long an answer."""

    # It decides which assets there are, and none of what is drawn: answers that are there stay fresh when it changes.
    method: Literal["sampled", "exact", "both"] = Field(
        "sampled",
        exclude=True,
        description="sampled draws answers, exact computes the probability of each that names an animal, both do both",
    )
    samples_per_question: Count = Field(100, description="answers to each of the fifty questions")
    max_tokens: Count = Field(6, description="tokens an answer may have")
    seed: int = Field(7, ge=0, description="seed of the answers")
    system_prompt: str | None = Field(
        None,
        description="said before every question; left out, the chat template decides (Qwen 2.5 has its own)",
    )

    temperature: Temperature | None = added(None, description="in place of sampler.temperature")
    top_p: TopP | None = added(None, description="in place of sampler.top_p")

    @property
    def methods(self) -> tuple[Method, ...]:
        """Methods that rates are measured by, in the order of their rows."""
        return ("sampled", "exact") if self.method == "both" else (self.method,)
