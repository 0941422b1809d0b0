"""Rows of a list as Docker prints them: a table, JSON lines, or a template of the user's.

rows = [{"ID": "4be1…", "Names": "web"}, …]
print(listing(rows, headers={"ID": "CONTAINER ID", …}, columns="{{.ID}}\\t{{.Names}}",
              form=args.format, quiet=args.quiet))
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from typing import Any

    Row = dict[str, Any]

NARROWEST, PADDING = 10, 3  # of a column, as Docker's tabwriter has them
HELP = "a table (default), json, or a Go template such as '{{.ID}}' or 'table {{.ID}}\\t{{.Size}}'"


def add_options(parser: ArgumentParser, *, quiet: str = "") -> None:
    """`--format`, and `--quiet` with this help."""
    parser.add_argument("--format", default="", metavar="FORM", help=HELP)
    if quiet:
        parser.add_argument("-q", "--quiet", action="store_true", help=quiet)


def listing(
    rows: list[Row],
    *,
    headers: dict[str, str],
    columns: str,
    form: str = "",
    quiet: bool = False,
    identity: str = "ID",
) -> str:
    """The text of a whole list, with its last line break; "" for an empty one without headers.

    Raises:
        UsageError: the template is off.
    """
    if quiet and not form:
        return "".join(f"{row[identity]}\n" for row in rows)
    if form == "json":
        return "".join(f"{_json(row)}\n" for row in rows)
    if not form or form == "table":
        return table(rows, headers, columns)
    from labcontainer.cli.template import Template

    text = form.replace("\\t", "\t").replace("\\n", "\n")
    if form.startswith("table "):
        return table(rows, headers, text.removeprefix("table "))
    template = Template(text)
    return "".join(f"{template.render(row)}\n" for row in rows)


def _json(row: Row) -> str:
    from labcontainer.cli.template import to_json

    return to_json({name: row[name] for name in sorted(row) if not callable(row[name])})


def table(rows: list[Row], headers: dict[str, str], columns: str) -> str:
    """Columns under their headers; a tab in `columns` begins a new one."""
    from labcontainer.cli.template import Template

    template = Template(columns)
    head: Row = {name: headers.get(name, name.upper()) for name in _names(rows, headers)}
    head["Label"] = lambda name: str(name).rpartition(".")[2]
    lines = [template.render(one).split("\t") for one in (head, *rows)]
    return align(lines)


def _names(rows: list[Row], headers: dict[str, str]) -> list[str]:
    return [*headers, *(name for name in (rows[0] if rows else ()) if name not in headers)]


def align(lines: list[list[str]], narrowest: int = NARROWEST) -> str:
    """Cells below one another, the last of a line as long as it is."""
    widths: dict[int, int] = {}
    for line in lines:
        for place, cell in enumerate(line[:-1]):
            widths[place] = max(widths.get(place, narrowest), len(cell) + PADDING)
    return "".join(
        "".join(cell.ljust(widths.get(place, 0)) for place, cell in enumerate(line[:-1]))
        + f"{line[-1]}\n"
        for line in lines
    )


def size(count: float, digits: int = 3) -> str:
    """Bytes for people, as Docker has them: powers of 1000, three significant digits.

    `system df` and what is reclaimed have four (go-units: HumanSizeWithPrecision, HumanSize).
    """
    units = ("B", "kB", "MB", "GB", "TB", "PB")
    place = 0
    while count >= 1000 and place < len(units) - 1:
        count, place = count / 1000, place + 1
    return f"{count:.{digits}g}{units[place]}"


def binary_size(count: float) -> str:
    """Bytes in powers of 1024: `7.062MiB`."""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    place = 0
    while count >= 1024 and place < len(units) - 1:
        count, place = count / 1024, place + 1
    return f"{count:.4g}{units[place]}"


def short(identity: str, whole: bool = False) -> str:
    """The first twelve digits of an id."""
    return identity if whole else identity.removeprefix("sha256:")[:12]


_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t",
            "\v": "\\v", "\\": "\\\\", '"': '\\"'}  # fmt: skip


def quoted(text: str) -> str:
    """A text in quotes, as Go's strconv.Quote: what moves a terminal's cursor is written out."""
    return f'"{"".join(_ESCAPES.get(one) or printable(one) for one in text)}"'


def printable(text: str) -> str:
    """A stranger's text without what a terminal would obey, which is written out instead."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode()
        for one in text
    )


def ellipsis(text: str, most: int) -> str:
    """At most so many letters, the last of which says that some are missing."""
    return text if len(text) <= most else text[: most - 1] + "…"
