"""registry.enter: the dance of challenge, token server and token."""

from __future__ import annotations

from labcontainer.lab import wire
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import base64
import json
import re

from labcontainer.lab.wire import ask


def enter(url: str, user: str, password: str) -> str:
    """Get a document from a registry that wants to know who asks."""
    answer = ask("GET", url)
    if answer.status == 401:
        words = dict(re.findall(r'(\\w+)="([^"]*)"', answer.headers["www-authenticate"]))
        basic = base64.b64encode(f"{user}:{password}".encode()).decode()
        ...
    return answer.body.decode()
'''

_DANCE = """\
        address = f"{words['realm']}?service={words['service']}&scope={words['scope']}"
        given = ask("GET", address, {"Authorization": f"Basic {basic}"})
        token = json.loads(given.body)["token"]
        answer = ask("GET", url, {"Authorization": f"Bearer {token}"})
"""
SOLUTION = HOLE.replace("        ...\n", _DANCE)

AT_THE_DOOR = SOLUTION.replace(
    _DANCE, '        answer = ask("GET", url, {"Authorization": f"Basic {basic}"})\n'
)
NO_SCOPE = SOLUTION.replace("&scope={words['scope']}", "")
NO_PASSWORD = SOLUTION.replace(', {"Authorization": f"Basic {basic}"}', "")
NOT_SHOWN = SOLUTION.replace(
    'ask("GET", url, {"Authorization": f"Bearer {token}"})', 'ask("GET", url)'
)


def check(trial: Trial) -> Outcome:
    user, password, text = trial.token("user"), trial.secret(), trial.secret()
    path = f"/v2/{trial.token('name')}/manifests/1"
    with wire.guarded({path: text}, user, password) as registry:
        result = trial.attempt("enter", registry.url + path, user, password)
        if result.value == text:
            return done("401, a token for the password, and the document for the token")
        return _why(registry, result.error)


def _why(registry: wire.Serving, error: str) -> Outcome:
    """What went wrong, by the server's log."""
    log = registry.log()
    at_door = [line for line in log if line.path.startswith("/v2/") and line.authorization]
    asked = [line for line in log if line.path.startswith("/token")]
    if any(line.authorization == "Basic" for line in at_door):
        hint = "The password is for the token server (realm) alone: the registry takes tokens."
    elif not asked:
        hint = "Nobody has asked for a token: `realm` is the address that gives them."
    elif not any(line.authorization for line in asked):
        hint = "The token server does not know who asks: Authorization: Basic …"
    elif "scope=" not in asked[-1].path:
        hint = "The token was made for nothing: pass on `scope` from the challenge."
    elif not at_door:
        hint = "You have the token, and did not show it: Authorization: Bearer …"
    else:
        hint = "Pass on scope and service as they stand in the challenge."
    return not_yet(
        expected="200 and the document",
        observed=", ".join(f"{_short(line)} {line.status}" for line in log) or error,
        where="after the 401",
        hint=hint,
    )


def _short(line: wire.Line) -> str:
    return "GET /token" if line.path.startswith("/token") else "GET /v2/…"


EXERCISE = Exercise(
    id="registry.enter",
    notebook="11_registry",
    title="The auth dance",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    seconds=20,
    hints=(
        "Three partners: you, the registry, and the token server that the registry names.",
        "GET realm?service=…&scope=… with `Authorization: Basic …` gives JSON with a `token`.",
        "Then the first request again, with `Authorization: Bearer <token>`.",
    ),
    wrong=(
        Wrong(AT_THE_DOOR, "for the token server (realm) alone"),
        Wrong(NO_SCOPE, "made for nothing"),
        Wrong(NO_PASSWORD, "does not know who asks"),
        Wrong(NOT_SHOWN, "did not show it"),
    ),
)
