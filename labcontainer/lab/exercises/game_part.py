"""game.part: which part makes each of eight requests."""

from __future__ import annotations

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def part(method: str, path: str) -> str:
    """Who sends this request: "command" (to the daemon) or "daemon" (to a registry).

    The two listen to different languages. A registry's paths begin with /v2/, a daemon's with the
    version of its API, such as /v1.44/.
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n", '    return "daemon" if path.startswith("/v2/") else "command"\n'
)
BY_WORD = HOLE.replace("    ...\n", '    return "daemon" if "images" in path else "command"\n')
BY_METHOD = HOLE.replace("    ...\n", '    return "daemon" if method == "GET" else "command"\n')
ALL_VERSIONS = HOLE.replace(
    "    ...\n", '    return "daemon" if path.startswith("/v") else "command"\n'
)
ANYWHERE = SOLUTION.replace('path.startswith("/v2/")', '"/v2" in path')


def check(trial: Trial) -> Outcome:
    name = trial.choice("name", ["app", "web", "shop"])
    digest, container = f"sha256:{trial.token('digest') * 8}", trial.token("id") * 2
    requests = [
        ("POST", f"/v1.44/containers/create?name={name}", "command"),
        ("POST", f"/v1.44/images/create?fromImage=localhost:5000/v2/{name}", "command"),
        ("GET", f"/v2/{name}/manifests/latest", "daemon"),
        ("GET", f"/v2/{name}/blobs/{digest}", "daemon"),
        ("GET", "/v1.44/images/json", "command"),
        ("POST", f"/v1.44/containers/{container}/start", "command"),
        ("HEAD", f"/v2/images/blobs/{digest}", "daemon"),
        ("PUT", f"/v2/{name}/manifests/1.0", "daemon"),
    ]
    right = 0
    for method, path, wanted in requests:
        said = trial.attempt("part", method, path)
        if not said.returned or said.value != wanted:
            return not_yet(
                expected=f"{method} {path}: {wanted!r}",
                observed=repr(said.value) if said.returned else said.error,
                where="`part`",
                hint="To ask for a pull is one request; what the daemon then fetches is another."
                if "fromImage" in path
                else "/v1.44/ is a version of the daemon's API, /v2/ is the registry's."
                if wanted == "command"
                else "A registry is asked only by the daemon, whatever is asked for.",
            )
        right += 1
    return done(f"{right} requests, and each has its sender")


EXERCISE = Exercise(
    id="game.part",
    notebook="01_the_whole_game",
    title="Who makes which request",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "The path tells to whom a request goes, and so who sends it.",
        "Look at the *beginning* of the path: /v2/ or /v1.44/.",
        '`path.startswith("/v2/")`: then it is for a registry, and the daemon has sent it.',
    ),
    wrong=(
        Wrong(BY_WORD, "then fetches is another"),
        Wrong(BY_METHOD, "/v2/ is the registry's"),
        Wrong(ALL_VERSIONS, "is a version of the daemon's API"),
        Wrong(ANYWHERE, "then fetches is another"),
    ),
)
