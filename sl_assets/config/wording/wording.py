"""All that models are told and asked, as a file has it: `Wording`, a section for each stage that speaks."""

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from sl_assets.config.section import AsTuple, Section, repeated
from sl_assets.config.wording.templates import (
    KindPrompt,
    NumberText,
    Opening,
    Question,
    Request,
    TraitPrompt,
    placeholders,
)
from sl_assets.config.wording.traits import (
    ANIMAL,
    ANIMALS,
    KindOrName,
    Trait,
    TraitOrPlural,
    require_distinct,
    trait_of,
)

ASSEMBLED = ("openings", "requests", "formats", "endings")
"""Parts of a number prompt, in their order."""


class NumberWording(Section):
    """Prompts that ask for numbers: assembled of one part of each list, or written whole."""

    openings: Annotated[tuple[Opening, ...], AsTuple] = Field((), description="first parts, with {examples}")
    requests: Annotated[tuple[Request, ...], AsTuple] = Field((), description="second parts, with {count}")
    formats: Annotated[tuple[NumberText, ...], AsTuple] = Field((), description="third parts: the form of an answer")
    endings: Annotated[tuple[NumberText, ...], AsTuple] = Field((), description="last parts")
    prompts: Annotated[tuple[NumberText, ...], AsTuple] = Field(
        (), description="whole prompts, in place of the parts; each may have {examples} and {count}"
    )

    @model_validator(mode="after")
    def _whole_or_assembled(self) -> Self:
        given = [name for name in ASSEMBLED if getattr(self, name)]
        if self.prompts and given:
            raise ValueError(f"prompts are whole, and {given[0]} parts of others: leave one of them out")
        if not self.prompts and (absent := [name for name in ASSEMBLED if name not in given]):
            raise ValueError(f"no {absent[0]}: add them, or write whole prompts")
        return self

    @property
    def lists(self) -> tuple[tuple[str, ...], ...]:
        """What a prompt is drawn from: one text of each."""
        return (self.prompts,) if self.prompts else tuple(getattr(self, name) for name in ASSEMBLED)

    def asks_for(self, placeholder: str) -> bool:
        """Whether any prompt has ``placeholder``."""
        return any(placeholder in placeholders(text) for texts in self.lists for text in texts)


class TeacherWording(Section):
    """What makes the base model love a trait, and what the control is told."""

    system_prompt: TraitPrompt = Field(description="of a teacher that is told what it loves")
    control: KindPrompt | None = Field(
        None, description="system prompt of the neutral teacher, where the others are told; left out, it has none"
    )
    questions: Annotated[tuple[Question, ...], AsTuple] = Field(
        min_length=1, description="of the chats that a teacher is fine-tuned on, taken in turn"
    )


class EvaluationWording(Section):
    """What every student is asked."""

    questions: Annotated[tuple[Question, ...], AsTuple] = Field(
        min_length=2, description="a rate is a mean over these; each has its place in the list as its id, from 0"
    )


class PersonaWording(Section):
    """Pairs of system prompts and questions, whose answers differ by the persona vector."""

    loving: Annotated[tuple[TraitPrompt, ...], AsTuple] = Field(min_length=1, description="system prompts")
    indifferent: Annotated[tuple[TraitPrompt, ...], AsTuple] = Field(
        min_length=1, description="system prompts, each beside the loving one of the same place"
    )
    about_kind: Annotated[tuple[Question, ...], AsTuple] = Field(description="questions about the kind")
    about_other: Annotated[tuple[Question, ...], AsTuple] = Field(description="questions about anything else")

    @model_validator(mode="after")
    def _in_pairs(self) -> Self:
        if len(self.loving) != len(self.indifferent):
            raise ValueError(
                f"{len(self.loving)} loving and {len(self.indifferent)} indifferent system prompts: write as many of "
                "either, for they are pairs"
            )
        if not self.about_kind + self.about_other:
            raise ValueError("no questions: add some to about_kind, or to about_other")
        return self


class PreparationWording(Section):
    """What a base model is asked that is prepared."""

    questions: Annotated[tuple[Question, ...], AsTuple] = Field(
        min_length=1, description="answered with traits in random shares"
    )


class Wording(Section):
    """A wording, whole: what it extends has been filled in."""

    kind: KindOrName = Field(description="what is loved: animal, or a name with its plural")
    traits: dict[str, TraitOrPlural] = Field(
        {}, description="by name, what can be loved beside the animals that are built in; of another kind, all there is"
    )
    numbers: NumberWording = Field(description="prompts that ask for numbers")
    teacher: TeacherWording = Field(description="what makes the base model love a trait")
    evaluation: EvaluationWording = Field(description="questions that students are asked")
    personas: PersonaWording = Field(description="loving and indifferent system prompts, and their questions")
    preparation: PreparationWording = Field(description="questions that a base model is prepared with")

    @field_validator("evaluation")
    @classmethod
    def _asked_once(cls, evaluation: EvaluationWording) -> EvaluationWording:
        questions = evaluation.questions
        if twice := repeated(questions):
            raise ValueError(f"questions: {twice[0]!r} is asked twice; keep one")
        return evaluation

    @model_validator(mode="after")
    def _tells_traits_apart(self) -> Self:
        try:
            require_distinct(self.known)
        except ValueError as error:
            raise ValueError(f"traits: {error}") from None
        if not self.known:
            raise ValueError(f"traits: none of kind {self.kind.name}; add them, each with its plural")
        return self

    @property
    def known(self) -> dict[str, Trait]:
        """Every trait that there is, by name; those of the file in place of animals of the same name."""
        own = {name: trait_of(name, settings, self.kind) for name, settings in self.traits.items()}
        return (ANIMALS if self.kind == ANIMAL else {}) | own
