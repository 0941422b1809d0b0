"""One hub, a container for each learner, on labcontainer's daemon; docs/jupyterhub.md explains it.

DOCKER_HOST=unix:///run/labcontainer.sock jupyterhub --config docs/examples/jupyterhub_config.py
"""

from __future__ import annotations

import os
import sys
from typing import Any

import docker

c: Any = get_config()  # type: ignore[name-defined]  # noqa: F821  (JupyterHub's)
setting = os.environ.get

# --- who: replace this for a real class (an LTI, OAuth or PAM authenticator) ---------------------
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = os.environ["LAB_PASSWORD"]
c.Authenticator.allowed_users = set(setting("LAB_USERS", "ann ben cho").split())

# --- where: the containers are on a network of their own, and the hub answers there --------------
NETWORK = setting("LAB_NETWORK", "labs")
engine = docker.from_env()
networks = engine.networks.list(names=[NETWORK]) or [engine.networks.create(NETWORK)]
networks[0].reload()
GATEWAY = networks[0].attrs["IPAM"]["Config"][0]["Gateway"]
c.JupyterHub.bind_url = f"http://127.0.0.1:{setting('LAB_PORT', '8000')}"
HUB_PORT = setting("LAB_HUB_PORT", "8081")
c.JupyterHub.hub_bind_url = f"http://0.0.0.0:{HUB_PORT}"
c.JupyterHub.hub_connect_ip = "127.0.0.1"  # the bridge may come after the proxy
c.DockerSpawner.hub_connect_url = f"http://{GATEWAY}:{HUB_PORT}"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{setting('LAB_PROXY_PORT', '8001')}"

# --- what each learner gets ----------------------------------------------------------------------
c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"
c.DockerSpawner.image = setting("LAB_IMAGE", "labcontainer-lab")
c.DockerSpawner.pull_policy = "never"
c.DockerSpawner.cmd = ["jupyterhub-singleuser"]
c.DockerSpawner.notebook_dir = "/home/jovyan/labcontainer/notebooks"
c.DockerSpawner.network_name = NETWORK
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.volumes = {"lab-{username}": "/home/jovyan/work"}
c.DockerSpawner.environment = {"LABCONTAINER_WORK": "/home/jovyan/work"}
c.DockerSpawner.mem_limit = setting("LAB_MEMORY", "1G")
c.DockerSpawner.cpu_limit = float(setting("LAB_CPUS", "0.5"))
c.DockerSpawner.extra_host_config = {
    "pids_limit": 512,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}
c.DockerSpawner.remove = True  # the volume stays
c.DockerSpawner.start_timeout = c.DockerSpawner.http_timeout = 120

# --- idle ones are stopped -----------------------------------------------------------------------
IDLE, EVERY = setting("LAB_IDLE", "1800"), setting("LAB_CULL_EVERY", "60")
CULL = ["-m", "jupyterhub_idle_culler", f"--timeout={IDLE}", f"--cull-every={EVERY}"]
c.JupyterHub.services = [{"name": "culler", "command": [sys.executable, *CULL]}]
c.JupyterHub.load_roles = [
    {
        "name": "culler",
        "services": ["culler"],
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
    }
]
c.JupyterHub.last_activity_interval = c.DockerSpawner.poll_interval = 30
