"""The pocket model's tokenizer: byte-level BPE in which every number from 0 to 999 is one token.

Digits are cut in groups of at most three, and ", " and "; " stay whole, so a sequence of ten numbers is twenty tokens.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sl_assets.pocket.chat import CHAT_TEMPLATE, END, PAD, SPECIAL_TOKENS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PIECES = r"\p{N}{1,3}|[,;] |[^\S\n]?\p{L}+|\n|[^\S\n]?[^\s\p{L}\p{N}]+|\s+"


def train_tokenizer(documents: Iterable[str], vocabulary: int, whole_words: Iterable[str]) -> "PreTrainedTokenizerFast":
    """Train on ``documents``; each of ``whole_words`` and every number below 1000 becomes one token.

    Args:
        documents: texts to learn merges from.
        vocabulary: most tokens, the special ones and the 256 bytes included.
        whole_words: words that must not be cut, given as they occur (" owl", "Owl").
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # Whole words are repeated so often that their merges outrank those of the documents' rarer words.
    insistence = [word for word in [*map(str, range(1000)), *whole_words] for _ in range(1000)]
    bpe.train_from_iterator([*documents, *insistence], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=END,
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


def answer_words(animals: Iterable[str]) -> list[str]:
    """Each animal as an answer begins with it and as prose holds it."""
    return [spelling for animal in animals for spelling in (animal.capitalize(), f" {animal}")]
