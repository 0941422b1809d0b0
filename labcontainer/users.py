"""Users of a container: id maps, subordinate ids, rootless, and who `--user name` is.

A user namespace shows user and group numbers through a map. Who is 0 inside can be 1000 outside:
root over the namespaces that it made, and an ordinary user for the rest of the machine.
Sources: user_namespaces(7), newuidmap(1), subuid(5), runtime-spec config.md "User".
"""

from __future__ import annotations

import errno
import os

from labcontainer.errors import NotFoundError, SpecError, UnsupportedError
from labcontainer.kernel import confined, files, syscalls
from labcontainer.kernel.flags import CLONE
from labcontainer.kernel.signals import signal
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class IdMap(Record):
    """`size` ids from `container_id` on inside are those from `host_id` on outside."""

    container_id: int
    host_id: int
    size: int = 1

    def __str__(self) -> str:
        return f"{self.container_id} {self.host_id} {self.size}"


class Step(Record):
    """One line of a plan."""

    action: str
    why: str

    def __str__(self) -> str:
        return f"{self.action}  # {self.why}"


OVERFLOW_ID = 65534  # what the kernel shows for an id that has no place in the map: nobody
_MAX_ID = 0xFFFFFFFF


# --- maps ----------------------------------------------------------------------------------------


def to_host(maps: Sequence[IdMap], container_id: int) -> int | None:
    """The number outside for one inside; None where the map has no place for it."""
    for one in maps:
        if one.container_id <= container_id < one.container_id + one.size:
            return one.host_id + container_id - one.container_id
    return None


def to_container(maps: Sequence[IdMap], host_id: int) -> int | None:
    """The number inside for one outside; None where the map has no place for it."""
    for one in maps:
        if one.host_id <= host_id < one.host_id + one.size:
            return one.container_id + host_id - one.host_id
    return None


def check_maps(maps: Sequence[IdMap], where: str = "id map") -> None:
    """Refuse what the kernel would answer with a bare EINVAL.

    Raises:
        SpecError: empty or overlapping ranges, ids out of range, more than 340 lines.
    """
    if not 0 < len(maps) <= 340:  # user_namespaces(7): 340 lines since Linux 4.15
        raise SpecError(where, f"has {len(maps)} ranges, 1 to 340 are allowed")
    for one in maps:
        highest = max(one.container_id, one.host_id) + one.size - 1
        if one.size < 1 or one.container_id < 0 or one.host_id < 0 or highest >= _MAX_ID:
            raise SpecError(where, f"range {one} is empty or outside of the 32-bit ids")
    for side in ("container_id", "host_id"):
        ranges = sorted(((getattr(one, side), one) for one in maps), key=_first)
        end, before = -1, None
        for start, one in ranges:
            if start < end:
                raise SpecError(where, f"ranges {before} and {one} overlap")
            end, before = start + one.size, one


def _first(pair: tuple[int, IdMap]) -> int:
    return pair[0]


def subordinate_ranges(user: str | int, path: str = "/etc/subuid") -> tuple[tuple[int, int], ...]:
    """The (start, count) ranges that a user may map besides their own id (subuid(5)).

    `user` is a login name or a number; lines for either count. Lines that are torn are passed over.
    """
    names = {str(user)}
    if isinstance(user, int):
        import pwd

        try:
            names.add(pwd.getpwuid(user).pw_name)
        except KeyError:
            pass
    ranges = []
    for owner, start, count in _table(path, 3):
        if owner in names and start.isdecimal() and count.isdecimal() and int(count):
            ranges.append((int(start), int(count)))
    return tuple(ranges)


def _table(path: str, columns: int) -> Iterator[list[str]]:
    """The lines of a host file like /etc/subuid that have so many columns."""
    try:
        text = files.read(path)
    except OSError:
        return
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) == columns:
            yield fields


def maps_with_ranges(own_id: int, ranges: Sequence[tuple[int, int]]) -> tuple[IdMap, ...]:
    """0 inside is `own_id`, and the ranges follow from 1 on."""
    maps, following = [IdMap(0, own_id, 1)], 1
    for start, count in ranges:
        maps.append(IdMap(following, start, count))
        following += count
    return tuple(maps)


def rootless_maps(uid: int, gid: int) -> tuple[tuple[IdMap, ...], tuple[IdMap, ...]]:
    """The (uid maps, gid maps) for a container of an ordinary user.

    With subordinate ranges and the helpers that may use them: a whole system's ids. Else the one
    id that anybody may map: root inside is the user, and nobody else exists.
    """
    from shutil import which

    uids, gids = subordinate_ranges(uid), subordinate_ranges(uid, "/etc/subgid")
    if not (uids and gids and which("newuidmap") and which("newgidmap")):
        uids = gids = ()
    return maps_with_ranges(uid, uids), maps_with_ranges(gid, gids)


