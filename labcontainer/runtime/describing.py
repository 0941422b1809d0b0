"""`spec` and `features`: a document to start from, and what this runtime can do."""

from __future__ import annotations

import os

from labcontainer.errors import ExistsError, UnsupportedError
from labcontainer.runtime import jsontext, template
from labcontainer.runtime.oci import Call


def spec_(call: Call) -> int:
    """Write a config.json into the bundle."""
    rootless = call.own.has("rootless")
    document = template.config(rootless=rootless, uid=os.geteuid(), gid=os.getegid())
    path = f"{call.own.get('bundle', '.')}/config.json"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise ExistsError(f"file {path} exists; remove it first") from None
    os.write(fd, f"{jsontext.dumps(document, indent=2)}\n".encode())
    os.close(fd)
    return 0


def features_(_call: Call) -> int:
    """Print what this runtime can do."""
    print(jsontext.dumps(template.features(), indent=2))
    return 0


def checkpoint_(call: Call) -> int:
    """Not to be had: a process's memory can't be saved without CRIU."""
    raise UnsupportedError(call.verb, "this runtime does not work with CRIU", "use runc for it")


restore_ = checkpoint_
