"""What `labcontainer-oci spec` and `features` print: a config.json to start from, and what we can.

Sources: runtime-spec config.md, features.md.
"""

from __future__ import annotations

from labcontainer import capabilities, namespaces, rootfs, seccomp_profile
from labcontainer.runtime import spec
from labcontainer.runtime.confine import DEFAULT_PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION_MIN, VERSION_MAX = "1.0.0", "1.2.1"
_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
_MOUNTS = (
    ("/proc", "proc", "proc", ()),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    (
        *("/dev/pts", "devpts", "devpts"),
        ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    ),
    ("/dev/shm", "tmpfs", "shm", ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),
    ("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    ("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
    ("/sys/fs/cgroup", "cgroup", "cgroup", ("nosuid", "noexec", "nodev", "relatime", "ro")),
)


def config(*, rootless: bool = False, uid: int = 0, gid: int = 0) -> dict[str, Any]:
    """A config.json that runs a shell in `rootfs`, with every isolation there is."""
    kinds = ["pid", "network", "ipc", "uts", "mount", "cgroup"]
    linux: dict[str, Any] = {
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "namespaces": [{"type": kind} for kind in kinds],
        "maskedPaths": list(rootfs.MASKED_PATHS),
        "readonlyPaths": list(rootfs.READONLY_PATHS),
    }
    if rootless:
        linux.pop("resources")
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
    kinds_of_caps = ("bounding", "effective", "permitted")
    return {
        "ociVersion": VERSION_MAX,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [f"PATH={DEFAULT_PATH}", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {kind: list(_CAPABILITIES) for kind in kinds_of_caps},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "labcontainer",
        "mounts": [
            {
                "destination": to,
                "type": kind,
                "source": source,
                "options": _options(words, rootless),
            }
            for to, kind, source, words in _MOUNTS
        ],
        "linux": linux,
    }


def _options(words: tuple[str, ...], rootless: bool) -> list[str]:
    """The tty group has no number in a user namespace of one id."""
    return [word for word in words if not (rootless and word.startswith("gid="))]


def features() -> dict[str, Any]:
    """What this runtime can do, whatever the machine: runtime-spec features.md."""
    from labcontainer import mounts

    return {
        "ociVersionMin": VERSION_MIN,
        "ociVersionMax": VERSION_MAX,
        "hooks": list(spec.HOOKS),
        "mountOptions": sorted(mounts.option_words()),
        "linux": {
            "namespaces": sorted(namespaces.ORDER),
            "capabilities": list(capabilities.NAMES),
            "cgroup": {
                "v1": True,
                "v2": True,
                "systemd": False,
                "systemdUser": False,
                "rdma": False,
            },
            "seccomp": {
                "enabled": True,
                "actions": list(seccomp_profile.ACTIONS),
                "operators": list(seccomp_profile.OPERATORS),
                "archs": list(seccomp_profile.ARCHITECTURES),
                "knownFlags": list(seccomp_profile.FLAGS),
                "supportedFlags": list(seccomp_profile.FLAGS),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": True}},
        },
        "annotations": {},
    }
