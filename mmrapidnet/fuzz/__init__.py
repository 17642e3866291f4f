"""Tools held to their promise: output, or one line of error, whatever they are given.

`samples` makes good files, `damage` spoils them, `cases` draws commands at random,
`forked` runs one, and `session` runs many and tells of those that broke the promise.
"""

from mmrapidnet.fuzz.session import run

__all__ = ['run']
