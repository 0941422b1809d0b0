"""The OCI command line at work for a test: bundles, and the command as an installation makes it.

home = OciHome(tmp_path, rootfs); bundle = home.bundle(args=["true"]); home.run(bundle)
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from labcontainer import capabilities, hierarchy
from labcontainer.runtime import launcher

ROOT = Path(__file__).resolve().parents[2]
CAPABILITIES = list(capabilities.DEFAULT)
CONFIG: dict[str, Any] = {
    "ociVersion": "1.2.0",
    "root": {"path": "rootfs"},
    "process": {
        "user": {"uid": 0, "gid": 0},
        "args": ["true"],
        "env": ["PATH=/bin"],
        "cwd": "/",
        "capabilities": {kind: CAPABILITIES for kind in ("bounding", "effective", "permitted")},
    },
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        },
        {
            "destination": "/sys",
            "type": "sysfs",
            "source": "sysfs",
            "options": ["nosuid", "noexec", "nodev", "ro"],
        },
    ],
    "linux": {
        "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")],
        "maskedPaths": [
            "/proc/kcore",
            "/proc/keys",
            "/proc/timer_list",
            "/proc/scsi",
            "/sys/firmware",
        ],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    },
}


def groups_at(path: str) -> list[Path]:
    """A group's directory in each hierarchy that has it.

    No walk through all groups: one that goes meanwhile, such as this one, would be an error.
    """
    top = Path("/sys/fs/cgroup")
    tops = [top, *(one for one in top.iterdir() if not one.is_symlink())]
    return [one / path for one in tops if (one / path).is_dir()]


def groups_below(path: str) -> list[Path]:
    """The groups in a group, in each hierarchy."""
    found = [next(os.walk(one), ("", [], [])) for one in groups_at(path)]
    return [Path(folder, name) for folder, names, _ in found for name in names]


class Bundle:
    """A bundle's directory, its container's id, and its config.json as a value to change."""

    def __init__(self, path: Path, rootfs: Path, cgroup: str) -> None:
        self.path = path
        self.id = f"t-{uuid.uuid4().hex[:12]}"
        self.rootfs = path / "rootfs"
        path.mkdir()
        shutil.copytree(rootfs, self.rootfs, symlinks=True)
        self.config = copy.deepcopy(CONFIG)
        self.linux["cgroupsPath"] = f"/{cgroup}/{self.id}"

    @property
    def process(self) -> dict[str, Any]:
        value: dict[str, Any] = self.config["process"]
        return value

    @property
    def linux(self) -> dict[str, Any]:
        value: dict[str, Any] = self.config["linux"]
        return value

    def save(self) -> None:
        (self.path / "config.json").write_text(json.dumps(self.config))


class OciHome:
    """Our runtime's command with a directory of its own."""

    def __init__(self, place: Path, rootfs: Path) -> None:
        self.place, self.rootfs = place, rootfs
        self.cgroup = f"labcontainer/test-{uuid.uuid4().hex[:8]}"
        self.bundles: list[Bundle] = []
        self.command = place / "labcontainer-oci"
        self.command.write_text(launcher.script(launcher.OCI, os.path.realpath(sys.executable)))
        self.command.chmod(0o755)

    def bundle(self, *args: str) -> Bundle:
        """A new bundle whose program has these arguments."""
        bundle = Bundle(self.place / f"bundle{len(self.bundles)}", self.rootfs, self.cgroup)
        bundle.process["args"] = list(args)
        self.bundles.append(bundle)
        return bundle

    def argv(self, *words: str | Path) -> list[str]:
        return [str(self.command), f"--root={self.place}/state", *map(str, words)]

    def call(
        self, *words: str | Path, timeout: float = 60, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """One call of the command."""
        options.setdefault("stdin", subprocess.DEVNULL)
        done: subprocess.CompletedProcess[str] = subprocess.run(
            self.argv(*words),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            errors="replace",
            cwd=self.place,
            **options,
        )
        return done

    def run(self, bundle: Bundle, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a container to its end."""
        bundle.save()
        return self.call("run", "--bundle", bundle.path, bundle.id, **options)

    def start(self, bundle: Bundle) -> int:
        """Create and start a container; its first process's pid."""
        bundle.save()
        pid_file = bundle.path / "pid"
        log = bundle.path / "log"
        with log.open("wb") as file:
            done = subprocess.run(
                self.argv("create", "--bundle", bundle.path, "--pid-file", pid_file, bundle.id),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                timeout=60,
                check=False,
            )
        assert done.returncode == 0, log.read_text()
        started = self.call("start", bundle.id)
        assert started.returncode == 0, started.stderr
        return int(pid_file.read_text())

    def close(self) -> None:
        """Remove every container and the group that theirs were in."""
        for bundle in self.bundles:
            self.call("delete", "--force", bundle.id)
        for top in groups_at(self.cgroup):
            # What a test has killed may be on its way to its end: that keeps a group busy.
            hierarchy.remove(str(top), patience=60)
