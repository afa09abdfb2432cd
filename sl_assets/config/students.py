"""Stage 2: students."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from sl_assets.config.hub import HubAdapters
from sl_assets.config.section import AsTuple, Count, added, repeated
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
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], AsTuple] = added(
        (), description="seeds of several students, each trained by itself, in place of seed"
    )

    @model_validator(mode="before")
    @classmethod
    def _one_is_a_lone_seed(cls, written: Any) -> Any:
        # However it is written, one student is the same student, with the same record.
        if not isinstance(written, Mapping) or "seed" in written:
            return written
        match written.get("seeds"):
            case [seed]:
                return {name: value for name, value in written.items() if name != "seeds"} | {"seed": seed}
        return written

    @field_validator("seeds")
    @classmethod
    def _in_order(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if twice := repeated(seeds):
            raise ValueError(f"{twice[0]} is listed twice; keep one")
        return tuple(sorted(seeds))

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.source and self.seeds:
            raise ValueError(f"seeds {list(self.seeds)}: an imported student has the seed that it has; leave them out")
        if self.source and len(self.kept) > 1:
            raise ValueError(f"keep_epochs {list(self.kept)}: an imported student has one adapter; keep one epoch")
        if late := [epoch for epoch in self.keep_epochs if epoch > self.epochs]:
            raise ValueError(f"keep_epochs {late[0]} is after the last epoch {self.epochs}: raise epochs or drop it")
        return self

    @property
    def kept(self) -> tuple[int, ...]:
        """Epochs whose adapters are kept."""
        return tuple(sorted(set(self.keep_epochs))) or (self.epochs,)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """Seeds of the students, one each, in order."""
        return self.seeds or (self.seed,)

    def of_seed(self, seed: int) -> Self:
        """The settings of the student of ``seed`` alone."""
        return self.model_copy(update={"seed": seed, "seeds": ()})
