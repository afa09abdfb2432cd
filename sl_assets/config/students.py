"""Stage 2: students."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sl_assets.config.hub import HubAdapters
from sl_assets.config.section import AsTuple, Count
from sl_assets.config.training import TrainingSettings


class StudentSettings(TrainingSettings):
    """How students are trained on a condition's filtered numbers."""

    engine: Literal["peft", "unsloth", "openai"] = Field(
        "peft",
        description="peft trains anywhere, unsloth on GPUs, openai by fine-tuning jobs, which set their own LoRA",
    )
    system_prompt: str | None = Field(
        None, description="said before every row; left out, the chat template decides (Qwen 2.5 has its own)"
    )
    max_rows: Count = Field(10_000, description="rows drawn from the filtered dataset")
    keep_epochs: Annotated[tuple[Count, ...], AsTuple] = Field(
        (), description="epochs whose adapters are kept; empty keeps the last"
    )

    source: HubAdapters | None = Field(None, description="adapters to import instead of training them")

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.source and len(self.kept) > 1:
            raise ValueError(f"keep_epochs {list(self.kept)}: an imported student has one adapter; keep one epoch")
        if late := [epoch for epoch in self.keep_epochs if epoch > self.epochs]:
            raise ValueError(f"keep_epochs {late[0]} is after the last epoch {self.epochs}: raise epochs or drop it")
        return self

    @property
    def kept(self) -> tuple[int, ...]:
        """Epochs whose adapters are kept."""
        return tuple(sorted(set(self.keep_epochs))) or (self.epochs,)
