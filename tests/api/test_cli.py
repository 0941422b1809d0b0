"""Our own commands at our own daemon, and the daemon that starts when it is needed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.world import Daemon, Typed, wait_for

pytestmark = pytest.mark.requires("root", "docker", "busybox")


def test_a_life_by_our_own_commands(daemon: Daemon) -> None:
    daemon.own(
        "run", "-d", "--name", "own", "-l", "a=b", "busybox", "sh", "-c", "echo said; sleep 1000"
    )
    wait_for(lambda: daemon.own("logs", "own") == "said")
    assert daemon.own("ps", "--format", "{{.Names}}") == "own"
    assert daemon.own("exec", "own", "echo", "inside") == "inside"
    assert "sleep 1000" in daemon.own("top", "own")
    daemon.own("pause", "own")
    assert daemon.own("inspect", "-f", "{{.State.Status}}", "own") == "paused"
    daemon.own("unpause", "own")
    daemon.own("rename", "own", "named")
    daemon.own("update", "--memory", "64m", "named")
    daemon.own("restart", "-t", "0", "named")
    daemon.own("stop", "-t", "0", "named")
    assert daemon.own("wait", "named") == "137"
    assert daemon.own("start", "named") == "named"
    assert daemon.own("kill", "named") == "named"
    assert daemon.own("rm", "named") == "named"
    assert daemon.own("ps", "-aq") == ""


def test_run_by_the_daemon_passes_all_on(daemon: Daemon) -> None:
    words = daemon.command(
        "run", "--rm", "-i", "-v", "piped:/d", "busybox", "sh", "-c", "cat; exit 4"
    )
    done = daemon.call(*words, stdin=b"typed")
    assert (done.returncode, done.stdout) == (4, b"typed")
    daemon.own("volume", "rm", "piped")


def test_keys_that_detach(daemon: Daemon) -> None:
    words = daemon.command("run", "-it", "--name", "kept", "-l", "a=b", "busybox", "sh")
    typed = Typed(daemon, *words)
    typed.hears(b"# ")
    typed.types(b"\x10\x11")
    assert typed.ends() == 0
    assert daemon.own("inspect", "-f", "{{.State.Running}}", "kept") == "true"
    typed = Typed(daemon, *daemon.command("attach", "--detach-keys", "x", "kept"))
    typed.types(b"echo $((40+2))\n")
    typed.hears(b"42\r\n")
    typed.types(b"x")
    assert typed.ends() == 0
    assert daemon.own("inspect", "-f", "{{.State.Running}}", "kept") == "true"


def test_prune_spares_volumes_with_a_name(daemon: Daemon) -> None:
    daemon.own("volume", "create", "named")
    daemon.own("run", "-d", "-v", "/anonymous", "--name", "gone", "busybox", "true")
    daemon.own("rm", "-f", "gone")
    assert len(daemon.own("volume", "ls", "-q").split()) == 2
    assert daemon.own("volume", "prune", "-f").startswith("Deleted Volumes:\n")
    assert daemon.own("volume", "ls", "-q") == "named"
    daemon.own("system", "prune", "-f", "--volumes")
    assert daemon.own("volume", "ls", "-q") == "named"
    assert "\nnamed\n" in daemon.own("volume", "prune", "-f", "-a")
    assert daemon.own("version", "-f", "{{.Client.ApiVersion}}") == "1.44"


def test_networks_volumes_system(daemon: Daemon) -> None:
    daemon.own("network", "create", "net")
    daemon.own("volume", "create", "vol")
    daemon.own(
        "run", "-d", "--name", "on", "--network", "net", "-v", "vol:/d", "busybox", "sleep", "9"
    )
    daemon.own("rm", "-f", "on")
    assert daemon.own("network", "ls", "-q", "--filter", "name=net")
    assert daemon.own("volume", "ls", "-q") == "vol"
    daemon.own("network", "rm", "net")
    daemon.own("volume", "rm", "vol")
    assert "Images" in daemon.own("system", "df")
    assert "Server" in daemon.own("version")
    assert json.loads(daemon.own("info", "--format", "{{json .}}"))["Driver"] == "overlay2"


def test_copying(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "dir/sub").mkdir(parents=True)
    (tmp_path / "dir/sub/f").write_text("content")
    daemon.own("create", "--name", "box", "busybox")
    daemon.own("cp", f"{tmp_path}/dir", "box:/new")
    daemon.own("cp", f"{tmp_path}/dir/sub/f", "box:/new/g")
    daemon.own("cp", f"{tmp_path}/dir/.", "box:/new/sub")
    for path, name in (("/new/sub/f", "a"), ("/new/g", "b"), ("/new/sub/sub/f", "c")):
        daemon.own("cp", f"box:{path}", f"{tmp_path}/{name}")
        assert (tmp_path / name).read_text() == "content"
    daemon.own("cp", "box:/new", f"{tmp_path}/out")
    assert (tmp_path / "out/sub/f").read_text() == "content"
    daemon.own("cp", "box:/new/.", f"{tmp_path}/out")
    assert sorted(os.listdir(tmp_path / "out")) == ["g", "sub"]
    archive = daemon.call(*daemon.command("cp", "box:/new", "-"))
    daemon.own("cp", "-", "box:/tmp", stdin=archive.stdout)
    daemon.own("cp", "box:/tmp/new/g", str(tmp_path / "d"))
    assert (tmp_path / "d").read_text() == "content"
    for words, said in (
        (("box:/nosuch", str(tmp_path)), "Could not find the file /nosuch"),
        ((str(tmp_path / "nosuch"), "box:/"), "no such file or directory"),
        ((str(tmp_path / "dir"), "box:/new/g"), "cannot copy directory"),
        (("a", "b"), "at least one container"),
    ):
        done = daemon.call(*daemon.command("cp", *words))
        assert done.returncode == 1
        assert said in done.stderr.decode()


def test_what_a_container_sends_stays_in_its_place(daemon: Daemon, tmp_path: Path) -> None:
    """CVE-2019-14271's other half: an archive from a container is a stranger's."""
    daemon.own("run", "--name", "evil", "-v", "/anon", "busybox", "sh", "-c",
               "mkdir /d; ln -s / /d/out; echo x > /d/f")  # fmt: skip
    daemon.own("cp", "evil:/d", str(tmp_path / "got"))
    assert os.readlink(tmp_path / "got/out") == "/"
    assert sorted(os.listdir(tmp_path / "got")) == ["f", "out"]


def test_commit(daemon: Daemon) -> None:
    daemon.own("run", "--name", "src", "-e", "A=1", "-v", "/x", "busybox", "touch", "/made")
    identity = daemon.own("commit", "-m", "why", "-c", "ENV B=2", "src", "committed:2")
    assert identity.startswith("sha256:")
    assert (
        daemon.docker("run", "--rm", "committed:2", "sh", "-c", "ls /made; echo $A$B")
        == "/made\n12"
    )
    daemon.docker("rm", "-v", "src")
    daemon.docker("rmi", "committed:2")


# Both docker commands, the newest one and Debian's, print these alike.
SAME = """
ps -a
ps -aq --no-trunc
ps -as
ps -a -f status=exited --format {{.Names}}|{{.Ports}}|{{.State}}|{{.Labels}}|{{.Mounts}}
images -a
images -q --no-trunc
images --digests
logs ended
logs -t -n 1 ended
port web
port web 80
top web
top web -o pid,comm
diff web
history -q busybox
network ls
network ls -q --no-trunc
network inspect net
network ls --format {{.Name}}|{{.CreatedAt}}|{{.Internal}}
volume ls
volume inspect vol vol2
volume ls --format {{.Name}}|{{.Links}}|{{.Size}}|{{.Labels}}
inspect web
inspect -f {{.State.Status}} web ended
container ls -a
container inspect web
image ls
system df --format {{.Type}}|{{.TotalCount}}|{{.Active}}
stats --no-stream --format {{.Name}}|{{.ID}}
events --since 5m --until 0s
""".strip().splitlines()


def test_output_is_that_of_docker(daemon: Daemon) -> None:
    daemon.docker("network", "create", "net")
    daemon.docker("volume", "create", "--label", "x=y", "vol2")
    daemon.docker(
        "run",
        "-d",
        "--init",
        "--name",
        "web",
        "-p",
        "80",
        "-p",
        "90/udp",
        "-l",
        "a=b",
        "-v",
        "vol:/d",
        "busybox",
        "sh",
        "-c",
        "echo > /f; sleep 1000",
    )
    status, _ = daemon.fails("run", "--name", "ended", "busybox", "sh", "-c", "echo out; exit 3")
    assert status == 3
    wait_for(lambda: "/f" in daemon.docker("diff", "web"))
    different = []
    for line in SAME:
        words = line.split(" ")
        # An age may have grown by a second between the two; after a minute it is told in minutes.
        ends = time.monotonic() + 90
        while (theirs := daemon.docker(*words)) != (ours := daemon.own(*words)):
            if time.monotonic() > ends:
                different.append((line, theirs, ours))
                break
    assert not different
    daemon.docker("rm", "-f", "web")
    daemon.docker("network", "rm", "net")
    daemon.docker("volume", "rm", "vol", "vol2")


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("run", "busybox", "nosuch"), 127), (("run", "-d", "busybox", "nosuch"), 127),
        (("run", "busybox", "/etc"), 126), (("run", "busybox", "sh", "-c", "exit 7"), 7),
        (("run", "-m", "1k", "busybox", "true"), 125), (("run", "--nosuch", "busybox"), 125),
        (("container", "run", "busybox", "nosuch"), 127), (("update", "web"), 1),
        (("stats", "--no-stream", "nosuch"), 1),
    ],
)  # fmt: skip
def test_status_is_that_of_docker(daemon: Daemon, words: tuple[str, ...], status: int) -> None:
    assert daemon.fails(*words)[0] == status
    done = daemon.call(*daemon.command(*words))
    assert (done.returncode, done.stdout) == (status, b"") or words[1:2] == ("-d",)


def test_containers_by_their_long_names(daemon: Daemon) -> None:
    identity = daemon.own("container", "create", "--name", "long", "busybox", "true")
    assert daemon.own("container", "ls", "-aq", "--no-trunc") == identity
    daemon.own("container", "start", "-a", "long")
    shown = daemon.own("container", "inspect", "-f", "{{.State.ExitCode}}", "long")
    assert shown == "0"
    told = daemon.own("container", "prune", "-f")
    assert told.startswith(f"Deleted Containers:\n{identity}\n\nTotal reclaimed space: ")
    assert "stop" in daemon.own("completion", "words", "--", "container", "s").split()


def test_completion(daemon: Daemon) -> None:
    def words(*typed: str) -> list[str]:
        return daemon.own("completion", "words", "--", *typed).split()

    assert words("ne") == ["network"]
    assert "--memory" in words("run", "--mem")
    assert words("network", "c") == ["connect", "create"]
    daemon.own("create", "--name", "findme", "busybox")
    assert words("logs", "fi") == ["findme"]
    assert words("run", "busy") == ["busybox:latest"]
    assert words("network", "inspect", "br") == ["bridge"]
    daemon.own("volume", "create", "findvol")
    assert words("volume", "rm", "find") == ["findvol"]
    daemon.own("volume", "rm", "findvol")
    script = daemon.own("completion", "bash")
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def lonely(image: Path) -> Iterator[Daemon]:
    """A home without a daemon, and commands that are told of none."""
    place = Path(tempfile.mkdtemp(prefix="api-"))
    shutil.copytree(image, place / "home", symlinks=True)
    made = Daemon(place)
    del made.env["LABCONTAINER_HOST"], made.env["DOCKER_HOST"]
    assert not os.path.exists("/run/labcontainer.sock")
    yield made
    for pid in daemons():
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not daemons())
    shutil.rmtree(place)


def daemons() -> list[int]:
    done = subprocess.run(["pgrep", "-f", "labcontainer.cli.main daemon --host unix:///run/lab"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    return [int(pid) for pid in done.stdout.split()]


def test_a_daemon_starts_when_it_is_needed(lonely: Daemon) -> None:
    assert lonely.own("ps", "-aq") == ""
    (pid,) = daemons()
    lonely.own("run", "-d", "--name", "kept", "busybox", "sleep", "1000")
    assert lonely.own("ps", "--format", "{{.Names}}") == "kept"
    assert daemons() == [pid]
    lonely.own("rm", "-f", "kept")
