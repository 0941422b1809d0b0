"""registry.unsent: find the fault in an HTTP trace."""

from __future__ import annotations

from labcontainer.image import documents
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def unsent(trace: list[str], repository: str, needed: list[str]) -> list[str]:
    """Which digests a registry has not got in `repository`, after what a trace shows.

    A line is "METHOD /path STATUS". The registry has a blob if a HEAD of it was answered with 200,
    or a PUT that ends its upload (…?digest=DIGEST) with 201.
    """
    there = set()
    for line in trace:
        method, path, status = line.split()
        ...
    return [digest for digest in needed if digest not in there]
'''

_READ = """\
        if not path.startswith(f"/v2/{repository}/blobs/"):
            continue
        if method == "HEAD" and status == "200":
            there.add(path.rpartition("/")[2])
        if method == "PUT" and status == "201":
            there.add(path.rpartition("digest=")[2])
"""
SOLUTION = HOLE.replace("        ...\n", _READ)

ANY_STATUS = SOLUTION.replace(' and status == "201"', "")
ANY_REPOSITORY = SOLUTION.replace(_READ[: _READ.index("        if method")], "")
NO_HEAD = SOLUTION.replace('method == "HEAD" and status == "200"', "False")
ANY_HEAD = SOLUTION.replace(' and status == "200"', "")


def check(trial: Trial) -> Outcome:
    digests = {
        what: documents.digest_of(f"{what}{trial.secret()}".encode())
        for what in ("sent", "there", "asked", "refused", "elsewhere", "open")
    }
    name = trial.token("name")
    trace = _trace(name, digests)
    needed = list(digests.values())
    found = trial.call("unsent", trace, name, needed)
    wanted = [digests[what] for what in ("asked", "refused", "elsewhere", "open")]
    if found == wanted:
        return done("four of six never arrived, each for a reason of its own")
    for what, digest in digests.items():
        said = isinstance(found, list) and digest in found
        if said != (digest in wanted):
            return not_yet(
                expected=f"{digest[:14]}…: {'missing' if digest in wanted else 'there'}",
                observed="missing" if said else "there",
                where="; ".join(_near(trace, digest))[:160],
                hint=HINTS[what],
            )
    return not_yet(
        expected=f"{len(wanted)} digests in the order of needed", observed=str(found)[:60]
    )


HINTS = {
    "sent": "A PUT of an upload with ?digest= and the answer 201: it has arrived.",
    "there": "HEAD answered 200: it was there before, nothing had to be sent.",
    "refused": "400 means that the registry did not take it, whatever the client thought.",
    "asked": "HEAD with the answer 404: that is a question, and the answer is no.",
    "elsewhere": "It went to another repository. Each repository has its own blobs.",
    "open": "POST opens an upload and PATCH sends bytes; without the PUT it is no blob.",
}


def _trace(name: str, digests: dict[str, str]) -> list[str]:
    """A push as a proxy would log it."""

    def blob(method: str, what: str, status: int, repository: str = name) -> str:
        return f"{method} /v2/{repository}/blobs/{digests[what]} {status}"

    def upload(number: int, what: str, status: int, repository: str = name) -> list[str]:
        where = f"/v2/{repository}/blobs/uploads/{number:08x}"
        end = [f"PUT {where}?digest={digests[what]} {status}"] if status else []
        return [f"POST /v2/{repository}/blobs/uploads/ 202", f"PATCH {where} 202", *end]

    return [
        *(blob("HEAD", "sent", 404), *upload(1, "sent", 201), blob("HEAD", "there", 200)),
        *(blob("HEAD", "refused", 404), *upload(2, "refused", 400)),
        *(blob("HEAD", "asked", 404), blob("HEAD", "elsewhere", 404)),
        *upload(3, "elsewhere", 201, f"{name}-test"),
        *(blob("HEAD", "open", 404), *upload(4, "open", 0)),
        f"PUT /v2/{name}/manifests/1 404",
    ]


def _near(trace: list[str], digest: str) -> list[str]:
    return [line.replace(digest, "DIGEST") for line in trace if digest in line]


EXERCISE = Exercise(
    id="registry.unsent",
    notebook="11_registry",
    title="Find the fault in a trace",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "Only paths below /v2/<repository>/blobs/ count, and only two kinds of lines.",
        "HEAD with 200: the digest is the end of the path. PUT with 201: it is after `digest=`.",
        '`path.rpartition("/")[2]` and `path.rpartition("digest=")[2]`.',
    ),
    wrong=(
        Wrong(ANY_STATUS, "did not take it"),
        Wrong(ANY_REPOSITORY, "went to another repository"),
        Wrong(NO_HEAD, "it was there before"),
        Wrong(ANY_HEAD, "the answer is no"),
    ),
)