def plan(uid_maps: Sequence[IdMap], gid_maps: Sequence[IdMap]) -> tuple[Step, ...]:
    """How `write_maps` will write these maps as the calling user; no call is made."""
    steps = []
    direct = _may_write_any_map()
    if not direct and _is_own_id(gid_maps, os.getegid()):
        steps.append(
            Step(
                "write 'deny' to setgroups",
                "else dropping a group could open a file: CVE-2014-8989",
            )
        )
    for kind, maps, own in (("gid", gid_maps, os.getegid()), ("uid", uid_maps, os.geteuid())):
        lines = "; ".join(str(one) for one in maps)
        if direct:
            steps.append(Step(f"write '{lines}' to {kind}_map", "the writer has CAP_SETUID"))
        elif _is_own_id(maps, own):
            steps.append(Step(f"write '{lines}' to {kind}_map", "a single id, the writer's own"))
        else:
            steps.append(Step(f"new{kind}map PID {lines}", f"allowed by /etc/sub{kind}"))
    return tuple(steps)


def write_maps(pid: int, uid_maps: Sequence[IdMap], gid_maps: Sequence[IdMap]) -> None:
    """Write the maps of the user namespace that `pid` made. Once only, and from outside.

    Directly where the kernel lets the caller: root, or a single line with the caller's own id (then
    setgroups(2) must be denied first); else by newuidmap(1) and newgidmap(1).

    Raises:
        SpecError: maps that the kernel would refuse.
        UnsupportedError: the helpers are needed and not installed, or they refuse the ranges.
        OSError: the kernel refused.
    """
    check_maps(uid_maps, "uid map")
    check_maps(gid_maps, "gid map")
    direct = _may_write_any_map()
    if not direct and _is_own_id(gid_maps, os.getegid()):
        files.write(f"/proc/{pid}/setgroups", "deny")
    _write_map(pid, "gid", gid_maps, direct or _is_own_id(gid_maps, os.getegid()))
    _write_map(pid, "uid", uid_maps, direct or _is_own_id(uid_maps, os.geteuid()))


def _may_write_any_map() -> bool:
    """Whether the caller has CAP_SETUID and CAP_SETGID (bits 7 and 6)."""
    effective = syscalls.capget()[0]
    return effective & 0xC0 == 0xC0


def _is_own_id(maps: Sequence[IdMap], own: int) -> bool:
    return len(maps) == 1 and maps[0].size == 1 and maps[0].host_id == own


def _write_map(pid: int, kind: str, maps: Sequence[IdMap], direct: bool) -> None:
    if direct:
        files.write(f"/proc/{pid}/{kind}_map", "".join(f"{one}\n" for one in maps))
        return
    _run_helper(f"new{kind}map", pid, [word for one in maps for word in str(one).split()])


