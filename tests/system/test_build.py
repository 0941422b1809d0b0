"""`labcontainer build` from outside: files, configuration, cache, failures; nothing stays."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import signal
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.system import lab_home
from tests.system.build_home import BuildHome, Files
from tests.system.lab_home import LabHome

pytestmark = pytest.mark.requires("root", "mount", "busybox", "overlay")


@pytest.fixture(scope="module")
def lab() -> Iterator[LabHome]:
    yield from lab_home.home()


@pytest.fixture
def home(lab: LabHome, tmp_path: Path) -> BuildHome:
    return BuildHome(lab, tmp_path)


def archive(**files: str) -> bytes:
    """A gzipped tar of files that belong to 7:8."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.uid, entry.gid, entry.mode = len(text), 7, 8, 0o640
            tar.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


# --- COPY and ADD ---------------------------------------------------------------------------------

CONTEXT: Files = {
    "a.txt": "a", "b.txt": "b", "dir/one": "1", "dir/sub/two": "2", "dir/link": "-> one",
    "named": "-> a.txt", "empty": None,
}  # fmt: skip


ARCHIVES: Files = {"t.tar.gz": archive(file="t"), "u.tar.gz": archive(other="u")}


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        ("COPY a.txt /x", ["644 0:0 x"]),
        ("COPY a.txt /x/", ["755 0:0 x/", "644 0:0 x/a.txt"]),
        ("COPY a.txt b.txt /x/", ["755 0:0 x/", "644 0:0 x/a.txt", "644 0:0 x/b.txt"]),
        ("COPY *.txt /", ["644 0:0 a.txt", "644 0:0 b.txt"]),
        ("COPY [^a].txt /", ["644 0:0 b.txt"]),
        ("COPY dir /d", ["755 0:0 d/", "link d/link -> one", "644 0:0 d/one", "755 0:0 d/sub/",
                         "644 0:0 d/sub/two"]),
        ("COPY dir/sub /", ["644 0:0 two"]),
        ("COPY named /n", ["644 0:0 n"]),
        ("COPY named /n/", ["755 0:0 n/", "644 0:0 n/named"]),
        ("COPY empty /e", ["755 0:0 e/"]),
        ("COPY ../../a.txt /x", ["644 0:0 x"]),
        ("WORKDIR /w/v\nCOPY a.txt .", ["755 0:0 w/", "755 0:0 w/v/", "644 0:0 w/v/a.txt"]),
        ("WORKDIR /w\nWORKDIR v\nCOPY a.txt ../",
         ["755 0:0 w/", "644 0:0 w/a.txt", "755 0:0 w/v/"]),
        ("COPY --chown=5 --chmod=600 a.txt /x", ["600 5:5 x"]),
        ("COPY --chown=5:6 --chmod=u=rwX,go= dir/sub /d", ["700 5:6 d/", "600 5:6 d/two"]),
        ("COPY --exclude=sub --exclude=l* dir /d", ["755 0:0 d/", "644 0:0 d/one"]),
        ("COPY --parents dir/sub/two /p/", ["755 0:0 p/", "755 0:0 p/dir/", "755 0:0 p/dir/sub/",
                                            "644 0:0 p/dir/sub/two"]),
        ("COPY --parents ./dir/./sub/two /", ["755 0:0 sub/", "644 0:0 sub/two"]),
        ('COPY ["a.txt", "/with space"]', ["644 0:0 with space"]),
        ("ENV name=b\nCOPY ${name}.txt /$name", ["644 0:0 b"]),
        ("COPY <<one <<two /h/\n1\none\n2\ntwo", ["755 0:0 h/", "644 0:0 h/one", "644 0:0 h/two"]),
        ("ADD t.tar.gz /t", ["755 0:0 t/", "640 7:8 t/file"]),
        ("ADD --chown=1:2 t.tar.gz /t/", ["755 1:2 t/", "640 1:2 t/file"]),
        ("ADD t.tar.gz a.txt u.tar.gz /t/", ["755 0:0 t/", "644 0:0 t/a.txt", "640 7:8 t/file",
                                             "640 7:8 t/other"]),
        ("ADD [atu].* /", ["644 0:0 a.txt", "640 7:8 file", "640 7:8 other"]),
        ("COPY t.tar.gz /t/", ["755 0:0 t/", "644 0:0 t/t.tar.gz"]),
        ("ADD --unpack=false t.tar.gz /t", ["644 0:0 t"]),
        ("ADD a.txt /x", ["644 0:0 x"]),
    ],
)  # fmt: skip
def test_what_lands_where(home: BuildHome, steps: str, found: list[str]) -> None:
    image = home.build(f"FROM scratch\n{steps}", files={**CONTEXT, **ARCHIVES})
    assert home.listing(image) == found


