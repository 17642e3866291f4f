"""The one exception that stands for a mistake in what the user gave."""


class UserError(ValueError):
    """Wrong input: says in one line what was given, what was expected, what to do.

    The command lines print its message without a traceback and exit with
    status 1.  It is a ``ValueError``, so library users need not know it.
    """
