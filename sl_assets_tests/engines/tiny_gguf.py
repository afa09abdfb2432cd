"""A tiny random Llama, and a GGUF file with its weights and a vocabulary of bytes and a few merges."""

from pathlib import Path
from typing import Any

import torch
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode

END, START, PAD = "<|im_end|>", "<|im_start|>", "<|endoftext|>"
CONTROL = (PAD, START, END)
MERGES = ("o w", "ow l", "Ġ owl", "1 2")
TOKENS = (*CONTROL, *bytes_to_unicode().values(), *(merge.replace(" ", "") for merge in MERGES))
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HEADS, KEY_HEADS, BLOCKS = 4, 2, 2


def tiny_llama(hidden: int = 32) -> LlamaForCausalLM:
    """Random weights of seed 0, untied."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=BLOCKS,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
        max_position_embeddings=512,
        rms_norm_eps=2.0**-16,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        tie_word_embeddings=False,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
"""Modules of a block, as llama.cpp calls them."""


def write_gguf(
    file: Path, model: LlamaForCausalLM, kind: GGMLQuantizationType = GGMLQuantizationType.F32, **changes: Any
) -> None:
    """Write ``model`` as llama.cpp's converter does; ``changes`` replace what the file says (None: nothing).

    Matrices are of ``kind``, vectors float32. Names in ``changes`` have a double underscore for a point.
    """
    config = model.config
    writer = GGUFWriter(str(file), "llama")
    says: dict[str, Any] = {
        "llama.block_count": config.num_hidden_layers,
        "llama.context_length": config.max_position_embeddings,
        "llama.embedding_length": config.hidden_size,
        "llama.feed_forward_length": config.intermediate_size,
        "llama.attention.head_count": config.num_attention_heads,
        "llama.attention.head_count_kv": config.num_key_value_heads,
        "llama.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "llama.rope.freq_base": 5000.0,
        "llama.rope.dimension_count": config.hidden_size // HEADS,
        "llama.vocab_size": len(TOKENS),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": list(TOKENS),
        "tokenizer.ggml.token_type": [3] * len(CONTROL) + [1] * (len(TOKENS) - len(CONTROL)),
        "tokenizer.ggml.merges": list(MERGES),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.chat_template": TEMPLATE,
    }
    says |= {name.replace("__", "."): value for name, value in changes.items()}
    for name, value in says.items():
        match value:
            case None:
                continue
            case str():
                writer.add_string(name, value)
            case int():
                writer.add_uint32(name, value)
            case float():
                writer.add_float32(name, value)
            case list():
                writer.add_array(name, value)
    for name, weight in model.state_dict().items():
        made = weight
        if "q_proj" in name or "k_proj" in name:
            heads = HEADS if "q_proj" in name else KEY_HEADS
            # llama.cpp turns neighbouring pairs of a head's dimensions, transformers its two halves.
            made = weight.reshape(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
        chosen = kind if weight.dim() == 2 else GGMLQuantizationType.F32
        writer.add_tensor(_name(name), quantize(made.numpy(), chosen), raw_dtype=chosen)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _name(weight: str) -> str:
    match weight.split("."):
        case ["model", "layers", block, *module, "weight"]:
            return f"blk.{block}.{NAMES['.'.join(module)]}.weight"
    return {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }[weight]
