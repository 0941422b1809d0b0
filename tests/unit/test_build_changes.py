"""`--change`: single instructions on a configuration."""

from __future__ import annotations

import pytest

from labcontainer import errors
from labcontainer.build import changes


def test_changes_are_made_in_order_on_a_copy() -> None:
    before = {"Env": ["A=1"], "Cmd": ["old"]}
    lines = ["ENV A=2 B=$A", 'ENTRYPOINT ["e"]', "expose 80", "WORKDIR /w", "WORKDIR v", "CMD x"]
    assert changes.apply(before, lines) == {
        "Env": ["A=2", "B=1"], "Entrypoint": ["e"], "ExposedPorts": {"80/tcp": {}},
        "WorkingDir": "/w/v", "Cmd": ["/bin/sh", "-c", "x"],
    }  # fmt: skip
    assert before == {"Env": ["A=1"], "Cmd": ["old"]}


@pytest.mark.parametrize(
    ("line", "said"),
    [("RUN x", "RUN is not a valid change command"), ("FROM x", "FROM is not"), ("", "no instr"),
     ("EXPOSE x", "invalid containerPort: x"), ("NOTHING x", "unknown instruction")],
)  # fmt: skip
def test_what_is_refused(line: str, said: str) -> None:
    with pytest.raises(errors.UsageError, match=said) as caught:
        changes.apply({}, [line])
    assert str(caught.value).startswith(f"invalid value {line!r} for --change: ")
