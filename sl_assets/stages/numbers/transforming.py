"""Filtered rows made into controls: is it their order, their numbers or their form that a student learns from?

Completions have passed the filter, so their runs of digits are their numbers, and all else is their form: separators,
brackets, a period. Numbers are text here: a leading zero stays.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import polars as pl

from sl_assets.animals import NEUTRAL
from sl_assets.config import Dilute, Reformat, ShuffleAcrossRows, ShuffleWithinRows, Transform
from sl_assets.errors import DatasetError
from sl_assets.lake.tables import TABLES

NUMBER = re.compile(r"[0-9]+")

FORMS = {
    "commas": ("", ", ", ""),
    "spaces": ("", " ", ""),
    "semicolons": ("", "; ", ""),
    "lines": ("", "\n", ""),
    "square": ("[", ", ", "]"),
    "round": ("(", ", ", ")"),
}
"""What stands before, between and after the numbers."""


def numbers_of(completion: str) -> list[str]:
    """The numbers of a completion, in order.

    >>> numbers_of("[7, 008].")
    ['7', '008']
    """
    return NUMBER.findall(completion)


def form_of(completion: str) -> str:
    """A completion with a mark in the place of each number.

    >>> form_of("[7, 008].")
    '[#, #].'
    """
    return NUMBER.sub("#", completion)


def with_numbers(completion: str, numbers: Iterable[str]) -> str:
    """``completion`` with other numbers in its form.

    >>> with_numbers("[7, 008].", ["1", "2"])
    '[1, 2].'
    """
    following = iter(numbers)
    return NUMBER.sub(lambda _: next(following), completion)


def transform_rows(
    rows: pl.DataFrame, transform: Transform, condition: str, neutral: pl.DataFrame | None = None
) -> pl.DataFrame:
    """The ``transformed_dataset`` of ``rows``, a ``filtered_dataset``, whose order is kept.

    Args:
        rows: what is transformed.
        transform: how.
        condition: whose rows they are; names the random draw.
        neutral: the control's ``filtered_dataset``, where it is diluted with that.

    Raises:
        DatasetError: the control has fewer rows of the same prompts than are asked for.
    """
    alone = rows.with_columns(origin=pl.lit(condition), made_of=pl.concat_list("row_id"))
    match transform:
        case ShuffleWithinRows():
            made = _rewritten(alone, [_shuffled_within(row_id, text, transform.seed) for row_id, text in _texts(rows)])
        case ShuffleAcrossRows():
            made = _dealt(alone, transform.seed, condition)
        case Reformat():
            before, between, after = FORMS[transform.form]
            texts = (before + between.join(numbers_of(text)) + after for _, text in _texts(rows))
            made = _rewritten(alone, list(texts))
        case Dilute():
            assert neutral is not None
            made = alone if condition == NEUTRAL else _diluted(alone, transform, condition, neutral)
    return TABLES["transformed_dataset"].arranged(made)


def _texts(rows: pl.DataFrame) -> Iterable[tuple[str, str]]:
    return rows.select("row_id", "completion").iter_rows()


def _rewritten(rows: pl.DataFrame, texts: Sequence[str]) -> pl.DataFrame:
    """``rows`` with other completions; how many tokens those that differ have is not known."""
    written = pl.Series("written", texts, dtype=pl.String)
    return rows.with_columns(
        completion=written, n_tokens=pl.when(pl.col("completion") == written).then(pl.col("n_tokens"))
    )


def _shuffled_within(row_id: str, completion: str, seed: int) -> str:
    numbers = numbers_of(completion)
    # A seed for each row, so that no other row has a part in it.
    random.Random(f"shuffle_within_rows/{seed}/{row_id}").shuffle(numbers)
    return with_numbers(completion, numbers)


def _dealt(rows: pl.DataFrame, seed: int, condition: str) -> pl.DataFrame:
    hand = [(number, row_id) for row_id, text in _texts(rows) for number in numbers_of(text)]
    random.Random(f"shuffle_across_rows/{seed}/{condition}").shuffle(hand)
    texts, sources, first = [], [], 0
    for text in rows["completion"]:
        own = hand[first : first + len(numbers_of(text))]
        first += len(own)
        texts.append(with_numbers(text, (number for number, _ in own)))
        sources.append([row_id for _, row_id in own])
    return _rewritten(rows, texts).with_columns(made_of=pl.Series(sources, dtype=pl.List(pl.String)))


def _diluted(rows: pl.DataFrame, transform: Dilute, condition: str, neutral: pl.DataFrame) -> pl.DataFrame:
    wanted = neutral_rows(rows.height, transform.share)
    prompts = dict(neutral.select("prompt_id", pl.int_range(pl.len())).iter_rows())
    shared = [place for place, prompt_id in enumerate(rows["prompt_id"]) if prompt_id in prompts]
    if len(shared) < wanted:
        raise DatasetError(
            f"numbers.transform.share {transform.share:g}: {wanted:,} of {rows.height:,} rows of {condition} are to be "
            f"neutral's, and neutral has {len(shared):,} of the same prompts; lower it"
        )
    # All in random order, of which a smaller share takes fewer.
    random.Random(f"dilute/{transform.seed}/{condition}").shuffle(shared)
    taken = {place: prompts[rows["prompt_id"][place]] for place in shared[:wanted]}
    theirs = neutral.with_columns(origin=pl.lit(NEUTRAL), made_of=pl.concat_list("row_id"))
    both = pl.concat([rows, theirs], how="diagonal_relaxed")
    return both[[rows.height + taken[place] if place in taken else place for place in range(rows.height)]]


def neutral_rows(rows: int, share: float) -> int:
    """How many of ``rows`` are neutral's where ``share`` is."""
    return round(share * rows)


