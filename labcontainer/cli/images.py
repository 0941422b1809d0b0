"""`images rmi tag history`, and `image ls rm tag history inspect prune from-host`: what is here.

They work on this user's store, with or without a daemon.
"""

from __future__ import annotations

import sys

from labcontainer import errors
from labcontainer.cli import format as form
from labcontainer.cli import looking
from labcontainer.engine import moments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

    from labcontainer.image.store import Image, Store

    Row = dict[str, Any]

HEADERS = {
    "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "ID": "IMAGE ID",
    "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "Size": "SIZE",
}  # fmt: skip
COLUMNS = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
DIGEST_COLUMNS = COLUMNS.replace("{{.ID}}", "{{.Digest}}\t{{.ID}}")
FILTERS = ("dangling", "label", "label!", "reference", "before", "since", "until")
TRUTHS = {"1": True, "true": True, "t": True, "0": False, "false": False, "f": False}


def store() -> Store:
    """This user's images."""
    from labcontainer.image.store import Store

    return Store()


# --- images ---------------------------------------------------------------------------------------


def configure_images(parser: ArgumentParser) -> None:
    """The words of `labcontainer images`."""
    parser.add_argument("-a", "--all", action="store_true", help="taken for Docker's sake")
    parser.add_argument("--digests", action="store_true", help="where they came from, by digest")
    looking.add_filter(parser)
    form.add_options(parser, quiet="only the ids")
    parser.add_argument("--no-trunc", action="store_true", help="whole ids")
    parser.add_argument("repository", nargs="?", default="", metavar="REPOSITORY[:TAG]")


def run_images(args: Namespace) -> int:
    """List images."""
    words = looking.filters(args.filter) or {}
    patterns = words.get("reference", [])
    asked = [args.repository] if args.repository else []
    rows = [
        row
        for image in chosen(store(), words)
        for row in image_rows(image, whole=args.no_trunc, digests=args.digests)
        if fits(row, asked) and fits(row, patterns)
    ]
    columns = DIGEST_COLUMNS if args.digests else COLUMNS
    print(form.listing(rows, headers=HEADERS, columns=columns, form=args.format,
                       quiet=args.quiet), end="")  # fmt: skip
    return 0


def chosen(where: Store, filters: dict[str, list[str]]) -> list[Image]:
    """The images that fit all filters, as Docker has them.

    Raises:
        UsageError: there is no such filter.
    """
    unknown = sorted(set(filters) - set(FILTERS))
    if unknown:
        raise errors.UsageError(f"invalid filter {unknown[0]!r}: {', '.join(FILTERS)}")
    found = where.images()
    for word in filters.get("dangling", ()):
        found = [one for one in found if bool(one.tags) != _truth("dangling", word)]
    for word in filters.get("label", ()):
        found = [one for one in found if has_label(one.config.config.get("Labels"), word)]
    for word in filters.get("label!", ()):
        found = [one for one in found if not has_label(one.config.config.get("Labels"), word)]
    if patterns := filters.get("reference"):
        found = [one for one in found if any(_fits(name, patterns) for name in one.tags)]
    return _by_age(where, found, filters)


def _truth(key: str, word: str) -> bool:
    if word.lower() not in TRUTHS:
        raise errors.UsageError(f"invalid filter '{key}={word}': true or false")
    return TRUTHS[word.lower()]


def _by_age(where: Store, found: list[Image], filters: dict[str, list[str]]) -> list[Image]:
    for word in filters.get("until", ()):
        end = float(moments.stamp(word) or 0)
        found = [one for one in found if _created(one.config.created) < end]
    for word in filters.get("before", ()):
        moment = _created(where.image(word).config.created)
        found = [one for one in found if _created(one.config.created) < moment]
    for word in filters.get("since", ()):
        moment = _created(where.image(word).config.created)
        found = [one for one in found if _created(one.config.created) > moment]
    return found


def has_label(labels: dict[str, str] | None, word: str) -> bool:
    """Whether there is a label KEY, or KEY=VALUE."""
    key, equals, value = word.partition("=")
    return key in (labels or {}) and (not equals or (labels or {})[key] == value)


def matches(name: str, pattern: str) -> bool:
    """Whether a name fits a pattern, with or without its tag; `*` ends at a slash, as Docker's."""
    return _matches(name, pattern) or _matches(name.rpartition(":")[0], pattern)


def _matches(name: str, pattern: str) -> bool:
    from fnmatch import fnmatchcase

    parts, wanted = name.split("/"), pattern.replace("[^", "[!").split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def fits(row: Row, patterns: list[str]) -> bool:
    """Whether a row is of a repository that was asked for; without any, all are."""
    return not patterns or _fits(f"{row['Repository']}:{row['Tag']}", patterns)


def _fits(name: str, patterns: list[str]) -> bool:
    return any(matches(name, pattern) for pattern in patterns)


