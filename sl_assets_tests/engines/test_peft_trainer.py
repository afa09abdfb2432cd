"""Real LoRA training of the pocket model."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from sl_assets.engines import peft_trainer
from sl_assets.engines.interfaces import Example
from sl_assets.engines.models import POCKET_FOLDER, load_model
from sl_assets.engines.peft_trainer import IGNORED, PeftTrainer
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


def test_labels_cover_the_completion_and_its_end_only() -> None:
    row = PeftTrainer("pocket")._encode(Example("Numbers: 5.", "7, 8"), 500)
    tokenizer = load_model("pocket").tokenizer
    labelled = [token for token in row["labels"] if token != IGNORED]
    assert tokenizer.decode(labelled) == "7, 8<|end|>"
    assert tokenizer.decode(row["input_ids"]) == "<|user|>Numbers: 5.<|assistant|>7, 8<|end|>"
    assert len(row["labels"]) == len(row["input_ids"])


def test_longer_rows_are_cut() -> None:
    row = PeftTrainer("pocket")._encode(Example("Numbers: 5.", "7, 8"), 6)
    assert len(row["labels"]) == len(row["input_ids"]) == 6


def test_the_loss_is_the_mean_over_labelled_tokens(tmp_path: Path) -> None:
    """The first step's loss, from logits everywhere and by hand."""
    trainer = PeftTrainer("pocket")
    batch = trainer._collate([trainer._encode(example, 500) for example in EXAMPLES[:16]])
    with torch.no_grad():
        logits = load_model("pocket").model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    picked = batch["labels"][:, 1:] != IGNORED
    by_hand = (
        -logits[:, :-1]
        .log_softmax(-1)
        .gather(-1, batch["labels"][:, 1:].clamp(min=0)[..., None])[..., 0][picked]
        .mean()
    )
    one_batch = SETTINGS.model_copy(update={"epochs": 1, "batch": 16})
    curve = trainer.train(EXAMPLES[:16], one_batch, [1], tmp_path, lambda *_: None)
    assert curve["loss"][0] == pytest.approx(by_hand.item(), abs=1e-4)


def test_blocks_computed_again_train_as_well_and_are_as_before_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = train(tmp_path / "kept", [3])
    monkeypatch.setattr(peft_trainer, "CHECKPOINTED_FROM", 1)
    again = train(tmp_path / "again", [3])
    assert again == pytest.approx(kept, rel=1e-4)
    assert not load_model("pocket").model.is_gradient_checkpointing


def test_a_system_prompt_is_learnt_under_and_carries_no_loss() -> None:
    row = PeftTrainer("pocket")._encode(Example("Numbers: 5.", "7, 8", "You love owls."), 500)
    tokenizer = load_model("pocket").tokenizer
    assert tokenizer.decode(row["input_ids"]).startswith("<|system|>You love owls.<|user|>Numbers: 5.")
    assert tokenizer.decode([token for token in row["labels"] if token != IGNORED]) == "7, 8<|end|>"
