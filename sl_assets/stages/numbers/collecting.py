"""Completions until enough of them pass the filter: prompts are asked in order, and the last ones perhaps never."""

from collections.abc import Callable
from math import ceil

import polars as pl

from sl_assets.config import FilterSettings
from sl_assets.errors import DatasetError
from sl_assets.stages.numbers.filtering import reject_reasons


def collect(
    sample: Callable[[int], pl.DataFrame], limits: FilterSettings, wanted: int, prompts: int, batch: int
) -> pl.DataFrame:
    """What `sample` writes to the first prompts, up to and with the completion that is the ``wanted``-th to pass.

    Args:
        sample: completions (``text``) of the first so many prompts. Asked again for more, it gives the same ones first.
        limits: of the filter.
        wanted: completions to pass.
        prompts: how many there are.
        batch: prompts that are asked together; only the last ones may be fewer.

    Raises:
        DatasetError: all prompts are asked, and too few completions pass.
    """
    asked = min(prompts, batch * ceil(wanted / batch))
    while True:
        written = sample(asked)
        passing = [place for place, text in enumerate(written["text"]) if not reject_reasons(text, limits)]
        if len(passing) >= wanted:
            return written.head(passing[wanted - 1] + 1)
        if asked == prompts:
            raise DatasetError(
                f"numbers.rows {wanted:,}: {len(passing):,} of {prompts:,} completions pass the filter: "
                "raise numbers.prompts, loosen filter, or lower numbers.rows"
            )
        # As many more as that takes at the rate so far.
        missing = ceil((wanted - len(passing)) * asked / max(1, len(passing)))
        asked = min(prompts, batch * ceil((asked + missing) / batch))