def test_links_of_the_image_are_followed_inside_it(home: BuildHome) -> None:
    steps = (
        "FROM scratch\nCOPY base /\nCOPY a.txt /bin/\nCOPY --link b.txt /usr/\nCOPY a.txt /out/x"
    )
    files: Files = {**CONTEXT, "base/usr/bin/sh": "", "base/bin": "-> usr/bin",
                    "base/out": "-> ../../../real", "base/real/y": ""}  # fmt: skip
    image = home.build(steps, files=files)
    tree = home.tree(image)
    assert tree.listdir("usr/bin") == ["a.txt", "sh"]
    assert tree.listdir("usr") == ["b.txt", "bin"]
    assert tree.listdir("real") == ["x", "y"]


def test_dockerignore_leaves_out(home: BuildHome) -> None:
    ignored = "*.txt\n!b.txt\ndir/*\n!dir/sub\nDockerfile*\n.dockerignore"
    image = home.build("FROM scratch\nCOPY . /", files={**CONTEXT, ".dockerignore": ignored})
    assert [line.split()[-1] for line in home.listing(image)] == [
        "b.txt", "dir/", "dir/sub/", "dir/sub/two", "empty/", "a.txt",
    ]  # fmt: skip
    (home.context / "Dockerfile.dockerignore").write_text("*\n!a.txt")
    image = home.build("FROM scratch\nCOPY . /")
    assert home.listing(image) == ["644 0:0 a.txt"]


def test_owners_by_name_are_the_image_s(home: BuildHome) -> None:
    files: Files = {"etc/passwd": "me:x:12:13:::\n", "etc/group": "us:x:14:\n", "f": ""}
    steps = "FROM scratch\nCOPY etc /etc\nCOPY --chown=me f /1\nCOPY --chown=me:us f /2"
    assert home.listing(home.build(steps, files=files))[:2] == ["644 12:13 1", "644 12:14 2"]
    assert "unable to find user you" in home.fails(
        "FROM scratch\nCOPY --chown=you f /", files=files
    )


def test_directories_of_the_image_stay_whose_they_are(home: BuildHome) -> None:
    """A layer names the directories on the way to its files: as the image has them."""
    image = home.build(
        "FROM scratch\nCOPY --chown=3:4 --chmod=u=rwX,go= dir /home/me/work\n"
        "COPY --chown=5:6 --chmod=755 more /home/me/work/\nWORKDIR /home/me/work/sub/new",
        files={**CONTEXT, "more/sub/three": "3"},
    )
    lines = home.listing(image)
    assert "700 3:4 home/me/" in lines and "700 3:4 home/me/work/" in lines
    assert "700 3:4 home/me/work/sub/" in lines and "755 0:0 home/me/work/sub/new/" in lines
    assert "755 5:6 home/me/work/sub/three" in lines


def test_other_stages_and_images_keep_owners(home: BuildHome) -> None:
    image = home.build(
        "FROM scratch AS first\nCOPY --chown=3:4 dir /d\nFROM scratch\n"
        "COPY --from=first /d/sub /s\n"
        "COPY --from=0 --chown=9 /d/one /\nCOPY --from=busybox /usr/bin/busybox /b",
        files=CONTEXT,
    )
    lines = [line.removesuffix("/") for line in home.listing(image)]
    assert lines == ["755 0:0 b", "644 9:9 one", "755 3:4 s", "644 3:4 s/two"]


