"""dockerfile.slim: a whole Dockerfile, whose image keeps nothing that only the build needed."""

from __future__ import annotations

import os
import random

from labcontainer import union
from labcontainer.build import builder, context
from labcontainer.build.errors import DockerfileError, RunError
from labcontainer.build.options import Options
from labcontainer.engine import buildsteps
from labcontainer.errors import LabError
from labcontainer.image import hostbase, hostimage
from labcontainer.image.snapshots import Snapshots
from labcontainer.image.store import Image, Store
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def slim() -> str:
    """A Dockerfile, from its first line on. The base image is `tools`.

    In the context are page.md and a directory `compiler`. The program
    `sh compiler/compile < page.md` prints a page; the image must have it as /srv/page.html,
    and nothing of the compiler, in no layer.
    """
    return ...
'''

SOLUTION = HOLE.replace(
    "    return ...\n",
    '''\
    return """
        FROM tools AS compile
        COPY compiler compiler
        COPY page.md .
        RUN sh compiler/compile < page.md > page.html

        FROM tools
        COPY --from=compile /page.html /srv/page.html
    """
''',
)

ONE_STAGE = HOLE.replace(
    "    return ...\n",
    '''\
    return """
        FROM tools
        COPY compiler /compiler
        COPY page.md /srv/
        RUN sh /compiler/compile < /srv/page.md > /srv/page.html
    """
''',
)
REMOVED = ONE_STAGE.replace("page.html\n", "page.html\n        RUN rm -r /compiler\n")
COPIED = SOLUTION.replace("COPY --from=compile /page.html", "COPY page.md")
NOT_THERE = SOLUTION.replace("COPY --from=compile /page.html", "COPY page.html")
STORE = "/mnt/images"


def check(trial: Trial) -> Outcome:
    os.umask(0o022)
    os.environ["TMPDIR"] = trial.room
    store = Store(STORE)
    tools = hostbase.recipe("tools", ("sh", "cat", "sed", "rm"))
    base, _ = hostimage.make(store, tools)
    word = trial.token("word")
    files: dict[str, str | bytes | None] = {
        "compiler/data": random.Random(0).randbytes(2 << 20),
        "compiler/compile": "sed 's,^# \\(.*\\),<h1>\\1</h1>,'\n",
        "page.md": f"# {word}\n",
    }
    folder = trial.directory("project", files)
    text = trial.call("slim")
    try:
        image = _build(store, folder, str(text))
    except (DockerfileError, RunError, LabError) as error:
        return not_yet(
            expected="a Dockerfile that builds",
            observed=" ".join(str(error).split())[:160],
            where="the line that is named",
            hint="What a stage has not got it must copy: from the context, or from another stage.",
        )
    return _page(store, image, word) or _size(store, image, base)


def _build(store: Store, folder: str, text: str) -> Image:
    options = Options(("slim:1",), newest=0, network="none", side_by_side=False)
    lines = "\n".join(line.strip() for line in text.splitlines())
    files = context.of_directory(folder, text=lines.encode())
    return builder.build(files, options, store, buildsteps.Containers(store))


def _page(store: Store, image: Image, word: str) -> Outcome | None:
    for layer in Snapshots(store).unpack(image):
        path = f"{layer}/srv/page.html"
        if os.path.exists(path):
            with open(path) as file:
                found = file.read().strip()
            if found == f"<h1>{word}</h1>":
                return None
            return not_yet(
                expected="/srv/page.html as the compiler prints it",
                observed="another text",
                where="what you copy",
                hint="It must be what `sh compiler/compile < page.md` prints, not its source.",
            )
    return not_yet(expected="/srv/page.html in the image", observed="no such file", where="COPY")


def _size(store: Store, image: Image, base: Image) -> Outcome:
    more = image.packed_size - base.packed_size
    if more < 1 << 20:
        return done("the page is there, and no byte of the compiler", f"{more} bytes over the base")
    removed = any(union.is_whiteout(f"{one}/compiler") for one in Snapshots(store).unpack(image))
    return not_yet(
        expected="no layer with the compiler",
        observed=f"{more >> 20} MiB more than the base image",
        where="the last stage",
        hint="What a later step removes is hidden, and still sent: it needs a second FROM."
        if removed
        else "Begin anew with a second FROM, and take only the page: COPY --from=.",
    )


EXERCISE = Exercise(
    id="dockerfile.slim",
    notebook="12_dockerfile",
    title="A whole Dockerfile",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    seconds=40,
    hints=(
        "Two stages: one that has the compiler and makes the page, one that has the page.",
        "FROM tools AS compile, COPY, RUN …; then FROM tools and COPY --from=compile.",
        "The last line: COPY --from=compile /page.html /srv/page.html",
    ),
    wrong=(
        Wrong(ONE_STAGE, "Begin anew with a second FROM"),
        Wrong(REMOVED, "hidden, and still sent"),
        Wrong(COPIED, "not its source"),
        Wrong(NOT_THERE, "What a stage has not got"),
    ),
)
