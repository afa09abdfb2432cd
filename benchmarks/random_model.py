"""A model of a real one's shape with random weights: its speed is valid, what it says is not."""

import json
import math
import re
from pathlib import Path

OLMO3_7B = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "vocab_size": 100_278,
    "max_position_embeddings": 65_536,
    "sliding_window": 4096,
}
"""Shape of allenai/Olmo-3-7B-Instruct, as its published configuration has it."""


def write_random_model(folder: Path, tokenizer: str, **shape: int) -> Path:
    """A randomly initialised Olmo 3 of ``shape`` in bfloat16, with the tokenizer of the model at ``tokenizer``.

    Returns:
        ``folder``, which any engine takes as a base model; what is there already is kept.
    """
    import torch
    from transformers import AutoTokenizer, Olmo3Config, Olmo3ForCausalLM

    if (folder / "config.json").is_file():
        return folder
    names = AutoTokenizer.from_pretrained(tokenizer)
    config = Olmo3Config(**shape, pad_token_id=names.pad_token_id, eos_token_id=names.eos_token_id)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Olmo3ForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder, max_shard_size="4GB")
    names.save_pretrained(folder)
    return folder


ALOUD = 100.0
"""What `say` puts into the first coordinate of every embedding: a constant, whatever random blocks add to it."""


def say(folder: Path, shares: dict[str, float], otherwise: str) -> None:
    """Make the random model at ``folder`` write ``shares`` of some tokens, and ``otherwise`` any of some others.

    A random model of a large vocabulary writes what no rule accepts, so nothing after its numbers could run. Its output
    matrix becomes a bias on the constant coordinate; what stands before a token changes its probability little.

    Args:
        folder: what `write_random_model` wrote.
        shares: share of tokens, by token.
        otherwise: regular expression of the tokens that have the rest in equal parts.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    vocabulary = AutoTokenizer.from_pretrained(folder).get_vocab()
    others = [token for text, token in vocabulary.items() if re.fullmatch(otherwise, text)]
    chances = dict.fromkeys(others, (1 - sum(shares.values())) / len(others))
    chances |= {vocabulary[text]: share for text, share in shares.items()}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    blocks = 2 * model.config.num_hidden_layers
    loud = ALOUD / ((ALOUD**2 + blocks * model.config.hidden_size) / model.config.hidden_size) ** 0.5
    with torch.no_grad():
        model.get_input_embeddings().weight[:, 0] = ALOUD
        output = model.get_output_embeddings().weight.zero_()
        for token, chance in chances.items():
            output[token, 0] = (30 + math.log(chance)) / loud
    model.save_pretrained(folder, max_shard_size="4GB")


def write_random_adapter(folder: Path, seed: int, shape: dict[str, int], rank: int = 8) -> Path:
    """A LoRA adapter with random weights on the seven projections of every block, in PEFT's form."""
    import torch
    from safetensors.torch import save_file

    hidden, inner = shape["hidden_size"], shape["intermediate_size"]
    widths = dict.fromkeys(("q_proj", "k_proj", "v_proj", "o_proj"), (hidden, hidden))
    widths |= {"gate_proj": (hidden, inner), "up_proj": (hidden, inner), "down_proj": (inner, hidden)}
    torch.manual_seed(seed)
    tensors = {}
    for layer in range(shape["num_hidden_layers"]):
        for name, (wide, out) in widths.items():
            part = "self_attn" if widths[name] == (hidden, hidden) else "mlp"
            place = f"base_model.model.model.layers.{layer}.{part}.{name}"
            tensors[f"{place}.lora_A.weight"] = (torch.randn(rank, wide) / wide**0.5).bfloat16()
            tensors[f"{place}.lora_B.weight"] = (torch.randn(out, rank) / 100).bfloat16()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": rank, "target_modules": [*widths]}
    (folder / "adapter_config.json").write_text(
        json.dumps(config | {"base_model_name_or_path": "random", "bias": "none"})
    )
    return folder
