"""What a notebook imports: `from labcontainer.lab import course as lab`, then `lab.run(…)`.

Only a list of names; each is explained where it lives, and in docs/exercises.md.
"""

from __future__ import annotations

from labcontainer.lab.cards import diff, real_thing, recall, recap, show, show_source
from labcontainer.lab.cells import (
    export_progress,
    hint,
    import_progress,
    overview,
    reset,
    solution,
)
from labcontainer.lab.doctor import probe
from labcontainer.lab.doctor import table as doctor
from labcontainer.lab.engine import docker
from labcontainer.lab.engine import start as engine
from labcontainer.lab.figures import Canvas, bars, figure
from labcontainer.lab.figures_build import build_graph
from labcontainer.lab.figures_layers import layer_stack
from labcontainer.lab.figures_merkle import merkle_tree
from labcontainer.lab.figures_network import network_map
from labcontainer.lab.figures_nodes import node_map
from labcontainer.lab.figures_sequence import sequence
from labcontainer.lab.figures_services import service_graph
from labcontainer.lab.figures_states import life
from labcontainer.lab.helper import (
    alias,
    attempt,
    command,
    output,
    restart,
    run,
    shell,
    spawn,
    stable,
)
from labcontainer.lab.live import live
from labcontainer.lab.mine import get as mine
from labcontainer.lab.opening import start
from labcontainer.lab.opening import use as where
from labcontainer.lab.predict import predict
from labcontainer.lab.sandbox import ROOM
from labcontainer.lab.student import choice, number, token

progress = overview

__all__ = [
    "ROOM",
    "Canvas",
    "alias",
    "attempt",
    "bars",
    "build_graph",
    "choice",
    "command",
    "diff",
    "docker",
    "doctor",
    "engine",
    "export_progress",
    "figure",
    "hint",
    "import_progress",
    "layer_stack",
    "life",
    "live",
    "merkle_tree",
    "mine",
    "network_map",
    "node_map",
    "number",
    "output",
    "overview",
    "predict",
    "probe",
    "progress",
    "real_thing",
    "recall",
    "recap",
    "reset",
    "restart",
    "run",
    "sequence",
    "service_graph",
    "shell",
    "show",
    "show_source",
    "solution",
    "spawn",
    "stable",
    "start",
    "token",
    "where",
]
