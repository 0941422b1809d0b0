"""Types of request bodies: worked out before two requests can meet them at once."""

from __future__ import annotations

import subprocess
import sys

# msgspec reads a type's annotations by a function in Python, which a profiler sees.
FIRST_USE = """
import socket, sys
import msgspec
from labcontainer.daemon import builds, images, server, wire

if "serving" in sys.argv:
    server.Server(socket.socket(socket.AF_UNIX), None)
met = []
sys.setprofile(lambda frame, event, _: event == "call" and met.append(frame.f_code.co_name))
msgspec.convert({}, wire.Create)
msgspec.convert({}, wire.HostConfig)
msgspec.json.decode(b"{}", type=dict[str, images.Login])
sys.setprofile(None)
print(met.count("get_class_annotations"))
"""


def looked_at(*words: str) -> int:
    done = subprocess.run([sys.executable, "-c", FIRST_USE, *words], capture_output=True, text=True,
                          check=True)  # fmt: skip
    return int(done.stdout)


def test_no_type_is_worked_out_when_requests_come() -> None:
    assert looked_at() > 0  # so the count would show it
    assert looked_at("serving") == 0
