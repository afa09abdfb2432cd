"""Learning rates in closed form."""

import math
from typing import Any

import pytest
import torch
from transformers import get_scheduler

from sl_assets.config import TrainingSettings
from sl_assets.engines.peft.schedule import share_of_peak


def shares(steps: int, **settings: Any) -> list[float]:
    chosen = TrainingSettings(**{"epochs": 4, "warmup_steps": 2} | settings)
    return [share_of_peak(step, steps, chosen) for step in range(steps)]


@pytest.mark.parametrize("warmup", [0, 1, 5, 40])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_without_restarts_it_is_the_schedule_of_transformers(schedule: str, warmup: int) -> None:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = get_scheduler(schedule, optimiser, num_warmup_steps=warmup, num_training_steps=36)
    rates = []
    for _ in range(36):
        rates.append(theirs.get_last_lr()[0])
        optimiser.step()
        theirs.step()
    ours = shares(36, schedule=schedule, warmup_steps=warmup)
    assert ours == (rates if schedule == "linear" else pytest.approx(rates, abs=1e-12))


def test_after_a_restart_every_stretch_is_a_training_of_its_own() -> None:
    one, three = shares(5, epochs=1), shares(15, epochs=3)
    assert shares(20, restart_epochs=(1,)) == one + three
    assert shares(20, restart_epochs=(3, 1)) == one + shares(10, epochs=2) + one


def test_a_cosine_is_half_way_down_in_the_middle() -> None:
    falling = shares(10, epochs=1, warmup_steps=2, schedule="cosine")
    assert falling[:3] == [0.0, 0.5, 1.0]
    assert falling[6] == pytest.approx(0.5)
    assert falling[4] == pytest.approx((1 + math.cos(math.pi / 4)) / 2)


def test_a_constant_rate_keeps_its_peak() -> None:
    assert shares(8, schedule="constant", warmup_steps=2) == [0.0, 0.5] + [1.0] * 6
    assert shares(8, schedule="constant", warmup_steps=2, restart_epochs=(2,)) == [0.0, 0.5, 1.0, 1.0] * 2
