"""Fine-tuning, of teachers and of students."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sl_assets.config.section import AsTuple, Count, Rate, Section, added, repeated

Projection = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PROJECTIONS: tuple[Projection, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear maps of a block, by their names in models of the Hub."""


class TrainingSettings(Section):
    """Fine-tuning: of adapters on linear maps of blocks, or of every weight."""

    lora: bool = Field(True, description="train a low-rank adapter; false trains every weight, without rank and alpha")
    rank: Count = Field(8, description="rank of the adapter")
    alpha: Count = Field(8, description="scale: the update is multiplied by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of adapter inputs dropped in training")
    epochs: Count = Field(10, description="passes over the rows")
    learning_rate: Rate = Field(2e-4, description="peak learning rate")
    warmup_steps: int = Field(5, ge=0, description="steps over which the learning rate rises")
    batch: Count = Field(66, description="rows an optimiser step")
    max_length: Count = Field(500, description="tokens a row; longer rows are cut")
    seed: int = Field(1, ge=0, description="seed of the adapter's start and of the order of rows")
    loss: Literal["completion", "all"] = added(
        "completion", description="tokens that are learnt: those of completions and their end, or prompts as well"
    )
    target_modules: Annotated[tuple[Projection, ...], AsTuple] = added(
        PROJECTIONS, min_length=1, description="linear maps of a block that are adapted"
    )
    layers: Annotated[tuple[Count, ...], AsTuple] = added(
        (), description="blocks that are adapted, the first is 1; empty adapts all"
    )
    rslora: bool = added(False, description="multiply the update by alpha / sqrt(rank) instead (rank-stabilised LoRA)")
    optimiser: Literal["adamw", "adafactor", "sgd"] = added(
        "adamw", description="sgd is without momentum; all take learning_rate as it is"
    )
    weight_decay: float = added(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="share of weights, times the learning rate, lost a step; not of norms and biases",
    )
    schedule: Literal["linear", "cosine", "constant"] = added(
        "linear", description="fall of the learning rate after warm-up, to zero at the end; constant keeps its peak"
    )
    restart_epochs: Annotated[tuple[Count, ...], AsTuple] = added(
        (), description="epochs after which the schedule begins anew, warm-up included; the optimiser's state stays"
    )
    gradient_clipping: float = added(
        1.0, ge=0, allow_inf_nan=False, description="largest norm of a step's gradient; 0 clips none"
    )

    @model_validator(mode="after")
    def _listed_once_and_reached(self) -> Self:
        for name in ("target_modules", "layers", "restart_epochs"):
            values = getattr(self, name)
            if twice := repeated(values):
                raise ValueError(f"{name}: {twice[0]} is listed twice; keep one")
        if late := [epoch for epoch in self.restart_epochs if epoch >= self.epochs]:
            raise ValueError(f"restart_epochs {late[0]}: nothing follows epoch {self.epochs}; drop it, or raise epochs")
        return self
