"""The one exception that stands for a mistake in what the user gave."""


class UserError(ValueError):
    """Wrong input: says in one line what was given, what was expected, what to do.

    The command lines print its message without a traceback and exit with
    status 1.  It is a ``ValueError``, so library users need not know it.
    """


def sanitize(text: object, most: int = 120) -> str:
    r"""A file's own words, without what might play tricks on a terminal.

    Args:
        text: What a file holds, such as a name.
        most: How many characters to keep. Defaults to 120.

    Returns:
        Printable characters of ASCII, in one line.

    Examples:
        >>> sanitize('conv.weight'), sanitize('\x1b[2Jconv\n')
        ('conv.weight', '\\x1b[2Jconv\\n')
    """
    return ascii(str(text))[1:-1][:most]