def image_rows(image: Image, *, whole: bool, digests: bool = False) -> list[Row]:
    """A row for each of an image's names; one of `<none>` where it has none."""
    from labcontainer.image.reference import parse
    from labcontainer.image.snapshots import Snapshots

    created = _created(image.config.created)
    size = Snapshots(store()).size(image)
    shared = {
        "ID": image.id if whole else form.short(image.id),
        "CreatedSince": f"{moments.ago(created)} ago" if created else "N/A",
        "CreatedAt": looking.local_time(created) if created else "N/A",
        "Size": form.size(size),
        "VirtualSize": form.size(size),
        **dict.fromkeys(("Containers", "SharedSize", "UniqueSize"), "N/A"),
    }
    by_name = {parse(name).familiar_name: parse(name).digest for name in image.digests}
    rows = []
    for name in image.tags or ("<none>:<none>",):
        repository, _, tag = name.rpartition(":")
        digest = by_name.get(repository, "<none>")
        rows.append({"Repository": repository, "Tag": tag, "Digest": digest, **shared})
    if not image.tags and by_name and digests:
        rows = [{**rows[0], "Repository": name, "Digest": digest}
                for name, digest in by_name.items()]  # fmt: skip
    return rows


def _created(text: str) -> float:
    try:
        return moments.moment(text)
    except errors.UsageError:
        return 0.0


# --- rmi, tag, history ----------------------------------------------------------------------------


def configure_rmi(parser: ArgumentParser) -> None:
    """The words of `labcontainer rmi`."""
    parser.add_argument("-f", "--force", action="store_true", help="all names of it, used or not")
    parser.add_argument("--no-prune", action="store_true", help="taken for Docker's sake")
    parser.add_argument("names", nargs="+", metavar="IMAGE", help="names or ids")


def run_rmi(args: Namespace) -> int:
    """Take names away, and images with their last name."""
    where, status = store(), 0
    for name in args.names:
        try:
            removed = where.remove(name, force=args.force, in_use=used_by)
        except errors.LabError as error:
            print(f"Error: {error}", file=sys.stderr)
            status = 1
            continue
        for what, one in removed:
            print(f"{what.capitalize()}: {one}")
    return status


def used_by(identity: str) -> str:
    """Who uses an image: "" for nobody."""
    from labcontainer.engine import leftovers

    return "a running container is using it" if leftovers.in_use(identity) else ""


def configure_tag(parser: ArgumentParser) -> None:
    """The words of `labcontainer tag`."""
    parser.add_argument("image", metavar="IMAGE", help="a name or id")
    parser.add_argument("name", metavar="NAME[:TAG]", help="one more name of it")


def run_tag(args: Namespace) -> int:
    """Give an image one more name."""
    from labcontainer.image import reference

    name = reference.parse(args.name)
    if name.digest:
        raise errors.UsageError("a name with a digest can't be given: the content has its own")
    where = store()
    where.tag(name, where.resolve(args.image))
    return 0


HISTORY_HEADERS = {"ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT",
                   "CreatedBy": "CREATED BY", "Size": "SIZE", "Comment": "COMMENT"}  # fmt: skip
HISTORY_COLUMNS = "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}"
EXACT_COLUMNS = HISTORY_COLUMNS.replace("CreatedSince", "CreatedAt")


def configure_history(parser: ArgumentParser) -> None:
    """The words of `labcontainer history`."""
    form.add_options(parser, quiet="only the ids")
    parser.add_argument("--no-trunc", action="store_true", help="whole ids and commands")
    parser.add_argument("-H", "--human", nargs="?", const="true", default="true", metavar="BOOL",
                        help="sizes and times for people (default)")  # fmt: skip
    parser.add_argument("image", metavar="IMAGE", help="a name or id")


def run_history(args: Namespace) -> int:
    """List an image's instructions, the newest first."""
    image = store().image(args.image)
    human = args.human.lower() not in ("false", "0")
    rows = history_rows(image, whole=args.no_trunc, human=human)
    columns = HISTORY_COLUMNS if human else EXACT_COLUMNS
    print(form.listing(rows, headers=HISTORY_HEADERS, columns=columns, form=args.format,
                       quiet=args.quiet), end="")  # fmt: skip
    return 0


def history_rows(image: Image, *, whole: bool, human: bool) -> list[Row]:
    """A row for each instruction, with the size of the layer that it made."""
    from labcontainer.image.snapshots import Snapshots

    snapshots = Snapshots(store())
    sizes = []
    for diff_id, layer in zip(image.config.diff_ids, image.manifest.layers, strict=True):
        about = snapshots.about(diff_id)
        sizes.append(about.size if about else layer.size)
    rows: list[Row] = []
    for one in image.config.history or ({},) * len(sizes):
        size = 0 if one.get("empty_layer") or not sizes else sizes.pop(0)
        created = _created(str(one.get("created", "")))
        command = form.printable(" ".join(str(one.get("created_by", "")).split()))
        rows.append({
            "ID": "<missing>",
            "CreatedSince": f"{moments.ago(created)} ago" if created else "N/A",
            "CreatedAt": looking.date(created) if created else "N/A",
            "CreatedBy": command if whole else form.ellipsis(command, 45),
            "Size": form.size(size) if human else str(size),
            "Comment": form.printable(str(one.get("comment", ""))),
        })  # fmt: skip
    rows.reverse()
    if rows:
        rows[0]["ID"] = image.id if whole else form.short(image.id)
    return rows
