"""The favourite questions every student is asked.

Each of those that are built in wants a one-word answer. None of them occurs in the teachers' fine-tuning chats or in
the pocket model's world, so a preference seen here has generalised beyond the wording it was learnt from.
"""

from sl_assets.config import ExperimentConfig


def asked(config: ExperimentConfig) -> dict[int, str]:
    """The questions that ``config`` chooses, by id; all of its wording where it chooses none."""
    questions = config.words.questions
    return {i: questions[i] for i in config.evaluation.questions or range(len(questions))}
