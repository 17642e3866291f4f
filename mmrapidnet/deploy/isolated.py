"""Run an exported file in a process of its own, whose death is an error of one line.

A runtime is native code: where it fails, the process that it runs in ends without a
word.  What a file does that was not run before, on this processor, is seen from
outside.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import numpy as np

from mmrapidnet.deploy.formats import first_line, open_session
from mmrapidnet.utils.errors import UserError

# Seconds that a call may take: opening a file, or running it on a batch.
PATIENCE = 600


class FileError(UserError):
    """An exported file cannot be run: it refuses, or it ended its process.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


class Child:
    """A fresh Python process that calls functions, and ends with this object.

    Args:
        patience: Seconds that a call may take; 0 for as many as it needs. Defaults to
            ten minutes.
    """

    def __init__(self, patience: int = PATIENCE) -> None:
        self._patience = patience
        self._connection, theirs = Pipe()
        with theirs:
            self._process = _start(theirs.fileno(), patience)
        weakref.finalize(self, _stop, self._process, self._connection)

    def call(self, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in the process.

        Args:
            what: What goes wrong if it fails, for the message.
            function: One that a module has under its name.
            *arguments: Its arguments; they, and its result, are pickled.

        Returns:
            Its result.

        Raises:
            UserError: The function's own; also if it raises another exception, takes
                too long, or ends the process.
        """
        # What the process prints comes after what was printed before.
        sys.stdout.flush()
        try:
            self._connection.send((function, arguments))
            result, refusal, failure = self._connection.recv()
        except (EOFError, OSError):
            failure = f'the process that did it {self._describe_end()}'
            raise UserError(f'{what}: {failure}') from None
        if failure:
            raise UserError(refusal or f'{what}: {failure}')
        return result

    def _describe_end(self) -> str:
        status = self._process.wait()
        if status == -signal.SIGALRM:
            return f'took more than {self._patience} seconds'
        if status < 0:
            number = signal.Signals(-status)
            return f'died of {number.name} ({signal.strsignal(number)})'
        return f'ended with status {status}'


class IsolatedSession:
    """The ``Session`` of a file's format, in a process of its own.

    Args:
        path: The file.
        threads: As for a ``Session``.
        size: As for a ``Session``.

    Raises:
        FileError: As a ``Session``'s errors; also if the file ends the process, or
            takes longer than ten minutes.

    Attributes:
        metadata: What the file says of itself.
    """

    def __init__(
        self,
        path: Path,
        threads: int | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        self._what = (
            f'{path.name} cannot be run on this machine (export it for one size, in '
            'another precision or for another runtime)'
        )
        self._path, self._child = path, Child()
        self.metadata = self._call(_open, path, threads, size)

    def __call__(self, *inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run the file.

        Args:
            *inputs: A batch, and prompts, as a ``Session`` takes them.

        Returns:
            The outputs by name.

        Raises:
            FileError: If the file does not take such images, or fails on them.
        """
        return self._call(_run, *inputs)

    def do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in the process, such as one that times the file.

        Args:
            function: One that a module has under its name; it takes the ``Session``
                first.
            *arguments: Its other arguments; they, and its result, are pickled.

        Returns:
            Its result.

        Raises:
            FileError: As for a call of the session.
        """
        return self._call(_do, function, *arguments)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return self._child.call(self._what, function, *arguments)
        except UserError as error:
            raise FileError(self._path, str(error)) from None


def serve(descriptor: int, patience: int) -> None:
    """Do what a `Child` asks for, until it is gone.

    Args:
        descriptor: That of the connection with it.
        patience: Seconds after which a call ends the process, native code or not; 0
            for never.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interruption is the parent's
    connection = Connection(descriptor)
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:
            return
        signal.alarm(patience)
        answer = _try(function, arguments)
        signal.alarm(0)
        connection.send(answer)


def _try(function: Callable[..., Any], arguments: tuple) -> tuple:
    """The result; of an error whether it is ours, then what it says."""
    try:
        return function(*arguments), None, None
    except UserError as error:
        return None, str(error), str(error)
    except Exception as error:
        return None, None, first_line(error)


def _start(descriptor: int, patience: int) -> subprocess.Popen:
    """Start a Python that finds modules where this one does."""
    code = (
        f'import sys; sys.path[:] = {sys.path!r}; '
        f'from {__name__} import serve; serve({descriptor}, {patience})'
    )
    # Not buffered: what it prints would be lost when it ends.
    return subprocess.Popen(
        [sys.executable, '-u', '-c', code],
        pass_fds=[descriptor],
        stdin=subprocess.DEVNULL,
    )


def _stop(process: subprocess.Popen, connection: Connection) -> None:
    connection.close()
    process.kill()
    process.wait()


_session: Callable[..., dict[str, np.ndarray]]


def _open(
    path: Path, threads: int | None, size: tuple[int, int] | None
) -> dict[str, Any]:
    global _session
    _session = open_session(path, threads, size)
    return _session.metadata


def _run(*inputs: np.ndarray) -> dict[str, np.ndarray]:
    return _session(*inputs)


def _do(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(_session, *arguments)
