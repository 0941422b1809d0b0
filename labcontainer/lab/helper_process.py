"""The helper process of a notebook: one thread, its own namespaces, one job at a time.

Started by `lab.helper` as `python -m labcontainer.lab.helper_process SOCKET PARENT`; `-` stands for
standard input and output. Requests and replies are JSON lines there; its end is the helper's end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import PR
from labcontainer.lab import child, sandbox


class Helper:
    """Serves one notebook kernel."""

    def __init__(self, requests: int, replies: int, mode: str) -> None:
        self.requests = requests
        self.replies = replies
        self.mode = mode
        self.kept: dict[int, child.Running] = {}

    def serve(self) -> None:
        """Answer requests until the kernel closes the socket."""
        for line in open(self.requests, "rb", closefd=False):
            self._reap()
            data = json.dumps(self._answer(json.loads(line)), default=repr).encode() + b"\n"
            while data:
                data = data[os.write(self.replies, data) :]

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        verb = request.pop("verb")
        try:
            return dict(getattr(self, f"_{verb}")(**request))
        except OSError as error:
            return {"error": f"{type(error).__name__}: {error}", "errno": error.errno or 0}

    def _hello(self) -> dict[str, Any]:
        return {"value": self.mode}

    def _run(self, job: dict[str, Any], timeout: float) -> dict[str, Any]:
        running = child.start(child.as_job(job))
        result = running.wait(timeout, also=self.requests)
        running.close()
        return result.as_dict()

    def _spawn(self, job: dict[str, Any], timeout: float) -> dict[str, Any]:
        running = child.start(child.as_job(job))
        running.wait_started(timeout)
        if not running.pid:
            return running.wait(timeout).as_dict()
        self.kept[running.pid] = running
        return {"value": running.pid}

    def _finish(self, pid: int, timeout: float) -> dict[str, Any]:
        """Wait for a spawned child's end; with timeout 0 kill it."""
        running = self.kept.pop(pid, None)
        if running is None:
            return child.Result(error=f"no spawned process {pid}").as_dict()
        result = running.wait(timeout) if timeout else running.end(grace=0)
        running.close()
        return result.as_dict()

    def _reap(self) -> None:
        """Collect orphans: as PID 1 this process inherits them. Our own children are waited for."""
        if os.getpid() != 1:
            return
        ours = {running.first for running in self.kept.values()}
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None or found.si_pid in ours:
                return
            os.waitpid(found.si_pid, 0)


def main() -> None:
    """Enter the sandbox and serve."""
    requests, replies = _line(sys.argv[1])
    mode = sandbox.enter(int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    syscalls.prctl(PR.SET_CHILD_SUBREAPER, 1)
    Helper(requests, replies, mode).serve()


def _line(word: str) -> tuple[int, int]:
    """Descriptors to read from and to write to. Of standard input and output copies: what a lesson
    prints by mistake must not be taken for a reply."""
    if word != "-":
        return int(word), int(word)
    pair = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return pair


if __name__ == "__main__":
    main()