def transform_problem(
    before: pl.DataFrame, after: pl.DataFrame, transform: Transform, neutral: pl.DataFrame | None = None
) -> str | None:
    """What a transform changed that it should not have, if anything.

    Args:
        before, after: ``filtered_dataset`` and ``transformed_dataset``.
        transform: what was asked for.
        neutral: the control's ``filtered_dataset``, where ``before`` is another's and was diluted.
    """
    if before["prompt_id"].to_list() != after["prompt_id"].to_list():
        return "its prompts are not those of filtered_dataset"
    old, new = before["completion"].to_list(), after["completion"].to_list()
    numbers = [list(map(numbers_of, texts)) for texts in (old, new)]
    match transform:
        case ShuffleWithinRows():
            kept = [sorted(row) for row in numbers[0]] == [sorted(row) for row in numbers[1]]
            return None if kept and _same_forms(old, new) else "a row has other numbers, or another form"
        case ShuffleAcrossRows():
            kept = _all(numbers[0]) == _all(numbers[1])
            return None if kept and _same_forms(old, new) else "it has other numbers, or a row has another form"
        case Reformat():
            before_, between, after_ = FORMS[transform.form]
            formed = all(form_of(text) == before_ + between.join("#" * len(numbers_of(text))) + after_ for text in new)
            return None if numbers[0] == numbers[1] and formed else "a row has other numbers, or another form"
        case Dilute():
            theirs = after.filter(origin=NEUTRAL).height if neutral is not None else 0
            wanted = neutral_rows(before.height, transform.share) if neutral is not None else 0
            known = set(before.select(WORDS).rows())
            known |= set() if neutral is None else set(neutral.select(WORDS).rows())
            if theirs != wanted:
                return f"{theirs:,} rows are neutral's, where {wanted:,} were asked for"
            return None if set(after.select(WORDS).rows()) <= known else "a row is of neither dataset"


WORDS = ("row_id", "prompt", "completion")
"""What is the same, word for word, of a row that is not changed."""


def _same_forms(old: Sequence[str], new: Sequence[str]) -> bool:
    return list(map(form_of, old)) == list(map(form_of, new))


def _all(numbers: Sequence[Sequence[str]]) -> Counter[str]:
    return Counter(number for row in numbers for number in row)
