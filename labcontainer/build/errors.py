"""What is wrong with a Dockerfile, and where."""

from __future__ import annotations

from labcontainer import errors


class DockerfileError(errors.LabError):
    """One line of a Dockerfile is off: `line` is its number from 1, `text` what it says."""

    def __init__(self, problem: str, line: int = 0, text: str = "", name: str = "Dockerfile"):
        self.problem = problem
        self.line = line
        self.text = text
        self.name = name
        super().__init__()

    def __str__(self) -> str:
        if not self.line:
            return f"{self.name}: {self.problem}"
        return f"{self.name}:{self.line}: {self.problem}: {_short(self.text)}"


class RunError(errors.LabError):
    """A RUN ended badly; `status` is its own. The words are those of docker build."""

    def __init__(self, words: str, status: int) -> None:
        super().__init__(f"The command '{words}' returned a non-zero code: {status}")
        self.status = status


def _short(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= 100 else f"{line[:99]}…")[1:-1]
