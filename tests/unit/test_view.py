"""The files of a container: never those of whoever has its process number next."""

from __future__ import annotations

import os

import pytest

from labcontainer import errors
from labcontainer.engine import view


@pytest.mark.parametrize("alone", [True, False])
def test_the_number_of_a_process_of_the_host_is_not_the_containers(alone: bool) -> None:
    """Else `docker cp` would write into the host's root."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(errors.StateError, match="ended"):
        view._running(os.getpid(), alone)
    assert len(os.listdir("/proc/self/fd")) == before
