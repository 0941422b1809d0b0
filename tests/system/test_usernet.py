"""A network without root: an ordinary user's container, a router in user space, real packets."""

from __future__ import annotations

import os
import signal
import stat

import pytest

from labcontainer import ports, usernet
from labcontainer.errors import LabError
from labcontainer.kernel import files, syscalls
from labcontainer.kernel.flags import CLONE, MS
from tests.system import forked, net_world
from tests.system.lab_home import eventually
from tests.system.net_world import HOST, OUTSIDE, Place, World

pytestmark = [
    pytest.mark.requires("root", "bridge", "busybox", "slirp4netns"),
    pytest.mark.skipif(not os.path.exists("/dev/net/tun"), reason="no tun driver: /dev/net/tun"),
]
USER = 1000


def a_users_container(room: str) -> int:
    """A process of user 1000 in a user and a network namespace of its own."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        forked.become_user(USER)
        syscalls.unshare(CLONE.NEWUSER | CLONE.NEWNET)
        files.write("/proc/self/setgroups", "deny")
        files.write("/proc/self/gid_map", f"0 {USER} 1")
        files.write("/proc/self/uid_map", f"0 {USER} 1")
        os.write(tell, b"x")
        signal.pause()
        os._exit(0)
    os.close(tell)  # so that its end, too, is read
    assert os.read(ready, 1) == b"x"
    os.close(ready)
    # The machine's own device may be root's alone: one of the same number for everybody.
    os.mknod(f"{room}/tun", stat.S_IFCHR | 0o666, os.makedev(10, 200))
    os.chmod(f"{room}/tun", 0o666)
    syscalls.mount(f"{room}/tun", "/dev/net/tun", None, MS.BIND)
    return pid


def router(pid: int, published: str, ready: int, end: int) -> None:
    """As the user: start the router, say so, and close it when told."""
    forked.become_user(USER)
    try:
        settled = usernet.settled(ports.parse(published))
        running = usernet.start(usernet.plan(pid, settled))
        os.write(ready, b"r")
        os.read(end, 1)
        running.close()
        os.write(ready, b"c")
    except LabError as error:
        os.write(ready, str(error).encode())
    finally:
        os._exit(0)


def out_and_in(world: World, room: str) -> None:
    world.host.run("ip", "route", "add", "default", "via", OUTSIDE)
    pid = a_users_container(room)
    container = Place(pid)
    (ready, tell), (end, stop) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        router(pid, "8080:80", tell, end)
    assert os.read(ready, 200) == b"r"
    assert "10.0.2.100/24" in container.run("ip", "address", "show", "eth0")
    assert container.reaches(world.outside.listens(99), OUTSIDE, 99) == HOST
    assert world.outside.reaches(container.listens(80), HOST, 8080) == OUTSIDE
    os.write(stop, b"x")
    assert os.read(ready, 200) == b"c"
    os.waitpid(child, 0)
    assert "eth0" not in container.run("ip", "link")
    assert "refused" in world.outside.reaches(container.listens(81), HOST, 8080)


def test_an_ordinary_users_container_gets_out_and_is_reached(tmp_path: object) -> None:
    net_world.run(out_and_in, str(tmp_path))


def taken(world: World, room: str) -> str:
    pid = a_users_container(room)
    busy = world.host.listens(8080)
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        router(pid, "8080:80", tell, ready)
    said = os.read(ready, 300).decode()
    os.waitpid(child, 0)
    busy.close()
    return said


def test_a_port_that_is_taken_is_told_and_the_router_ends(tmp_path: object) -> None:
    said = net_world.run(taken, str(tmp_path))
    assert said == "Bind for 0.0.0.0:8080 failed: port is already allocated"


def killed(_world: World, room: str) -> bool:
    """kill -9 of the one who started it: the router sees its end."""
    pid = a_users_container(room)
    container = Place(pid)
    (ready, tell), (end, _stop) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        router(pid, "8080:80", tell, end)
    assert os.read(ready, 200) == b"r"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return eventually(lambda: "eth0" not in container.run("ip", "link"))


def test_the_router_ends_with_whoever_started_it(tmp_path: object) -> None:
    assert net_world.run(killed, str(tmp_path))
