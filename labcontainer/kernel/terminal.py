"""Terminals: pairs of pseudo-terminal descriptors, window sizes, raw mode. See pty(7), tty(4)."""

from __future__ import annotations

import fcntl
import os
import struct
import termios

TIOCGPTN = 0x80045430
TIOCSPTLCK = 0x40045431
TIOCGPTPEER = 0x5441

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Attributes = list[Any]


def open_pair(ptmx: str = "/dev/ptmx") -> tuple[int, int, str]:
    """A new terminal: (master, slave, name of the slave such as `/dev/pts/3`).

    The slave is opened through the master (TIOCGPTPEER, Linux 4.13), never by its path, which a
    hostile image could have made lead elsewhere.
    """
    master = os.open(ptmx, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
        number = struct.unpack("I", fcntl.ioctl(master, TIOCGPTN, bytes(4)))[0]
        flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
        slave = fcntl.ioctl(master, TIOCGPTPEER, flags)
    except OSError:
        os.close(master)
        raise
    return master, slave, f"/dev/pts/{number}"


def set_size(fd: int, rows: int, columns: int) -> None:
    """Tell a terminal how large its window is; its foreground process gets SIGWINCH."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


def get_size(fd: int) -> tuple[int, int]:
    """The (rows, columns) of a terminal."""
    rows, columns, _, _ = struct.unpack("4H", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    return rows, columns


def make_controlling(fd: int) -> None:
    """Make a terminal the controlling one of this session (setsid(2) comes first)."""
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)


def make_raw(fd: int) -> Attributes:
    """Pass every key on as it is, as cfmakeraw(3); the attributes before, for `restore`."""
    before = termios.tcgetattr(fd)
    raw = termios.tcgetattr(fd)
    off_in = termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
    raw[0] &= ~(off_in | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON)
    raw[1] &= ~termios.OPOST
    raw[2] = raw[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    raw[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
    termios.tcsetattr(fd, termios.TCSADRAIN, raw)
    return before


def restore(fd: int, attributes: Attributes) -> None:
    """Give a terminal the attributes back that it had before `make_raw`."""
    termios.tcsetattr(fd, termios.TCSADRAIN, attributes)
