"""What comes from the Hugging Face Hub, and what goes there."""

from typing import Literal, Self

from pydantic import Field, model_validator

from sl_assets.config.section import Section, added


class HubFiles(Section):
    """Files of the Hugging Face Hub, one place a condition."""

    kind: Literal["hub"]
    repo: str = Field(min_length=1, description="owner/name; {condition} stands for the condition")
    path: str = Field("", description="place in it; {condition} stands for the condition")
    revision: str | None = Field(None, description="branch, tag or commit; the commit it stands for is recorded")

    @model_validator(mode="after")
    def _names_condition(self) -> Self:
        if "{condition}" not in self.repo + self.path:
            raise ValueError("put {condition} into repo or path, where the animal's name belongs")
        return self


class RowFields(Section):
    """Names of a row's fields in files that call them otherwise."""

    prompt: str = Field(min_length=1, description="field with what was asked, as question")
    completion: str = Field(min_length=1, description="field with what was answered, as answer")
    system: str | None = Field(None, min_length=1, description="field with a system prompt; left out, there is none")


class HubSource(HubFiles):
    """Numbers of dataset repositories: files of the same forms as those of kind ``jsonl``."""

    path: str = Field(min_length=1, description="file in it; {condition} stands for the condition")
    fields: RowFields | None = added(None, description="what a row's fields are called; left out, by their usual names")


class HubAdapters(HubFiles):
    """Students trained elsewhere: PEFT adapters in model repositories, ``path`` being their folder."""


class HubSettings(Section):
    """What `published_dataset` and `published_adapter` push to the Hugging Face Hub, when someone asks for them."""

    datasets: bool = Field(True, description="offer filtered datasets")
    adapters: bool = Field(True, description="offer the students' adapters")
    private: bool = Field(True, description="repositories that are made are private")
    prefix: str = Field("", description="before the repository's name")
    license: str | None = Field(None, description="license named on the cards")
