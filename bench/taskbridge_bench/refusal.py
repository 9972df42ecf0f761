"""What the command says when it will not, or cannot, do what it was asked."""


class Refusal(Exception):  # noqa: N818 - a noun, as all exceptions here
    """What was asked for cannot be done, or must not; the message says what to do."""
