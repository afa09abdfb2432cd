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
