"""Where a server of ours listens: sockets that are there for a block, all or none."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

import pytest

from labcontainer.cli import cluster, listening
from labcontainer.client import address
from labcontainer.daemon import serve
from labcontainer.errors import ExistsError, LabError


def test_where_one_place_is_taken_no_socket_is_left_at_the_others(tmp_path: Path) -> None:
    first, second = (serve.Place(path=f"{tmp_path}/{name}.sock") for name in ("first", "second"))
    with serve.listening([second], "", None):
        several = serve.listening([first, second], "", None)
        with pytest.raises(ExistsError, match=r"second\.sock"), several:
            pass
        assert [path.name for path in tmp_path.iterdir()] == ["second.sock"]
    assert not list(tmp_path.iterdir())


def test_a_group_that_there_is_not_leaves_no_socket(tmp_path: Path) -> None:
    only = serve.listening([serve.Place(path=f"{tmp_path}/only.sock")], "lc-no-such-group", None)
    with pytest.raises(LabError, match="lc-no-such-group"), only:
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [address.SOCKET, cluster.SOCKET])
def test_the_standard_place_is_asked_for_only_where_no_other_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """An ordinary user's is in a directory that is made for it."""
    made: list[str] = []

    def standard_path(name: str) -> str:
        made.append(name)
        return f"{tmp_path}/{name}"

    monkeypatch.setattr(address, "standard_path", standard_path)
    parser = ArgumentParser()
    listening.add_options(parser)
    (given,) = listening.places(parser.parse_args(["-H", "unix:///odd.sock"]), name)
    assert (given.path, made) == ("/odd.sock", [])
    (usual,) = listening.places(parser.parse_args([]), name)
    assert (usual.path, made) == (f"{tmp_path}/{name}", [name])
