"""Before a process enters a user namespace: the kernel wants it to be of one thread."""

from __future__ import annotations

import os

import pytest

from labcontainer.image import inside


def test_a_thread_that_gets_no_processor_to_end_on_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = iter([["1", "2"]] * 300)
    with monkeypatch.context() as patched:
        patched.setattr(os, "listdir", lambda _path: next(looks, ["1"]))
        inside._wait_for_threads()
    assert next(looks, None) is None, "it went on while there were two"