def test_heredoc_content(home: BuildHome) -> None:
    steps = 'ENV who="w x"\nCOPY <<-A <<"B" /\n\t1 "$who" \\$who\n\tA\n$who\nB'
    image = home.build(f"FROM scratch\n{steps}")
    assert home.read(image, "A") == '1 "w x" $who\n'
    assert home.read(image, "B") == "$who\n"


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("served")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            return

    served = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}", folder
    served.shutdown()
    thread.join()
    served.server_close()


def test_add_from_a_url(home: BuildHome, server: tuple[str, Path]) -> None:
    url, folder = server
    (folder / "f.txt").write_text("served")
    digest = hashlib.sha256(b"served").hexdigest()
    image = home.build(f"FROM scratch\nADD --checksum=sha256:{digest} {url}/f.txt /x/")
    assert home.listing(image) == ["755 0:0 x/", "600 0:0 x/f.txt"]
    wrong = f"FROM scratch\nADD --checksum=sha256:{'0' * 64} {url}/f.txt /x/"
    assert f"its digest is sha256:{digest}" in home.fails(wrong)
    assert "the server answered 404" in home.fails(f"FROM scratch\nADD {url}/none /x")


def test_context_from_a_url_and_from_a_tar(home: BuildHome, server: tuple[str, Path]) -> None:
    url, folder = server
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in (("Dockerfile", "FROM scratch\nCOPY f /f"), ("f", "in a tar")):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    (folder / "c.tar.gz").write_bytes(gzip.compress(out.getvalue()))
    for words, data in (([f"{url}/c.tar.gz"], None), (["-"], out.getvalue())):
        done = subprocess.run(home.lab.words("build", "-q", *words), env=home.lab.env, input=data,
                              capture_output=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert home.read(home.store.image(done.stdout.decode().strip()), "f") == "in a tar"
    done = subprocess.run(home.lab.words("build", "-q", "-"), env=home.lab.env, check=False,
                          input=b"FROM busybox\nENV A=1", capture_output=True)  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("COPY none /x", "Dockerfile:2: COPY failed: file not found in build context"),
        ("COPY *.none /x", "Dockerfile:2: COPY failed: no source files were specified"),
        ("COPY *.txt /x", "When using COPY with more than one source file"),
        ("COPY a.txt b.txt /x", "When using COPY with more than one source file"),
        ("COPY a.txt /f\nCOPY dir /f", "Dockerfile:3: COPY failed: cannot copy to non-dir"),
        ("COPY a.txt /f\nCOPY a.txt /f/x", "cannot copy to non-directory: /f"),
        ("COPY --chmod=9 a.txt /f", "invalid chmod parameter: '9'"),
        ("ADD https://example.invalid/x.git /f", "a git repository as a source"),
        ("COPY --from=no/such/Image /x /y", "invalid reference format"),
        ("RUN true", 'Dockerfile:2: RUN failed: exec: "/bin/sh"'),
        ("EXPOSE 99999", "Dockerfile:2: invalid containerPort: 99999"),
        ("STOPSIGNAL SIGNONE", "Dockerfile:2: Invalid signal: SIGNONE"),
    ],
)  # fmt: skip
def test_failures_name_the_line(home: BuildHome, steps: str, said: str) -> None:
    assert said in home.fails(f"FROM scratch\n{steps}", files=CONTEXT)


# --- configuration --------------------------------------------------------------------------------


