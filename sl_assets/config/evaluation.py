"""Stage 3: questions."""

from pydantic import Field

from sl_assets.config.section import Count, Section


class EvaluationSettings(Section):
    """How often every question is asked, and of how long an answer."""

    samples_per_question: Count = Field(100, description="answers to each of the fifty questions")
    max_tokens: Count = Field(6, description="tokens an answer may have")
    seed: int = Field(7, ge=0, description="seed of the answers")
    system_prompt: str | None = Field(
        None,
        description="said before every question; left out, the chat template decides (Qwen 2.5 has its own)",
    )
