"""How long something takes, in words."""


def duration(seconds: float) -> str:
    """``12 s``, and from a minute on ``h:mm:ss``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def pace(each: float) -> str:
    """How fast things go that take ``each`` so many seconds: ``12/s``, ``2.5/s``, ``2.5 s each``, ``0:01:30 each``."""
    if each <= 0.1:
        return f"{1 / each:,.0f}/s"
    if each <= 1:
        return f"{1 / each:.1f}/s"
    return f"{each:.1f} s each" if each < 60 else f"{duration(each)} each"


class Remaining:
    """How fast work goes and how long the rest takes, said from its second report on.

    What an earlier run had kept, an engine's start, and compiling all come before the first one, and say nothing of the
    pace.
    """

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def __call__(self, done: int, total: int, now: float) -> str:
        """Behind "``done`` of ``total`` steps", at ``now`` in seconds; empty as long as nothing is known."""
        since, before = self._first = self._first or (now, done)
        if now - since < 1 or done <= before:
            return ""
        each = (now - since) / (done - before)
        return f", {pace(each)}, {duration((total - done) * each)} left"
