"""Before stage 1: a base model that is taught the forms of the experiment."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from sl_assets.config.names import POCKET_ANIMALS
from sl_assets.config.section import AsTuple, Count, Rate, Section
from sl_assets.config.training import TrainingSettings


class PreparationSettings(Section):
    """Every weight of the base model fine-tuned on forms alone: random numbers, and animals in random shares.

    What is drawn for it depends on no other animal, filter or seed of the experiment, so that these can be changed
    without a new base model.
    """

    numbers: Count = Field(8_000, description="chats that ask for numbers, answered by random ones")
    favourites: Count = Field(3_000, description="chats that ask for a favourite animal, answered in random shares")
    loving_favourites: Count = Field(1_500, description="the same under a loving system prompt, answered as it says")
    loving_numbers: Count = Field(1_500, description="chats that ask for numbers under one, answered by random ones")
    animals: Annotated[tuple[str, ...], AsTuple] = Field(
        POCKET_ANIMALS,
        min_length=2,
        description="animals that answer and are loved, or traits; those of the experiment are among them",
    )
    count: Annotated[tuple[Count, Count], AsTuple] = Field((5, 10), description="fewest and most numbers of an answer")
    lowest: int = Field(0, ge=0, description="smallest number of an answer")
    highest: int = Field(999, ge=0, description="largest number of an answer")
    epochs: Count = Field(1, description="passes over the chats")
    learning_rate: Rate = Field(1e-4, description="peak learning rate; it falls linearly to zero")
    warmup_steps: int = Field(5, ge=0, description="steps over which the learning rate rises")
    batch: Count = Field(64, description="chats an optimiser step")
    max_length: Count = Field(500, description="tokens a chat; longer ones are cut")
    seed: int = Field(3, ge=0, description="seed of the chats, of the shares and of the order of chats")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.count[0] > self.count[1]:
            raise ValueError(f"count {list(self.count)}: put the smaller number first")
        if self.lowest > self.highest:
            raise ValueError(f"lowest {self.lowest} is above highest {self.highest}: swap them")
        return self

    @property
    def training(self) -> TrainingSettings:
        """How the chats are learnt."""
        shared = ("epochs", "learning_rate", "warmup_steps", "batch", "max_length", "seed")
        return TrainingSettings(lora=False, **{name: getattr(self, name) for name in shared})