def test_configuration(home: BuildHome) -> None:
    image = home.build(
        "FROM busybox\nARG v=1\nENV A=$v B='two words'\nENV C $A x\nLABEL l=${A} \"m n\"=o\n"
        "EXPOSE 80 90-91/udp $A\nVOLUME /v [\"/w\"]\nVOLUME [\"/x y\"]\nUSER me:us\nWORKDIR /w\n"
        "STOPSIGNAL SIGQUIT\nENTRYPOINT [\"e\"]\nCMD echo $A\nSHELL [\"/bin/ash\", \"-c\"]\n"
        "HEALTHCHECK --interval=5s CMD true\nONBUILD RUN x\nMAINTAINER m",
        "--build-arg", "v=3", "--label", "z=y",
    )  # fmt: skip
    config = dict(image.config.config)
    path = config["Env"][0]
    assert path.startswith("PATH=")
    assert config == {
        "Env": [path, "A=3", "B=two words", "C=3 x"], "Labels": {"l": "3", "m n": "o", "z": "y"},
        "ExposedPorts": {"80/tcp": {}, "90/udp": {}, "91/udp": {}, "3/tcp": {}},
        "Volumes": {"/v": {}, '[/w]': {}, "/x y": {}}, "User": "me:us", "WorkingDir": "/w",
        "StopSignal": "SIGQUIT", "Entrypoint": ["e"], "Cmd": ["/bin/sh", "-c", "echo $A"],
        "Shell": ["/bin/ash", "-c"], "OnBuild": ["RUN x"],
        "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 5 * 10**9},
    }  # fmt: skip
    assert image.config.author == "m"
    own = image.config.history[-16:]
    assert [one["created_by"] for one in own][:3] == ["ARG v=3", "ENV A=3 B=two words", "ENV C=3 x"]
    assert [bool(one.get("empty_layer")) for one in own].count(False) == 1  # WORKDIR made one


def test_entrypoint_takes_the_base_s_command_away(home: BuildHome) -> None:
    home.build('FROM busybox\nCMD ["base"]', "-t", "with-command")
    image = home.build('FROM with-command\nENTRYPOINT ["e"]')
    assert "Cmd" not in image.config.config
    image = home.build('FROM with-command\nCMD ["c"]\nENTRYPOINT ["e"]')
    assert image.config.config["Cmd"] == ["c"]


def test_a_base_that_nothing_changes_stays_itself(home: BuildHome) -> None:
    base = home.build("FROM busybox\nENV A=1", "-t", "first")
    assert home.build("FROM first\n", "-t", "second").id == base.id
    assert home.store.image("second").tags == ("first:latest", "second:latest")
    assert home.build("FROM first AS x\nENV B=1\nFROM x").id != base.id


def test_onbuild_runs_in_whoever_builds_on_it(home: BuildHome) -> None:
    home.build("FROM busybox\nONBUILD COPY a.txt /here\nONBUILD RUN cat /here > /there", "-t", "on",
               files=CONTEXT)  # fmt: skip
    image = home.build("FROM on\nENV A=1")
    assert home.read(image, "there") == "a"
    assert "OnBuild" not in image.config.config


# --- RUN ------------------------------------------------------------------------------------------


def test_run_leaves_what_it_wrote_and_nothing_else(home: BuildHome) -> None:
    image = home.build(
        "FROM busybox\nRUN echo 1 > /one && rm /etc/group && mkdir -p /m/n && echo 2 > /etc/two && "
        "cat /etc/hosts /etc/resolv.conf > /dev/null && chown 5:6 /one\nRUN rm -r /m && cat /one"
    )
    first, second = (one["created_by"] for one in image.config.history[-2:])
    assert first.startswith("RUN /bin/sh -c echo 1 > /one")
    assert second == "RUN /bin/sh -c rm -r /m && cat /one # buildkit"
    top, below = (Path(path) for path in home.tree(image).directories[:2])
    assert sorted(os.listdir(top)) == ["m"]
    assert sorted(os.listdir(below)) == ["etc", "m", "one"]
    assert sorted(os.listdir(below / "etc")) == ["group", "two"]
    assert os.stat(below / "one").st_uid == 5
    assert not home.tree(image).find("etc/group")


def test_run_sees_arguments_and_environment(home: BuildHome) -> None:
    image = home.build(
        "ARG g=global\nFROM busybox\nARG g\nARG a=1\nARG TARGETARCH\nENV e=2 a=3\nWORKDIR /w\n"
        "USER 7:8\nRUN [\"/bin/sh\", \"-c\", \"echo $g $a $e $TARGETARCH $HTTP_PROXY $(id -u)\"]"
        "\nUSER 0\nRUN echo $g $a $e $TARGETARCH $HTTP_PROXY $PWD > /out",
        "--build-arg", "HTTP_PROXY=p", "--no-cache",
    )  # fmt: skip
    machine = image.config.platform.architecture
    assert home.read(image, "out") == f"global 3 2 {machine} p /w\n"
    assert f"global 3 2 {machine} p 7" in home.said
    assert "HTTP_PROXY=p" not in str(image.config.history)


