"""Where a server of ours listens: sockets that are there for a block, all or none."""

from __future__ import annotations

from pathlib import Path

import pytest

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