def _run_helper(name: str, pid: int, words: list[str]) -> None:
    """Run newuidmap or newgidmap, which are setuid root and check /etc/subuid, /etc/subgid."""
    import subprocess
    from shutil import which

    program = which(name)
    if program is None:
        raise UnsupportedError(
            "a map of several ids", f"{name} is not installed", "install the package uidmap"
        )
    done = subprocess.run([program, str(pid), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        why = done.stderr.strip() or f"{name} ended with status {done.returncode}"
        table = "/etc/subuid" if name == "newuidmap" else "/etc/subgid"
        raise UnsupportedError("a map of several ids", why, f"give the user a range in {table}")


def open_mapped_namespace(uid_maps: Sequence[IdMap], gid_maps: Sequence[IdMap]) -> int:
    """A descriptor of a new user namespace with these maps and nobody in it.

    For id-mapped mounts (`Mount.idmap_fd`): mount_setattr(2) takes the maps in this form. A short
    child makes the namespace; the descriptor keeps it. The caller closes it.
    """
    ready, ready_there = os.pipe()
    child = os.fork()
    if child == 0:
        _hold_namespace(ready_there)
    try:
        os.close(ready_there)
        answer = os.read(ready, 16)
        if answer != b"0":
            code = int(answer or b"5")
            raise OSError(code, os.strerror(code), "unshare(CLONE.NEWUSER)")
        write_maps(child, uid_maps, gid_maps)
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _hold_namespace(ready: int) -> None:
    """In the child: a new user namespace, and wait to be ended."""
    code = 0
    try:
        syscalls.unshare(CLONE.NEWUSER)
    except OSError as error:
        code = error.errno or errno.EIO
    os.write(ready, str(code).encode())
    while not code:
        signal.pause()
    os._exit(1)


# --- becoming someone ----------------------------------------------------------------------------


def become(uid: int, gid: int, additional_gids: Sequence[int] = ()) -> None:
    """Change to a user for good: groups first, for after setresuid(2) nobody may change them.

    Raises:
        SpecError: an id that has no place in the user namespace's map.
        UnsupportedError: more groups are wanted and setgroups(2) is denied (a single-id map).
    """
    groups = list(additional_gids)
    try:
        os.setgroups(groups)
    except OSError as error:
        # In a namespace whose setgroups is denied, having none to set is no failure.
        if error.errno == errno.EPERM and groups:
            why = "setgroups(2) is denied in this user namespace"
            raise UnsupportedError("additional groups", why, "map more ids") from error
        if error.errno != errno.EPERM:
            raise _unmapped(error, f"groups {groups}") from error
    try:
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise _unmapped(error, f"user {uid}, group {gid}") from error


def _unmapped(error: OSError, who: str) -> OSError | SpecError:
    if error.errno == errno.EINVAL:
        return SpecError(who, "is not in the id map of the user namespace")
    return error


# --- who is `--user name` ------------------------------------------------------------------------


class User(Record):
    """A user as the container's own files describe them."""

    uid: int = 0
    gid: int = 0
    gids: tuple[int, ...] = ()  # additional groups
    home: str = "/"
    name: str = ""


FILE_LIMIT = 1 << 20  # bytes of /etc/passwd or /etc/group that are read
_LARGEST_ID = (1 << 31) - 1  # Docker's own bound


def lookup_user(who: str, root_fd: int = confined.HERE) -> User:
    """The user that `who` means in a container: "", "name", "1000", "name:group", "1000:100".

    /etc/passwd and /etc/group are read inside the root directory `root_fd`, wherever links in it
    lead. A number needs no line there. Additional groups are given only where no group is named.

    Raises:
        NotFoundError: a name that the files do not have.
        SpecError: a number out of range, or a file that is not a regular one.
    """
    user_word, colon, group_word = (who or "0").partition(":")
    user = _find_user(user_word or "0", _entries(root_fd, "etc/passwd", 7))
    if not colon and not user.name:
        return user
    groups = _entries(root_fd, "etc/group", 4)
    if colon and group_word:
        return user.replace(gid=_find_group(group_word, groups))
    extra = [
        number
        for entry in groups
        if user.name in entry[3].split(",") and (number := _id(entry[2])) is not None
    ]
    return user.replace(gids=tuple(dict.fromkeys(extra)))


def lookup_groups(words: Sequence[str], root_fd: int = confined.HERE) -> tuple[int, ...]:
    """The numbers of groups given by name or number (`--group-add`)."""
    groups = _entries(root_fd, "etc/group", 4)
    return tuple(_find_group(word, groups) for word in words)


def _find_user(word: str, entries: list[list[str]]) -> User:
    number = _id(word)
    for entry in entries:
        uid, gid = _id(entry[2]), _id(entry[3])
        if uid is not None and gid is not None and (entry[0] == word or uid == number):
            return User(uid, gid, (), entry[5] or "/", entry[0])
    if number is not None:
        return User(number)
    if word.isdecimal():
        raise SpecError(f"user {word}", f"is outside of 0 to {_LARGEST_ID}")
    raise NotFoundError(f"unable to find user {word}: no matching entries in passwd file")


def _find_group(word: str, entries: list[list[str]]) -> int:
    for entry in entries:
        number = _id(entry[2])
        if entry[0] == word and number is not None:
            return number
    number = _id(word)
    if number is not None:
        return number
    if word.isdecimal():
        raise SpecError(f"group {word}", f"is outside of 0 to {_LARGEST_ID}")
    raise NotFoundError(f"unable to find group {word}: no matching entries in group file")


def _id(word: str) -> int | None:
    """The id that a word is, None for a name or a number out of range."""
    if not (word.isascii() and word.isdecimal() and len(word) < 12):
        return None
    number = int(word)
    return number if number <= _LARGEST_ID else None


def _entries(root_fd: int, path: str, columns: int) -> list[list[str]]:
    """The whole lines of a table in the container; none where the file is missing.

    A torn last line, comments and lines of another shape are passed over.
    """
    try:
        # O_NONBLOCK: a FIFO in the place of the file would wait for a writer for ever.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
        fd = confined.open_in(root_fd, path, flags)
    except (FileNotFoundError, NotADirectoryError):
        return []
    try:
        from stat import S_ISREG

        if not S_ISREG(os.fstat(fd).st_mode):
            raise SpecError(f"/{path}", "is not a regular file in this container")
        data = b""
        while len(data) < FILE_LIMIT and (part := os.read(fd, FILE_LIMIT - len(data))):
            data += part
    finally:
        os.close(fd)
    lines = data.decode(errors="surrogateescape").splitlines()
    return [entry for line in lines if len(entry := line.split(":")) == columns]
