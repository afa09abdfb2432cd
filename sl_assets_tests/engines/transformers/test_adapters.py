"""Whether an adapter is one of its base model, and whether it changes it, known from files alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sl_assets.engines.transformers.adapters import (
    check_modules,
    first_change,
    modules_problem,
    update_of,
    weight_norm,
    weights_by_module,
)
from sl_assets.engines.transformers.models import POCKET_FOLDER, load_model
from sl_assets.engines.transformers.modules import module_shapes, shapes_of
from sl_assets.errors import DatasetError, SlAssetsError

FIRST = "base_model.model.model.layers.0.self_attn.q_proj"
MODULES = {"model.layers.0.self_attn.q_proj": (6, 4), "model.layers.0.mlp.up_proj": (8, 4), "model.norm": None}


def adapter_in(folder: Path, weights: dict[str, torch.Tensor], **config: Any) -> Path:
    (folder / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 8} | config))
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


def pair(module: str, out: int = 6, into: int = 4) -> dict[str, tuple[int, ...]]:
    return {f"{module}.lora_A.weight": (2, into), f"{module}.lora_B.weight": (out, 2)}


def test_an_adapter_of_the_model_has_no_problem() -> None:
    assert modules_problem(pair(FIRST) | {"base_model.model.model.norm.weight": (4,)}, MODULES) is None


@pytest.mark.parametrize(
    ("shapes", "problem"),
    [
        (
            pair("base_model.model.transformer.h.0.q_proj"),
            "1 of its 1 modules are none of this model's: it has weights base_model.model.transformer.h.0.q_proj."
            "lora_A.weight, and the model has model.layers.0.self_attn.q_proj",
        ),
        (
            pair(FIRST) | pair("base_model.model.model.layers.7.self_attn.q_proj"),
            "1 of its 2 modules are none of this model's: it has weights base_model.model.model.layers.7",
        ),
        (pair("model.layers.0.self_attn.q_proj"), "2 of its 2 modules are none of this model's"),
        (pair(FIRST, into=5), "its weights for model.layers.0.self_attn.q_proj are of 6 x 5, and the model's of 6 x 4"),
        ({f"{FIRST}.lora_A.weight": (2, 4)}, "has one of lora_A and lora_B without the other"),
        ({}, "it holds no weights"),
    ],
)  # fmt: skip
def test_an_adapter_that_fits_in_part_or_not_at_all_is_named(shapes: dict[str, tuple[int, ...]], problem: str) -> None:
    assert problem in str(modules_problem(shapes, MODULES))


def test_what_peft_writes_is_read_by_module() -> None:
    keys = dict.fromkeys(
        [f"{FIRST}.lora_A.weight", f"{FIRST}.lora_magnitude_vector", "base_model.model.wte.lora_embedding_B"]
    )
    assert weights_by_module(keys) == {
        "model.layers.0.self_attn.q_proj": {
            "lora_A": f"{FIRST}.lora_A.weight", "lora_magnitude_vector": f"{FIRST}.lora_magnitude_vector",
        },
        "wte": {"lora_embedding_B": "base_model.model.wte.lora_embedding_B"},
    }  # fmt: skip


def test_the_modules_of_a_model_are_known_without_its_weights() -> None:
    assert module_shapes("pocket") == shapes_of(load_model("pocket").model)
    assert module_shapes("pocket")["model.layers.0.self_attn.q_proj"]


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SlAssetsError, match="cannot be built"):
        module_shapes(str(tmp_path))


def test_the_refusal_is_one_line(tmp_path: Path) -> None:
    folder = adapter_in(tmp_path, {"base_model.model.h.0.q_proj.lora_A.weight": torch.ones(2, 4)})
    with pytest.raises(DatasetError) as caught:
        check_modules(folder, MODULES, "bob/student")
    assert str(caught.value).startswith("the adapter in bob/student is of another model: 1 of its 1 modules")
    assert str(caught.value).endswith("name the base_model that it was trained on")


@pytest.mark.parametrize(("config", "scale"), [({}, 4.0), ({"use_rslora": True}, 8 / 2**0.5)])
def test_the_size_of_an_update_is_that_of_the_product(tmp_path: Path, config: dict[str, Any], scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    lora_a, lora_b = torch.randn(2, 4, generator=generator), torch.randn(6, 2, generator=generator)
    names = f"{FIRST}.lora_A.weight", f"{FIRST}.lora_B.weight"
    folder = adapter_in(tmp_path, dict(zip(names, (lora_a, lora_b), strict=True)), **config)
    module, norm = update_of(folder).largest
    assert module == "model.layers.0.self_attn.q_proj"
    assert norm == pytest.approx(scale * float((lora_b @ lora_a).norm()))
    adapter_in(tmp_path, dict(zip(names, (lora_a, lora_b * 0), strict=True)), **config)
    assert update_of(folder).largest[1] == 0


def test_a_weight_is_found_in_the_files_of_its_model() -> None:
    weight = load_model("pocket").model.get_submodule("model.layers.0.self_attn.q_proj").weight
    assert weight_norm(POCKET_FOLDER, "model.layers.0.self_attn.q_proj") == pytest.approx(
        float(weight.norm()), rel=0.01
    )
    assert weight_norm(POCKET_FOLDER, "no.such.module") is None


def test_a_whole_model_is_told_from_its_base_by_its_weights(tmp_path: Path) -> None:
    shutil.copytree(POCKET_FOLDER, tmp_path / "same")
    assert first_change(tmp_path / "same", POCKET_FOLDER) is None
    file = tmp_path / "same/model.safetensors"
    weights = load_file(file)
    weights["model.norm.weight"] = weights["model.norm.weight"] * 2
    save_file(weights, file)
    assert first_change(tmp_path / "same", POCKET_FOLDER) == ("model.norm.weight", pytest.approx(1.0))
