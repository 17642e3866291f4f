"""The one exception that stands for a mistake in what the user gave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Wrong input: says in one line what was given, what was expected, what to do.

    The command lines print its message without a traceback and exit with
    status 1.  It is a ``ValueError``, so library users need not know it.
    """


def name_error(error: Exception) -> str:
    """Say what kind of error it is, and the first line of its message.

    Args:
        error: The error.

    Returns:
        One line.

    Examples:
        >>> name_error(KeyError('neck'))
        "KeyError: 'neck'"
    """
    text = next(filter(None, map(str.strip, str(error).splitlines())), '')
    return f'{type(error).__name__}: {text}'


@contextmanager
def in_one_line(
    what: str,
    describe: Callable[[Exception], str] = name_error,
    leave: tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """Say in one line what a model, a runtime or a converter does not do.

    Args:
        what: What went wrong if anything does, such as 'x.onnx cannot be run'.
        describe: What to say of the error. Defaults to `name_error`.
        leave: Errors that stay as they are. Defaults to none.

    Raises:
        UserError: Instead of whatever is raised, of several types that only native
            code has.
    """
    try:
        yield
    except (UserError, *leave):
        raise
    except Exception as error:
        raise UserError(f'{what}: {describe(error)}') from error


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
