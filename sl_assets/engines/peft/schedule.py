"""How the learning rate goes over a training: a rise, a fall, and perhaps both again."""

import math
from bisect import bisect_right

from sl_assets.config import TrainingSettings


def share_of_peak(step: int, steps: int, settings: TrainingSettings) -> float:
    """What share of its peak the learning rate has in ``step`` (from 0) of ``steps``.

    It rises from zero over the warm-up, and falls to zero where the training ends, or where it begins anew.
    """
    an_epoch = steps // settings.epochs
    ends = [an_epoch * epoch for epoch in sorted(settings.restart_epochs)]
    stretch = bisect_right(ends, step)
    first = ends[stretch - 1] if stretch else 0
    length = (ends[stretch] if stretch < len(ends) else steps) - first
    place, warmup = step - first, settings.warmup_steps
    if place < warmup:
        return place / warmup
    if settings.schedule == "constant":
        return 1.0
    left = max(0.0, (length - place) / max(1, length - warmup))
    return left if settings.schedule == "linear" else 0.5 * (1 - math.cos(math.pi * left))
