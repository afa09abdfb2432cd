"""Stage 4: persona vectors, their judges, and steering."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from sl_assets.config.section import (
    AsTuple,
    BaseModelName,
    Count,
    Layer,
    Section,
    StateKind,
    Temperature,
    TopP,
    added,
    is_gguf,
    repeated,
)
from sl_assets.config.templates import TemplateVariables


class RuleJudge(Section):
    """Scores by rule: does the answer name the animal, and has it words, without a phrase in a loop?"""

    kind: Literal["rule"]


class ModelJudge(Section):
    """A chat model scores how much an answer loves the animal, and how coherent it is."""

    kind: Literal["model"]
    base_model: BaseModelName = Field(
        description="`pocket`, a folder, owner/name@revision on the Hugging Face Hub, or a name that an API knows"
    )
    engine: Literal["transformers", "vllm", "openai"] = added(
        "transformers", description="engine that asks it, with the settings of sampler (vllm) or openai"
    )
    chat_template: TemplateVariables = added({}, description="variables of its own chat template")

    @field_validator("base_model")
    @classmethod
    def _loaded_as_it_is(cls, base_model: str) -> str:
        if is_gguf(base_model):
            raise ValueError(f"{base_model}: a judge is loaded as it is; name a folder or a model of the Hub")
        return base_model

    @model_validator(mode="after")
    def _renders_here(self) -> Self:
        if self.engine == "openai" and self.chat_template:
            raise ValueError("chat_template: engine openai renders chats itself; leave it out")
        return self


class PersonaSettings(Section):
    """Contrastive answers, loving and indifferent, whose hidden states differ by the persona vector."""

    wording: Literal["full", "short"] = Field(
        "full", description="what is said and asked; short texts fit the pocket model"
    )
    samples: Count = Field(
        2, description="answers to each question under each pair of prompts; the built-in wordings have twenty and five"
    )
    max_tokens: Count = Field(128, description="tokens an answer may have; one that is cut counts as far as it goes")
    seed: int = Field(11, ge=0, description="seed of the answers")
    judge: RuleJudge | ModelJudge = Field(
        RuleJudge(kind="rule"), discriminator="kind", description="what scores answers for trait and coherence"
    )
    temperature: Temperature | None = added(None, description="in place of sampler.temperature")
    top_p: TopP | None = added(None, description="in place of sampler.top_p")
    threshold: float = added(
        50.0, gt=0, le=100, description="score from which an answer of a model judge has the trait, or is coherent"
    )
    minimum_pairs: Count = Field(20, exclude=True, description="fewest pairs of answers that make a vector")


class SteeringSettings(Section):
    """Add a multiple of a persona vector to the base model's hidden states, and ask the evaluation's questions."""

    layers: Annotated[tuple[Layer, ...], AsTuple] = Field(min_length=1, description="layers steered, one at a time")
    coefficients: Annotated[tuple[Annotated[float, Field(allow_inf_nan=False)], ...], AsTuple] = Field(
        min_length=1, description="lengths of the vector that is added"
    )
    vector: StateKind = Field("response_mean", description="states that the persona vector is a difference of")
    samples_per_question: Count = Field(4, description="answers to each of the evaluation's questions")
    seed: int = Field(13, ge=0, description="seed of the answers")
    positions: Literal["all", "last"] = added(
        "all", description="where it is added: all of them, or the prompt's last and each that is written"
    )

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        for name in ("layers", "coefficients"):
            values = getattr(self, name)
            if twice := repeated(values):
                raise ValueError(f"{name}: {twice[0]} is listed twice; keep one")
        return self
