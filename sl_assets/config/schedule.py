"""What an experiment's schedule may spend."""

from pydantic import Field

from sl_assets.config.section import Count, Rate, Section


class ScheduleLimits(Section):
    """The most that one tick asks for, taken in the order of the graph; the rest is left for the next tick."""

    partitions: Count | None = Field(None, description="partitions; left out, any number")
    gpu_minutes: Rate | None = Field(
        None, description="minutes of running models, as long as partitions took so far; left out, any number"
    )
