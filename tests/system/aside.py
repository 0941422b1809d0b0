"""Runs a function in a child that may end in any way, and tells how it did.

end = aside.run(function)      end.value, end.error (errno), end.signal
"""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class End:
    """How the child ended: with a value, with an OSError's number, or by a signal."""

    value: Any = None
    error: int = 0
    signal: int = 0


def run(function: Callable[..., Any], *args: Any) -> End:
    """Run `function(*args)` in a child. The child needs no call but write(2) and exit_group(2).

    Raises:
        AssertionError: the child failed otherwise than by an OSError; with its traceback.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        try:
            answer = pickle.dumps((function(*args), 0, ""))
        except OSError as error:
            answer = pickle.dumps((None, error.errno, ""))
        except BaseException:
            answer = pickle.dumps((None, 0, traceback.format_exc()))
        os.write(write, answer)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        data = file.read()
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return End(signal=signal.Signals(os.WTERMSIG(status)))
    value, number, trace = pickle.loads(data)
    assert not trace, trace
    return End(value, number)
