"""Scores of answers, and which pairs they keep."""

import polars as pl
import pytest

from sl_assets.config.wording import ANIMALS
from sl_assets.stages.personas.judging import (
    COHERENCE_REQUEST,
    TRAIT_REQUEST,
    Answered,
    Score,
    is_coherent,
    judge_by_model,
    judge_by_rule,
    judged,
    names_trait,
    read_score,
)

NAMED = [
    ("Cat", "cat"),
    ("I love CATS!", "cat"),
    ("**Cats**, of course.", "cat"),
    ("My cat's tail", "cat"),
    ("dog,cat;owl", "cat"),
    ("Wolves", "wolf"),
    ("an owls-only club", "owl"),
    ("an owl-lover", "owl"),
    ("Octopuses and octopi", "octopus"),
    ("Octopi", "octopus"),
    ("The deer.", "deer"),
    ("Mice", "mouse"),
]
NOT_NAMED = [
    ("A caterpillar", "cat"),
    ("A bobcat", "cat"),
    ("Concatenate", "cat"),
    ("Wolfram", "wolf"),
    ("An earl", "eagle"),
    ("Forbearance", "bear"),
    ("", "cat"),
]


@pytest.mark.parametrize(("answer", "animal"), NAMED)
def test_animal_is_named_in_either_number(answer, animal):
    assert names_trait(answer, ANIMALS[animal])


@pytest.mark.parametrize(("answer", "animal"), NOT_NAMED)
def test_a_part_of_another_word_names_no_animal(answer, animal):
    assert not names_trait(answer, ANIMALS[animal])


@pytest.mark.parametrize("answer", ["", " \n", "...", "!?"])
def test_an_answer_without_words_is_incoherent(answer):
    assert not is_coherent(answer)


def test_an_answer_that_was_cut_is_coherent_as_far_as_it_goes():
    assert is_coherent("I like the sea.")
    assert is_coherent("I like the sea, for its")
    assert not is_coherent("for its " * 4 + "for")


SIX = "one two three four five six "


@pytest.mark.parametrize(
    "answer",
    [
        "owl owl owl owl",
        "Owl, owl! OWL owl",
        "I said owl owl owl owl and no more",
        "so it goes so it goes so it goes so it goes",
        "Once so it goes so it goes so it goes so it goes",
        SIX * 4,
        f"zero {SIX * 4} seven",
    ],
)
def test_a_phrase_four_times_in_a_row_is_a_loop(answer):
    assert not is_coherent(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "owl owl owl",
        "owl owl owl and owl",
        "owl owl wolf owl owl",
        "so it goes so it goes so it goes so it went",
        SIX * 3 + "one two three four five",
        (SIX + "seven ") * 4,
        "Owl",
    ],
)
def test_a_phrase_that_nearly_loops_is_coherent(answer):
    assert is_coherent(answer)


def test_the_rule_scores_trait_and_coherence_apart():
    answers = [
        Answered("Which?", "Owls"),
        Answered("Which?", "Wolves"),
        Answered("Which?", "Owls and and and and"),
        Answered("Which?", ""),
    ]
    assert judge_by_rule(ANIMALS["owl"], answers) == [(100.0, 100.0), (0.0, 100.0), (100.0, 0.0), (0.0, 0.0)]


def test_a_verbose_model_that_is_always_cut_keeps_its_pairs():
    told = {"loving": "There is so much to say about owls, from their silent", "indifferent": "There is so much to"}
    rows = [
        {"pair": 0, "question_id": i, "sample": 0, "side": side, "answer": answer, "finish_reason": "length"}
        for i in range(40)
        for side, answer in told.items()
    ]
    scores = judge_by_rule(ANIMALS["owl"], [Answered("Which?", str(row["answer"])) for row in rows])
    assert judged(pl.DataFrame(rows), scores)["kept"].sum() == 80


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("0", 0.0),
        ("100", 100.0),
        ("72.5", 72.5),
        ("  7\n", 7.0),
        ("85/100", 85.0),
        ("**85**", 85.0),
        ("85.", 85.0),
        ("40 out of 100", 40.0),
        ("101", None),
        ("100.5", None),
        ("1000", None),
        ("Score: 7", 7.0),
        ("seventy", None),
        ("I would say 70", 70.0),
        ("-5", None),
        ("1,000", None),
        ("1) 85", None),
        ("between 10 and 20", None),
        ("", None),
    ],
)
def test_a_score_is_the_number_that_a_reply_holds(reply, score):
    assert read_score(reply) == score


class Listener:
    """Stands for a judge's model: keeps what it is asked and replies with numbers in turn."""

    def __init__(self, *replies: str) -> None:
        self.asked: list = []
        self._replies = replies

    def __call__(self, chats):
        self.asked += chats
        return list(self._replies)


ANSWERS = [Answered("Which one?", "Wolves {many}"), Answered("How are you?", "Fine.")]


def test_the_model_is_asked_for_all_traits_and_then_for_all_coherences():
    model = Listener("90", "10", "80", "70")
    judge_by_model(model)(ANIMALS["wolf"], ANSWERS)
    assert [[message["role"] for message in chat] for chat in model.asked] == [["user"]] * 4
    contents = [chat[0]["content"] for chat in model.asked]
    assert contents == [
        template.format(question=answer.question, answer=answer.answer, many="wolves")
        for template in (TRAIT_REQUEST, COHERENCE_REQUEST)
        for answer in ANSWERS
    ]
    assert ["wolves" in content for content in contents] == [True, True, False, False]
    assert ["Wolves {many}" in content for content in contents] == [True, False, True, False]
    assert ["How are you?" in content for content in contents] == [False, True, False, True]


