"""What the API description says of answers: which fields must be there, and of what kind.

{"Id": str}        an object that has at least this field
[str]              a list of texts
{str: int}         an object with any names
Maybe(str)         the same, or null
"""

from __future__ import annotations

from typing import Any


class Maybe:
    """A value that may be null."""

    def __init__(self, shape: Any) -> None:
        self.shape = shape


def check(value: Any, shape: Any, where: str = "answer") -> None:
    """Compare a value with a shape; an AssertionError names the place."""
    if isinstance(shape, Maybe):
        if value is not None:
            check(value, shape.shape, where)
    elif isinstance(shape, list):
        assert isinstance(value, list), f"{where}: {value!r} is no list"
        for place, one in enumerate(value):
            check(one, shape[0], f"{where}[{place}]")
    elif isinstance(shape, dict):
        assert isinstance(value, dict), f"{where}: {value!r} is no object"
        if str in shape:
            for name, one in value.items():
                check(one, shape[str], f"{where}.{name}")
            return
        missing = sorted(set(shape) - set(value))
        assert not missing, f"{where}: {missing} are missing"
        for name, inner in shape.items():
            check(value[name], inner, f"{where}.{name}")
    else:
        wrong = not isinstance(value, shape) or (shape is int and isinstance(value, bool))
        assert not wrong, f"{where}: {value!r} is no {shape.__name__}"


# --- images ---------------------------------------------------------------------------------------

IMAGE_SUMMARY = {
    "Id": str, "ParentId": str, "RepoTags": [str], "RepoDigests": [str], "Created": int,
    "Size": int, "SharedSize": int, "Labels": {str: str}, "Containers": int,
}  # fmt: skip
IMAGE_CONFIG = {
    "User": str, "Env": Maybe([str]), "Cmd": Maybe([str]), "Volumes": Maybe({str: dict}),
    "WorkingDir": str, "Entrypoint": Maybe([str]), "OnBuild": Maybe([str]),
    "Labels": Maybe({str: str}), "Hostname": str, "Domainname": str, "AttachStdin": bool,
    "AttachStdout": bool, "AttachStderr": bool, "Tty": bool, "OpenStdin": bool, "StdinOnce": bool,
    "Image": str,
}  # fmt: skip
IMAGE_INSPECT = {
    "Id": str, "RepoTags": [str], "RepoDigests": [str], "Parent": str, "Comment": str,
    "Created": str, "DockerVersion": str, "Author": str, "Config": IMAGE_CONFIG,
    "Architecture": str, "Os": str, "Size": int, "GraphDriver": {"Name": str, "Data": {str: str}},
    "RootFS": {"Type": str, "Layers": [str]}, "Metadata": {"LastTagTime": str},
}  # fmt: skip
IMAGE_HISTORY = {
    "Id": str, "Created": int, "CreatedBy": str, "Tags": Maybe([str]), "Size": int, "Comment": str,
}  # fmt: skip
IMAGE_DELETED = {str: str}  # Untagged or Deleted
IMAGES_PRUNED = {"ImagesDeleted": Maybe([IMAGE_DELETED]), "SpaceReclaimed": int}
DISTRIBUTION = {
    "Descriptor": {"mediaType": str, "digest": str, "size": int},
    "Platforms": [{"architecture": str, "os": str}],
}
BUILD_CACHE = {
    "ID": str, "Type": str, "Description": str, "InUse": bool, "Shared": bool, "Size": int,
    "CreatedAt": str, "LastUsedAt": Maybe(str), "UsageCount": int,
}  # fmt: skip
BUILDS_PRUNED = {"CachesDeleted": Maybe([str]), "SpaceReclaimed": int}
AUTHENTICATED = {"Status": str, "IdentityToken": str}