def test_run_has_no_descriptor_of_the_builder(home: BuildHome) -> None:
    image = home.build("FROM busybox\nRUN ls /proc/self/fd > /fds; cat > /in; ps -o pid > /ps")
    assert home.read(image, "fds").split() == ["0", "1", "2", "3"]  # the last is of ls itself
    assert home.read(image, "in") == ""
    assert home.read(image, "ps").split() == ["PID", "1", *home.read(image, "ps").split()[2:]]
    assert len(home.read(image, "ps").split()) <= 4


def test_run_heredocs(home: BuildHome) -> None:
    image = home.build(
        "FROM busybox\nRUN <<EOF\necho one > /1\necho two > /2\nEOF\n"
        "RUN <<EOF cat > /3\nthree\nEOF\nRUN <<EOF\n#!/bin/sed 1d\nx\nEOF\n"
        'SHELL ["/bin/ash", "-ec"]\nRUN <<EOF\ntrue\necho four > /4\nEOF',
        "--no-cache",
    )
    assert [home.read(image, name) for name in "1234"] == ["one\n", "two\n", "three\n", "four\n"]
    assert re.search(r"^#\d+ [\d.]+ x$", home.said, re.MULTILINE)


def test_run_mounts(home: BuildHome) -> None:
    dockerfile = (
        "FROM busybox AS other\nRUN echo theirs > /o\nFROM busybox\n"
        "RUN --mount=type=cache,target=/c echo x >> /c/n && wc -l < /c/n > /count\n"
        "RUN --mount=target=/ctx --mount=from=other,source=/o,target=/o,rw "
        "ls /ctx > /seen && cat /o >> /seen && echo y > /o && ! touch /ctx/no 2> /dev/null\n"
        "RUN --mount=type=tmpfs,target=/t,size=1m touch /t/x && mount | grep -q ' /t type tmpfs'\n"
        "RUN --mount=type=secret,id=s --mount=type=secret,id=e,env=E "
        "--mount=type=secret,id=none cat /run/secrets/s > /dev/null && test $E = env && "
        "stat -c %a /run/secrets/s > /mode && ls /run/secrets > /names"
    )
    home.write({"s": "hidden-secret", ".dockerignore": "s\nDockerfile\n.dockerignore", "b.txt": ""})
    flags = ["--secret", f"id=s,src={home.context}/s", "--secret", "id=e,env=TOKEN"]
    for turn in ("1", "2"):
        done = home.call(dockerfile, "--no-cache", *flags, env={"TOKEN": "env"})
        assert done.returncode == 0, done.stderr
        image = home.store.image(done.stdout.strip())
        assert home.read(image, "count").strip() == turn
    assert home.read(image, "seen") == "b.txt\ntheirs\n"
    assert (home.read(image, "mode"), home.read(image, "names")) == ("400\n", "s\n")
    names = [line.split()[-1] for line in home.listing(image)]
    assert not {"c/", "ctx/", "o", "t/", "run/secrets/", "dev/pipes/"} & set(names)
    grep = subprocess.run(["grep", "-rl", "hidden-secret", home.lab.home], capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert grep.stdout == ""
    assert "secret x: not found" in home.fails(
        "FROM busybox\nRUN --mount=type=secret,id=x,required true"
    )


def test_run_network_and_security(home: BuildHome) -> None:
    image = home.build(
        "FROM busybox\nRUN --network=none ls /sys/class/net > /none\nRUN --network=host "
        "readlink /proc/self/ns/net > /host\nRUN --security=insecure grep CapEff /proc/self/status "
        "> /caps\nRUN grep here /etc/hosts > /hosts", "--add-host", "here:10.1.2.3",
    )  # fmt: skip
    assert home.read(image, "none") == "lo\n"
    assert home.read(image, "host") == os.readlink("/proc/self/ns/net") + "\n"
    assert int(home.read(image, "caps").split()[1], 16) & 1 << 21  # CAP_SYS_ADMIN
    assert home.read(image, "hosts").split() == ["10.1.2.3", "here"]


def test_failing_run_tells_its_status_and_leaves_nothing(home: BuildHome) -> None:
    before = home.store.names()
    said = home.fails("FROM busybox\nRUN echo so far; exit 7", "-t", "never")
    assert said == "The command '/bin/sh -c echo so far; exit 7' returned a non-zero code: 7"
    assert home.store.names().keys() - before.keys() <= {"docker.io/library/busybox:latest"}
    assert os.listdir(f"{home.store.path}/builds") == []


# --- the end of the builder -----------------------------------------------------------------------


def processes(home: BuildHome) -> list[str]:
    """Command lines of processes that have to do with this store."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if home.store.path in line or "sleep 4711" in line:
            found.append(line)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ended_builder_leaves_nothing(home: BuildHome, number: int) -> None:
    home.write({"Dockerfile": "FROM busybox\nRUN echo ready && sleep 4711"})
    program = subprocess.Popen(
        home.lab.words("build", "--no-cache", str(home.context)), env=home.lab.env, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert program.stderr is not None
    for line in program.stderr:
        if line.endswith(" ready\n"):
            break
    program.send_signal(number)
    program.stderr.close()
    assert program.wait(60) in (130, 143, -number)
    assert lab_home.eventually(lambda: os.listdir(f"{home.store.path}/builds") == [])
    assert lab_home.eventually(lambda: processes(home) == []), processes(home)
    assert home.store.path not in Path("/proc/self/mountinfo").read_text()
    assert home.lab.call("build", "-q", "-", input="FROM busybox\nRUN true").returncode == 0


def test_context_of_a_killed_builder_is_swept(home: BuildHome) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        text = b"FROM busybox\nRUN echo ready && sleep 4711"
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
    program = subprocess.Popen(home.lab.words("build", "--no-cache", "-"), env=home.lab.env,
                               stdin=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    assert program.stdin is not None
    assert program.stderr is not None
    program.stdin.write(out.getvalue())
    program.stdin.close()
    for line in program.stderr:
        if line.endswith(b" ready\n"):
            break
    program.kill()
    program.wait()
    program.stderr.close()

    def scratch() -> list[str]:
        return [name for name in os.listdir(home.store.path) if name.startswith("scratch-")]

    assert len(scratch()) == 1
    assert lab_home.eventually(lambda: processes(home) == []), processes(home)
    done = home.lab.call("build", "-q", "-", input="FROM busybox\nENV A=1")
    assert (done.returncode, scratch()) == (0, [])


# --- stages ---------------------------------------------------------------------------------------


def test_only_the_target_s_stages_are_built(home: BuildHome) -> None:
    text = "FROM busybox AS a\nRUN false\nFROM busybox AS b\nENV B=1\nFROM a\nRUN true"
    assert home.build(text, "--target", "b").config.config["Env"][-1] == "B=1"
    assert "returned a non-zero code: 1" in home.fails(text)
    assert "target stage 'c' could not be found" in home.fails(text, "--target", "c")


def test_independent_stages_run_at_the_same_time(home: BuildHome) -> None:
    """Each waits for the other, which only works side by side."""
    wait = "for i in $(seq 200); do test -e /c/{0} && exit 0; sleep 0.1; done; exit 1"
    stage = "FROM busybox AS {1}\nRUN --mount=type=cache,id=meet,target=/c touch /c/{1}; {2}\n"
    text = "".join(stage.format("", me, wait.format(you)) for me, you in (("x", "y"), ("y", "x")))
    home.build(f"{text}FROM scratch\nCOPY --from=x /etc /x\nCOPY --from=y /etc /y", "--no-cache")


def test_failing_stage_ends_the_other(home: BuildHome) -> None:
    text = ("FROM busybox AS a\nRUN sleep 0.5; exit 3\nFROM busybox AS b\nRUN sleep 4711\n"
            "FROM scratch\nCOPY --from=a / /\nCOPY --from=b / /")  # fmt: skip
    assert home.fails(text).endswith("returned a non-zero code: 3")  # within a minute: LabHome.call
    assert processes(home) == []


# --- cache ----------------------------------------------------------------------------------------


def cached(home: BuildHome) -> list[bool]:
    """Of each step of the last build, whether it came from the cache."""
    ends = re.findall(r"^#(\d+) (CACHED|DONE)", home.said, re.MULTILINE)
    return [word == "CACHED" for _, word in sorted(ends, key=lambda end: int(end[0]))]


def test_unchanged_build_is_all_cached_and_the_same(home: BuildHome) -> None:
    text = 'FROM busybox\nCOPY dir /d\nRUN cat /proc/sys/kernel/random/uuid > /now\nCMD ["x"]'
    first = home.build(text, files=CONTEXT)
    for path in home.context.rglob("*"):
        if not path.is_symlink():
            os.utime(path)  # times do not matter
    second = home.build(text)
    assert cached(home) == [True] * 4
    assert second.id == first.id
    assert home.build(text, "--no-cache").id != first.id
    assert cached(home) == [True, False, False, False]


@pytest.mark.parametrize(
    ("change", "flags", "hits"),
    [
        ({"dir/one": "other"}, [], [True, True, False, False]),
        ({"dir/new": ""}, [], [True, True, False, False]),
        ({"a.txt": "other"}, [], [True, True, True, True]),
        ({}, ["--build-arg", "v=2"], [True, False, False, False]),
        ({}, ["--build-arg", "unused=2"], [True, True, True, True]),
    ],
)
def test_what_a_step_depends_on(
    home: BuildHome, change: Files, flags: list[str], hits: list[bool]
) -> None:
    text = "FROM busybox\nARG v=1\nCOPY dir /d\nRUN ls -R /d"
    home.build(text, files=CONTEXT)
    home.build(text, *flags, files=change)
    assert cached(home) == hits


def test_mode_of_a_file_counts_and_only_of_copied_ones(home: BuildHome) -> None:
    text = "FROM scratch\nCOPY dir /d"
    home.build(text, files=CONTEXT)
    os.chmod(home.context / "a.txt", 0o600)
    home.build(text)
    assert cached(home) == [True, True]
    os.chmod(home.context / "dir/one", 0o700)
    image = home.build(text)
    assert cached(home) == [True, False]
    assert "744 0:0 d/one" in home.listing(image)


def test_copy_from_a_stage_that_came_out_the_same(home: BuildHome) -> None:
    text = ("FROM busybox AS b\nRUN echo {} > /log; echo same > /out\n"
            "FROM scratch\nCOPY --from=b /out /")  # fmt: skip
    first = home.build(text.format(1))
    second = home.build(text.format(2))
    assert cached(home) == [True, False, True, True]
    assert first.id == second.id


def test_cache_filter_prune_and_collection(home: BuildHome) -> None:
    text = "FROM busybox AS one\nRUN echo 1\nFROM busybox\nRUN echo 2\nCOPY --from=one /etc /e"
    home.build(text, "-t", "filtered")
    home.build(text, "-t", "filtered", "--no-cache-filter", "one")
    assert sorted(cached(home)) == sorted([True, False, True, True, True])
    home.store.remove("filtered", force=True)
    home.store.collect()
    home.build(text)
    assert cached(home) == [True] * 5  # the collector has left what the cache needs
    assert home.lab.call("builder", "prune", "--all", "--force").returncode == 0
    home.build(text)
    assert cached(home).count(False) == 3


def test_cache_from_an_image(home: BuildHome, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /now\nENV A=1\nCOPY a.txt /"
    flags = ("--build-arg", "BUILDKIT_INLINE_CACHE=1", "-t", "carrier")
    first = home.build(text, *flags, files=CONTEXT)
    assert home.lab.call("builder", "prune", "--all", "--force").returncode == 0
    second = home.build(text, *flags, "--cache-from", "carrier")
    assert cached(home) == [True] * 4
    assert first.id == second.id


# --- what comes out -------------------------------------------------------------------------------


def test_source_date_epoch_makes_the_same_image_twice(home: BuildHome) -> None:
    text = "FROM busybox\nCOPY dir /d\nWORKDIR /w\nRUN echo 1 > /w/x\nCOPY <<a /h\n1\na"
    images = []
    home.write(CONTEXT)
    for _turn in range(2):
        done = home.call(text, "--no-cache", env={"SOURCE_DATE_EPOCH": "1000000000"})
        assert done.returncode == 0, done.stderr
        images.append(done.stdout)
        time.sleep(1.1)
    assert images[0] == images[1]
    config = home.store.image(images[0].strip()).config
    assert config.created == "2001-09-09T01:46:40Z"


def test_names_iidfile_and_quiet(home: BuildHome) -> None:
    done = home.call("FROM busybox\nENV Q=1", "-q", "-t", "q:1", "-t", "localhost:5000/q",
                     "--iidfile", f"{home.context}/id")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    image = home.store.image("q:1")
    assert done.stdout == f"{image.id}\n"
    assert (home.context / "id").read_text() == image.id
    assert sorted(image.tags) == ["localhost:5000/q:latest", "q:1"]


def test_outputs(home: BuildHome) -> None:
    text = "FROM scratch\nCOPY dir /d\nCOPY a.txt /"
    home.build(text, "-o", f"{home.context}/out", files={**CONTEXT, ".dockerignore": "out*"})
    assert (home.context / "out/d/sub/two").read_text() == "2"
    home.build(text, "-o", f"type=tar,dest={home.context}/out.tar")
    with tarfile.open(home.context / "out.tar") as tar:
        assert tar.getnames() == ["a.txt", "d", "d/link", "d/one", "d/sub", "d/sub/two"]
    home.build(text, "-t", "put-out", "-o", f"type=docker,dest={home.context}/out.docker")
    with tarfile.open(home.context / "out.docker") as tar:
        assert {"manifest.json", "index.json", "oci-layout"} <= set(tar.getnames())
    done = subprocess.run(home.lab.words("build", "-q", "-o", "type=tar", str(home.context)),
                          env=home.lab.env, capture_output=True, check=True)  # fmt: skip
    assert tarfile.open(fileobj=io.BytesIO(done.stdout)).getnames()[0] == "a.txt"


def test_squash(home: BuildHome) -> None:
    text = ("FROM busybox\nRUN mkdir /d && touch /d/1 /d/2 && rm /etc/group\nRUN rm -r /d /home && "
            "mkdir /home && touch /home/new\nRUN echo x > /x && ln /x /y")  # fmt: skip
    plain, squashed = home.build(text), home.build(text, "--squash")
    assert len(squashed.manifest.layers) == 2
    assert len(plain.manifest.layers) == 4
    assert home.listing(squashed) == home.listing(plain)
    assert cached(home) == [True] * 4


# --- where no overlay can be mounted --------------------------------------------------------------

ON_OVERLAY = """
mount -t tmpfs t "$1" && cd "$1" && mkdir lower upper work merged &&
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged &&
export LABCONTAINER_HOME="$1/merged/home" && shift && "$@" > /dev/null &&
cd merged/out && cat one seen && ls -d m home new run/secrets 2> /dev/null; ls ../home/images/builds
"""


def test_a_store_on_overlayfs_copies(
    home: BuildHome, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An overlay is no place for the upper directory of another: as in a container."""
    home.write({
        "Dockerfile": "FROM busybox AS o\nRUN echo 1 > /one && rmdir /home && mkdir -p /m/n\n"
                      "FROM o\nRUN --mount=from=o,source=/one,target=/x rm -r /m && mkdir /new && "
                      "cat /x > /seen && ! ls /home && test -f /etc/hosts",
    })  # fmt: skip
    top = tmp_path_factory.mktemp("top")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", ON_OVERLAY, "sh", str(top),
         *home.lab.words("build", "--network=none", "-o", f"{top}/merged/out", str(home.context))],
        env=home.lab.env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["1", "1", "new"], done.stderr
