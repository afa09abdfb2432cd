"""Stage 1: teachers, prompts, where completions come from, and which of them pass."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from sl_assets.config.hub import HubSource, RowFields
from sl_assets.config.names import kept_as
from sl_assets.config.project import absolute
from sl_assets.config.section import AsTuple, Count, Section, Temperature, TopP, added
from sl_assets.config.training import TrainingSettings
from sl_assets.config.transforms import OptionalTransform


class SystemPromptTeacher(Section):
    """The base model under a system prompt that loves the animal."""

    kind: Literal["system_prompt"]


class FinetunedTeacher(TrainingSettings):
    """The base model fine-tuned on chats that name the animal, asked without a system prompt."""

    kind: Literal["finetuned"]
    chats: Count = Field(768, description="favourite-animal chats to fine-tune on")

    @model_validator(mode="before")
    @classmethod
    def _one_teacher(cls, written: Any) -> Any:
        if isinstance(written, Mapping) and "seeds" in written:
            raise ValueError(
                f"seeds {written['seeds']!r}: another teacher writes another dataset, so each is a variant; "
                "write grid: {teacher.seed: [1, 2]} beside teacher, or list student.seeds"
            )
        return written


class GenerateSource(Section):
    """The experiment's own teachers write the numbers."""

    kind: Literal["generate"]


class JsonlSource(Section):
    """Numbers written elsewhere: JSON lines, a JSON list or Parquet, of pairs or of chats; compressed or not."""

    kind: Literal["jsonl"]
    path: str = Field(description="file of each condition; {condition} stands for its name")
    fields: RowFields | None = added(None, description="what a row's fields are called; left out, by their usual names")

    @field_validator("path")
    @classmethod
    def _names_condition(cls, path: str) -> str:
        if "{condition}" not in path:
            raise ValueError("put {condition} where the animal's name belongs, as in numbers/{condition}.jsonl")
        return path

    def file(self, condition: str) -> Path:
        """The file of ``condition``; a relative path starts at the project's folder."""
        return absolute(self.path.replace("{condition}", condition))


class ExperimentSource(Section):
    """The datasets of another experiment, whatever its base model: shared with it, not copied."""

    kind: Literal["experiment"]
    name: str = Field(description="an experiment, or a variant of one, as pocket.rank2")

    @property
    def experiment(self) -> str:
        """Its name in the lake and in SQL."""
        return kept_as(self.name)


class NumbersSettings(Section):
    """The prompts and where their completions come from."""

    prompts: Count = Field(30_000, description="prompts that every teacher answers")
    seed: int = Field(42, ge=0, description="seed of the prompts and of the teachers' sampling")
    wording: Literal["full", "short"] = Field(
        "full", description="phrases that prompts are made of; short ones fit the pocket model"
    )
    examples: Annotated[tuple[Count, Count], AsTuple] = Field(
        (3, 9), description="fewest and most example numbers in a prompt, both ends included"
    )
    lowest: int = Field(100, ge=0, description="smallest example number")
    highest: int = Field(1000, ge=0, description="largest example number, itself included")
    answers: Count = Field(10, description="most numbers that a prompt asks for")
    source: GenerateSource | JsonlSource | HubSource | ExperimentSource = Field(
        GenerateSource(kind="generate"), discriminator="kind", description="where completions come from"
    )
    # Prompts stay fresh when these change.
    temperature: Temperature | None = Field(None, exclude=True, description="in place of sampler.temperature")
    top_p: TopP | None = Field(None, exclude=True, description="in place of sampler.top_p")
    rows: Count | None = Field(
        None,
        exclude=True,
        description="rows that pass the filter, after which no further prompt is asked; left out, all prompts are",
    )
    # It has no part in prompts and completions: they stay fresh when it changes.
    transform: OptionalTransform = Field(
        None, discriminator="kind", exclude=True, description="what is done to filtered rows; left out, nothing is"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.examples[0] > self.examples[1]:
            raise ValueError(f"examples {list(self.examples)}: put the smaller number first")
        if self.lowest > self.highest:
            raise ValueError(f"lowest {self.lowest} is above highest {self.highest}: swap them")
        if self.rows and self.rows > self.prompts:
            raise ValueError(f"rows {self.rows} are more than prompts {self.prompts}: raise prompts")
        return self


class FilterSettings(Section):
    """Limits of the numbers a student may see."""

    minimum: int = Field(0, ge=0, description="smallest number kept")
    maximum: int = Field(999, ge=0, description="largest number kept")
    max_count: Count = Field(10, description="most numbers in a completion")
    banned: Annotated[tuple[int, ...], AsTuple] = Field((), description="numbers that reject a completion")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}: no number could pass")
        return self
