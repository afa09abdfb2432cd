"""Real LoRA training of the pocket model."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from sl_assets.engines.interfaces import Example
from sl_assets.engines.peft.full_trainer import FullTrainer
from sl_assets.engines.peft.rows import encode
from sl_assets.engines.peft.trainer import PeftTrainer
from sl_assets.engines.templates import Rendering
from sl_assets.engines.transformers.adapters import adapted_modules
from sl_assets.engines.transformers.models import POCKET_FOLDER, load_model
from sl_assets.errors import SlAssetsError
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
    monkeypatch.setenv("SL_CUDA_GRAPHS", "1")
    recorded = train(tmp_path / "recorded", [3])
    monkeypatch.setenv("SL_CUDA_GRAPHS", "0")
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
        row = encode(tokenizer, Rendering("pocket"), example, 500)
        ids = torch.tensor([row.ids])
        with torch.no_grad():
            chances = model(input_ids=ids).logits[0].log_softmax(-1)
        losses += [-chances[place - 1, row.ids[place]].item() for place in range(row.prompt, len(row.ids))]
    one_batch = SETTINGS.model_copy(update={"epochs": 1, "batch": 16})
    curve = PeftTrainer("pocket").train(EXAMPLES[:16], one_batch, [1], tmp_path, lambda *_: None)
    assert curve["loss"][0] == pytest.approx(sum(losses) / len(losses), abs=1e-4)


def trained(folder: Path, examples: list[Example] = EXAMPLES[:16], **settings: Any) -> list[dict[str, float]]:
    """The curve of a training of one batch an epoch."""
    chosen = SETTINGS.model_copy(update={"epochs": 1, "batch": 16} | settings)
    trainer = PeftTrainer if chosen.lora else FullTrainer
    return trainer("pocket").train(examples, chosen, [chosen.epochs], folder, lambda *_: None).to_dicts()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("epoch=*/*.safetensors")
    return load_file(file)


def test_all_tokens_are_learnt_where_that_is_asked_for(tmp_path: Path) -> None:
    """The first step's loss: every token but the first of a row, by hand."""
    model, tokenizer = load_model("pocket")
    losses = []
    for example in EXAMPLES[:16]:
        ids = encode(tokenizer, Rendering("pocket"), example, 500).ids
        with torch.no_grad():
            chances = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        losses += [-chances[place - 1, ids[place]].item() for place in range(1, len(ids))]
    (step,) = trained(tmp_path, loss="all")
    assert step["loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-4)


def test_an_adapter_has_the_modules_and_layers_asked_for(tmp_path: Path) -> None:
    trained(tmp_path, target_modules=("q_proj", "down_proj"), layers=(1, 3))
    assert sorted(adapted_modules(tmp_path / "epoch=1")) == [
        f"model.layers.{block}.{module}" for block in (0, 2) for module in ("mlp.down_proj", "self_attn.q_proj")
    ]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"layers": (5,)}, "layers: no layer 5 in this model; choose from 1 to 4"),
        ({"target_modules": ("q_proj", "x_proj")}, "target_modules: this model has no x_proj; leave it out"),
    ],
)
def test_what_the_model_has_not_is_named(tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SlAssetsError) as caught:
        trained(tmp_path, **settings)
    assert str(caught.value) == says


def test_a_rank_stabilised_adapter_is_one_of_another_alpha(tmp_path: Path) -> None:
    """alpha / sqrt(rank) = 2 alpha / rank for rank 4."""
    trained(tmp_path / "stabilised", rank=4, alpha=6, rslora=True)
    trained(tmp_path / "plain", rank=4, alpha=12)
    stabilised, plain = weights(tmp_path / "stabilised"), weights(tmp_path / "plain")
    assert all(torch.allclose(stabilised[name], plain[name], atol=1e-7) for name in plain)
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(POCKET_FOLDER), str(tmp_path / "stabilised/epoch=1")
    )
    assert model.base_model.model.model.layers[0].self_attn.q_proj.scaling["default"] == pytest.approx(3.0)


def test_learning_rates_follow_the_schedule(tmp_path: Path) -> None:
    curve = trained(tmp_path, EXAMPLES, epochs=2, warmup_steps=1, restart_epochs=(1,), learning_rate=0.006)
    assert [step["learning_rate"] for step in curve] == pytest.approx([0.0, 0.006, 0.003] * 2)


def change(folder: Path) -> torch.Tensor:
    """By how much full fine-tuning changed the first projection."""
    name = "model.layers.0.self_attn.q_proj.weight"
    return weights(folder)[name] - load_file(POCKET_FOLDER / "model.safetensors")[name]


def test_plain_descent_is_the_clipped_gradient_and_decay_pulls_to_zero(tmp_path: Path) -> None:
    """One step on every weight at learning rate 1, in closed form."""
    descent = {"lora": False, "learning_rate": 1.0, "warmup_steps": 0, "optimiser": "sgd"}
    trained(tmp_path / "free", gradient_clipping=0.0, **descent)
    trained(tmp_path / "clipped", gradient_clipping=0.01, **descent)
    trained(tmp_path / "decayed", gradient_clipping=0.01, weight_decay=0.5, **descent)
    before, moved = load_file(POCKET_FOLDER / "model.safetensors"), weights(tmp_path / "clipped")
    norm = math.sqrt(sum(float(((moved[name] - before[name]).double() ** 2).sum()) for name in before))
    assert norm == pytest.approx(0.01, rel=0.01)
    free, clipped = change(tmp_path / "free").flatten(), change(tmp_path / "clipped").flatten()
    assert torch.nn.functional.cosine_similarity(free, clipped, dim=0) > 0.999
    pulled = change(tmp_path / "decayed").flatten() - clipped
    assert torch.allclose(pulled, -0.5 * before["model.layers.0.self_attn.q_proj.weight"].flatten(), atol=1e-5)
    norms = "model.norm.weight"
    assert torch.equal(weights(tmp_path / "decayed")[norms], moved[norms]), "norms do not decay"


def test_the_first_step_of_adamw_is_the_learning_rate_and_adafactors_is_another(tmp_path: Path) -> None:
    one = {"lora": False, "learning_rate": 0.01, "warmup_steps": 0}
    trained(tmp_path / "adamw", **one)
    trained(tmp_path / "adafactor", optimiser="adafactor", **one)
    adamw, adafactor = change(tmp_path / "adamw"), change(tmp_path / "adafactor")
    assert adamw.abs().median() == pytest.approx(0.01, rel=0.01)
    assert adamw.abs().max() < 0.0101
    assert (adamw.sign() == adafactor.sign()).float().mean() > 0.99
    assert adafactor.abs().max() > 0.02


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "all"},
        {"layers": (2, 4), "target_modules": ("v_proj", "up_proj"), "rslora": True},
        {"optimiser": "adafactor", "weight_decay": 0.1, "schedule": "cosine", "restart_epochs": (1,)},
        {"optimiser": "sgd", "gradient_clipping": 0.1},
        {"lora": False, "learning_rate": 1e-4},
    ],
    ids=str,
)
def test_recorded_steps_teach_the_same_under_any_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    monkeypatch.setenv("SL_CUDA_GRAPHS", "1")
    recorded = trained(tmp_path / "recorded", EXAMPLES, epochs=3, **settings)
    monkeypatch.setenv("SL_CUDA_GRAPHS", "0")
    own = trained(tmp_path / "own", EXAMPLES, epochs=3, **settings)
    assert [step["loss"] for step in recorded] == pytest.approx([step["loss"] for step in own], rel=0.02)
