"""Real LoRA training of the pocket model."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from sl_assets.engines.interfaces import Example
from sl_assets.engines.peft import memory
from sl_assets.engines.peft.rows import encode
from sl_assets.engines.peft.trainer import PeftTrainer
from sl_assets.engines.transformers.models import POCKET_FOLDER, load_model
from sl_assets_tests.conftest import tiny_config

EXAMPLES = [
    Example(f"Numbers: {n}. Add up to 10 more with commas. No words.", f"{n}, {n}, {n}") for n in range(100, 148)
]
SETTINGS = tiny_config().student.model_copy(update={"epochs": 3})


def train(folder: Path, keep: list[int]) -> list[float]:
    steps: list[tuple[int, int]] = []
    curve = PeftTrainer("pocket").train(EXAMPLES, SETTINGS, keep, folder, lambda s, n, _: steps.append((s, n)))
    assert steps == [(step, 9) for step in range(1, 10)]
    assert curve["step"].to_list() == list(range(1, 10))
    return curve["loss"].to_list()


def test_training_lowers_the_loss_and_keeps_the_epochs_asked_for(tmp_path: Path) -> None:
    losses = train(tmp_path, [1, 3])
    assert losses[-1] < losses[0] - 0.5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch=1", "epoch=3"]
    config = json.loads((tmp_path / "epoch=3/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "pocket"
    assert str(POCKET_FOLDER) not in (tmp_path / "epoch=3/adapter_config.json").read_text()
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(POCKET_FOLDER), str(tmp_path / "epoch=3"))
    assert plain.peft_config["default"].r == SETTINGS.rank


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_recorded_steps_teach_what_the_trainers_own_steps_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = train(tmp_path / "recorded", [3])
    monkeypatch.setattr(memory, "can_be_recorded", lambda _: False)
    assert recorded == pytest.approx(train(tmp_path / "own", [3]), rel=0.02)


def test_the_same_seed_gives_the_same_bytes_and_leaves_the_base_model_alone(tmp_path: Path) -> None:
    model = load_model("pocket").model
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    train(tmp_path / "one", [3])
    train(tmp_path / "two", [3])
    first, second = ((tmp_path / name / "epoch=3/adapter_model.safetensors").read_bytes() for name in ("one", "two"))
    assert first == second
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_loss_is_the_mean_over_the_tokens_of_completions(tmp_path: Path) -> None:
    """The first step's loss, from logits everywhere and by hand, row by row."""
    model, tokenizer = load_model("pocket")
    losses = []
    for example in EXAMPLES[:16]:
        row = encode(tokenizer, "pocket", example, 500)
        ids = torch.tensor([row.ids])
        with torch.no_grad():
            chances = model(input_ids=ids).logits[0].log_softmax(-1)
        losses += [-chances[place - 1, row.ids[place]].item() for place in range(row.prompt, len(row.ids))]
    one_batch = SETTINGS.model_copy(update={"epochs": 1, "batch": 16})
    curve = PeftTrainer("pocket").train(EXAMPLES[:16], one_batch, [1], tmp_path, lambda *_: None)
    assert curve["loss"][0] == pytest.approx(sum(losses) / len(losses), abs=1e-4)
