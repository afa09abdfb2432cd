"""Fine-tuning, of teachers and of students."""

from pydantic import Field

from sl_assets.config.section import Count, Rate, Section


class TrainingSettings(Section):
    """Fine-tuning with AdamW on completions only: of adapters on the seven projections of every block, or of all."""

    lora: bool = Field(True, description="train a low-rank adapter; false trains every weight, without rank and alpha")
    rank: Count = Field(8, description="rank of the adapter")
    alpha: Count = Field(8, description="scale: the update is multiplied by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of adapter inputs dropped in training")
    epochs: Count = Field(10, description="passes over the rows")
    learning_rate: Rate = Field(2e-4, description="peak learning rate; it falls linearly to zero")
    warmup_steps: int = Field(5, ge=0, description="steps over which the learning rate rises")
    batch: Count = Field(66, description="rows an optimiser step")
    max_length: Count = Field(500, description="tokens a row; longer rows are cut")
    seed: int = Field(1, ge=0, description="seed of the adapter's start and of the order of rows")