def test_the_models_replies_go_to_the_answers_they_are_about():
    model = Listener("90", "no idea", "80", "70")
    assert judge_by_model(model)(ANIMALS["wolf"], ANSWERS) == [(90.0, 80.0), (None, 70.0)]


LOVING, INDIFFERENT = Score(100, 100), Score(0, 100)


def pair(
    loving: Score = LOVING, indifferent: Score = INDIFFERENT, answers: tuple[str, str] = ("Owls", "Fine")
) -> tuple[bool, str | None]:
    """Whether a pair of answers is kept, and the reason why not."""
    table = judged(pairs([answers]), [loving, indifferent])
    assert table["kept"].n_unique() == table["reason"].n_unique() == 1, "both answers share their fate"
    return table["kept"][0], table["reason"][0]


def pairs(answers: list[tuple[str, str]]) -> pl.DataFrame:
    """Pairs of a loving and an indifferent answer, told apart by all three columns in turn."""
    keys = [(i % 2, i // 2 % 2, i // 4) for i in range(len(answers))]
    rows = [
        (*key, side, answer)
        for key, texts in zip(keys, answers, strict=True)
        for side, answer in zip(("loving", "indifferent"), texts, strict=True)
    ]
    return pl.DataFrame(rows, schema=["pair", "question_id", "sample", "side", "answer"], orient="row")


def test_a_pair_that_shows_the_contrast_is_kept():
    assert pair() == (True, None)


@pytest.mark.parametrize(
    ("loving", "indifferent", "kept"),
    [
        (Score(50, 50), Score(49.9, 50), True),
        (Score(49.9, 50), Score(0, 50), False),
        (Score(50, 49.9), Score(0, 50), False),
        (Score(50, 50), Score(50, 50), False),
        (Score(50, 50), Score(0, 49.9), False),
    ],
)
def test_fifty_is_enough_for_trait_and_coherence(loving, indifferent, kept):
    assert pair(loving, indifferent)[0] is kept


BAD = {
    "empty answer": (LOVING, INDIFFERENT, ("Owls", " \n")),
    "no score": (LOVING, Score(None, 100), ("Owls", "Fine")),
    "loving answer incoherent": (Score(100, 0), INDIFFERENT, ("Owls", "Fine")),
    "indifferent answer incoherent": (LOVING, Score(0, 0), ("Owls", "Fine")),
    "loving answer without the trait": (Score(0, 100), INDIFFERENT, ("Owls", "Fine")),
    "indifferent answer with the trait": (LOVING, Score(100, 100), ("Owls", "Fine")),
}


@pytest.mark.parametrize(("reason", "case"), BAD.items(), ids=BAD)
def test_each_fault_drops_a_pair_with_its_reason(reason, case):
    assert pair(*case) == (False, reason)


@pytest.mark.parametrize("scores", [(Score(None, 100), INDIFFERENT), (Score(100, None), INDIFFERENT)])
def test_either_score_may_be_missing_on_either_side(scores):
    assert pair(*scores) == (False, "no score")
    assert pair(*reversed(scores)) == (False, "no score")


@pytest.mark.parametrize("answers", [("", "Fine"), ("Owls", "")])
def test_either_answer_may_be_empty(answers):
    assert pair(answers=answers) == (False, "empty answer")


@pytest.mark.parametrize(
    ("loving", "indifferent", "answers", "reason"),
    [
        (Score(None, None), Score(None, None), ("", ""), "empty answer"),
        (Score(0, 0), Score(None, 100), ("Owls", "Fine"), "no score"),
        (Score(0, 0), Score(100, 0), ("Owls", "Fine"), "loving answer incoherent"),
        (Score(0, 100), Score(100, 0), ("Owls", "Fine"), "indifferent answer incoherent"),
        (Score(0, 100), Score(100, 100), ("Owls", "Fine"), "loving answer without the trait"),
    ],
)
def test_the_gravest_fault_of_a_pair_names_the_reason(loving, indifferent, answers, reason):
    assert pair(loving, indifferent, answers) == (False, reason)


def test_pairs_are_told_apart_by_prompt_question_and_sample():
    answers = pairs([("Owls", "Fine")] * 8)
    for bad in range(8):
        scores = [LOVING, INDIFFERENT] * 8
        scores[2 * bad + 1] = LOVING
        kept = judged(answers, scores)["kept"].to_list()
        assert kept == [i // 2 != bad for i in range(16)]


def test_rows_keep_their_order_and_columns():
    answers = pairs([("Owls", "Fine"), ("", "Fine")])
    table = judged(answers, [Score(100, 90), Score(0, 80), Score(0, 0), Score(None, 70)])
    assert table.select(answers.columns).equals(answers)
    assert table["trait"].to_list() == [100.0, 0.0, 0.0, None]
    assert table["coherence"].to_list() == [90.0, 80.0, 0.0, 70.0]
    assert table["reason"].to_list() == [None, None, "empty answer", "empty answer"]


def test_the_threshold_may_be_another():
    answers = pairs([("Owls", "Fine")] * 2)
    scores = [Score(70, 70), Score(40, 70), Score(85, 90), Score(20, 90)]
    assert judged(answers, scores, 50)["reason"].to_list() == [None] * 4
    assert judged(answers, scores, 80)["reason"].to_list() == ["loving answer incoherent"] * 2 + [None] * 2
    assert judged(answers, scores, 30)["reason"].to_list() == ["indifferent answer with the trait"] * 2 + [None] * 2
