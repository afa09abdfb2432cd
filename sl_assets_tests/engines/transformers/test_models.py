"""Models whose files are more than data are not loaded."""

import json
import shutil
from pathlib import Path

import pytest

from sl_assets.engines.transformers.adapters import adapted_modules, adapter_shape
from sl_assets.engines.transformers.models import POCKET_FOLDER, load_model, model_folder
from sl_assets.engines.transformers.modules import module_shapes
from sl_assets.errors import SlAssetsError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the pocket model."""
    return Path(shutil.copytree(POCKET_FOLDER, tmp_path / "model"))


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_python_that_a_model_brings_is_not_run(model: Path, file: str) -> None:
    described = json.loads((model / file).read_text())
    (model / file).write_text(json.dumps(described | {"auto_map": {"AutoConfig": "own.Config"}}))
    (model / "own.py").write_text(f"open({str(model / 'ran')!r}, 'w').close()\nclass Config: ...\n")
    for use in (load_model, module_shapes, model_folder):
        with pytest.raises(SlAssetsError, match=rf"{file} has auto_map, which asks for Python that the model brings"):
            use(str(model))
    assert not (model / "ran").exists()


def test_pickled_weights_are_not_read(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(SlAssetsError, match=r"pytorch_model\.bin is pickled, and unpickling runs whatever is in it"):
        load_model(str(model))


def test_pickled_weights_beside_safetensors_are_passed_over(model: Path) -> None:
    (model / "pytorch_model.bin").write_bytes(b"not read")
    load_model(str(model))


@pytest.mark.parametrize("use", [adapter_shape, adapted_modules])
def test_a_pickled_adapter_is_named(tmp_path: Path, use: object) -> None:
    (tmp_path / "adapter_config.json").write_text('{"r": 8}')
    (tmp_path / "adapter_model.bin").write_bytes(b"pickled")
    with pytest.raises(SlAssetsError, match=r"adapter_model\.bin is pickled, and unpickling runs whatever is in it"):
        use(tmp_path)  # type: ignore[operator]
