"""The image of binder/Dockerfile: who it is, what it can; all notebooks in it without any right."""

from __future__ import annotations

from pathlib import Path

import pytest

from labcontainer.lab import student
from tests.api.world import Daemon
from tests.hub.conftest import ROOT
from tests.notebooks.learner import NOTEBOOKS

pytestmark = [
    pytest.mark.requires("root", "docker", "debootstrap", "uml"),
    pytest.mark.timeout(1500),
    pytest.mark.leaves("processes", why="the session's daemon forks its next monitor ahead"),
]
# As Binder starts it, and with less: no capability, no way to gain one, no network, 2 GB.
CONFINED = ("run", "--rm", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
            "--network", "none", "--memory", "2g")  # fmt: skip
WITH_NBVAL = "FROM {image}\nUSER root\nRUN pip install -q --no-cache-dir nbval\nUSER jovyan\n"
ENVIRONMENT = {
    "LABCONTAINER_HOME": "/tmp/home",
    "LABCONTAINER_SEED": student.COURSE_SEED,
    "LABCONTAINER_STATIC": "1",
    "PYTHONHASHSEED": "0",
    "LC_ALL": "C.UTF-8",
    "TERM": "dumb",
}
NBVAL = ("mkdir /tmp/home && exec python -m pytest -q -p no:cacheprovider -c /dev/null "
         "--rootdir=notebooks --nbval --nbval-current-env --nbval-sanitize-with=/sanitize.cfg "
         '--nbval-cell-timeout=120 "$@"')  # fmt: skip


def test_an_ordinary_user_owns_home_and_notebooks(daemon: Daemon, image: str) -> None:
    script = "id -u; stat -c %U . notebooks ~ ~/work; touch notebooks/x ~/x ~/work/x; pwd"
    said = daemon.docker(*CONFINED, image, "sh", "-c", script).split()
    assert said == ["1000", *["jovyan"] * 4, "/home/jovyan/labcontainer"]


def test_starts_what_binder_starts(daemon: Daemon, image: str) -> None:
    for program in ("jupyter-lab", "jupyterhub-singleuser", "labcontainer-oci"):
        assert daemon.docker(*CONFINED, image, program, "--version")
    kernels = daemon.docker(*CONFINED, image, "jupyter", "kernelspec", "list")
    assert "labcontainer-uml" in kernels and "python3" in kernels


def test_user_is_the_one_that_binder_names(daemon: Daemon, image: str) -> None:
    config = daemon.docker("inspect", "-f", "{{json .Config}}", image)
    assert '"User":"jovyan"' in config and '"jupyter","lab"' in config


def test_namespaces_are_refused_and_a_kernel_of_its_own_has_them(
    daemon: Daemon, image: str
) -> None:
    code, said = daemon.fails(*CONFINED, image, "unshare", "-Ur", "id")
    assert code == 1 and "Operation not permitted" in said
    inside = ("labcontainer", "vm", "run", "--", "unshare", "-pf", "sh", "-c", "id -u; echo $$")
    assert daemon.docker(*CONFINED, image, *inside).split() == ["0", "1"]


@pytest.fixture(scope="module")
def with_nbval(daemon: Daemon, image: str) -> str:
    """The image, with what compares a notebook's outputs with the stored ones."""
    text = WITH_NBVAL.format(image=image).encode()
    daemon.docker("build", "-q", "-t", "lab-nbval", "-", stdin=text, seconds=300)
    return "lab-nbval"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_prints_what_is_stored(daemon: Daemon, with_nbval: str, path: Path) -> None:
    known = [word for name, value in ENVIRONMENT.items() for word in ("-e", f"{name}={value}")]
    sanitize = f"{ROOT}/tests/notebooks/sanitize.cfg:/sanitize.cfg:ro"
    command = ("sh", "-c", NBVAL, "sh", f"notebooks/{path.name}")
    done = daemon.call("docker", *CONFINED, *known, "-v", sanitize, with_nbval, *command,
                       seconds=400)  # fmt: skip
    said = done.stdout.decode()
    assert done.returncode == 0, said[-4000:] + done.stderr.decode()[-2000:]
    assert " passed" in said
