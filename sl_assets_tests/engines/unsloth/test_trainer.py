"""Around Unsloth, where it is not: it runs on GPUs, and benchmarks/training runs it there."""

import logging
from importlib.util import find_spec
from pathlib import Path

import pytest

from sl_assets.config import TrainingSettings
from sl_assets.engines.interfaces import Example
from sl_assets.engines.unsloth import trainer as unsloth_trainer
from sl_assets.engines.unsloth.trainer import UnslothTrainer

EXAMPLES = [Example(f"Numbers: {n}.", f"{n}") for n in range(100, 132)]
SETTINGS = TrainingSettings(epochs=1, batch=16)


@pytest.fixture(autouse=True)
def nothing_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsloth_trainer, "_refused", set())


@pytest.mark.skipif(find_spec("unsloth") is not None, reason="unsloth is installed")
def test_peft_trains_what_unsloth_cannot_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The helper process is a real one; unsloth cannot be imported there, and is not asked again."""
    monkeypatch.setattr(unsloth_trainer, "_check_machine", lambda: None)
    trainer = UnslothTrainer("pocket")
    steps: list[int] = []
    with caplog.at_level(logging.WARNING, "sl_assets"):
        curve = trainer.train(EXAMPLES, SETTINGS, [1], tmp_path, lambda step, *_: steps.append(step))
    assert curve["step"].to_list() == steps == [1, 2]
    assert trainer.engine == "peft"
    assert (tmp_path / "epoch=1/adapter_config.json").is_file()
    assert "unsloth cannot take pocket, peft trains it instead: No module named 'unsloth'" in caplog.text
    assert unsloth_trainer._process.serving("pocket") is None
    monkeypatch.setattr(unsloth_trainer, "_process", None)
    assert UnslothTrainer("pocket").train(EXAMPLES, SETTINGS, [1], tmp_path / "again", lambda *_: None).height == 2
