"""game.left: what is still there when a container has been removed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import Any

from labcontainer.errors import LabError
from labcontainer.lab import engine
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def left(things: list[str]) -> list[str]:
    """Those of the things that are still there after `rm` of a container.

    The things are "image", "its own layer", "its log", "volume", "host directory" (the last two
    were mounted in it) and "its name".
    """
    stay = ...
    return [thing for thing in things if thing in stay]
'''

SOLUTION = HOLE.replace("stay = ...", 'stay = ["image", "volume", "host directory"]')
WITH_LAYER = SOLUTION.replace('"volume",', '"volume", "its own layer",')
NO_VOLUME = SOLUTION.replace('"volume", ', "")
WITH_LOG = SOLUTION.replace('"volume",', '"volume", "its log",')
NO_IMAGE = SOLUTION.replace('"image", ', "")

THINGS = ["its own layer", "image", "its log", "volume", "its name", "host directory"]
HINTS = {
    "image": "Other containers may be made of it: an image goes with `rmi` only.",
    "its own layer": "What it has written to its own root goes with it: that is what `rm` removes.",
    "its log": "Look at logs before `rm`: they are the container's.",
    "volume": "A volume outlives its containers; that is what it is for.",
    "host directory": "The engine would be a bad guest if it removed directories of the host.",
    "its name": "The next container may be called the same.",
}


def check(trial: Trial) -> Outcome:
    there = _really(trial)
    said = trial.call("left", THINGS)
    for thing in THINGS:
        if (thing in said) != (thing in there):
            return not_yet(
                expected=f"{thing}: {'still there' if thing in there else 'gone'}",
                observed=f"you say: {'still there' if thing in said else 'gone'}",
                where="`stay`",
                hint=HINTS[thing],
            )
    return done("as a real engine did it, just now")


def _really(trial: Trial) -> set[str]:
    """Run and remove a container of a real engine, and look at what is left."""
    engine.furnish()
    daemon = subprocess.Popen(
        [*engine.LABCONTAINER, "daemon", "--host", f"unix://{engine.SOCKET}"],
        env=engine.environment(), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    trial.undo.push(_end, daemon)
    engine.import_image()
    client, host = engine.client(), trial.directory("host")
    body: dict[str, Any] = {"Image": engine.IMAGE, "Cmd": ["sh", "-c", SCRIPT]}
    body["HostConfig"] = {"Binds": ["kept:/data", f"{host}:/host"]}
    made = client.post("/containers/create", body, name="box")["Id"]
    client.post(f"/containers/{made}/start")
    client.post(f"/containers/{made}/wait")
    before = _look(client, host)
    assert before == set(THINGS), before
    client.delete(f"/containers/{made}")
    return _look(client, host)


# A word of its own for each place, so that it can be found again.
SCRIPT = "echo > /word-of-layer; echo > /data/word-of-volume; echo > /host/word-of-host; echo said"


def _look(client: Any, host: str) -> set[str]:
    """Which of the things are there."""
    found = set()
    if client.get("/images/json"):
        found.add("image")
    if client.get("/containers/json", all=True):
        found.add("its name")
    names = {name for _, _, files in os.walk(engine.HOME) for name in files}
    if "word-of-layer" in names:
        found.add("its own layer")
    if "word-of-volume" in names:
        found.add("volume")
    if os.path.exists(f"{host}/word-of-host"):
        found.add("host directory")
    try:
        if b"said" in client.download("/containers/box/logs", stdout=True).all():
            found.add("its log")
    except LabError:
        pass
    return found


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.send_signal(signal.SIGTERM)
    ends = time.monotonic() + 5
    while daemon.poll() is None and time.monotonic() < ends:
        time.sleep(0.02)
    daemon.kill()
    daemon.wait()


EXERCISE = Exercise(
    id="game.left",
    notebook="01_the_whole_game",
    title="What survives rm",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox", "mount"),
    seconds=40,
    hints=(
        "Three of the six stay.",
        "What belongs to this container alone goes; what others may use as well stays.",
        "The image, and what was mounted: volume and host directory.",
    ),
    wrong=(
        Wrong(WITH_LAYER, "that is what `rm` removes"),
        Wrong(NO_VOLUME, "outlives its containers"),
        Wrong(WITH_LOG, "before `rm`"),
        Wrong(NO_IMAGE, "goes with `rmi` only"),
    ),
)
