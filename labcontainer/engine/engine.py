"""The engine: Docker's nouns and what they share, put together. No behaviour of its own."""

from __future__ import annotations

import os

from labcontainer.engine.events import Events
from labcontainer.engine.records import Records
from labcontainer.engine.zygotes import Zygotes
from labcontainer.image.store import Store
from labcontainer.kernel import locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from labcontainer.runtime.zygote import Zygote


class Engine:
    """All of it, for one home. `zygote` was started before the process's first thread. With `using`
    it makes containers with a learner's own functions, and so does every zygote after it.

    Raises:
        ExistsError: another engine works in this home.
    """

    def __init__(self, home: str, zygote: Zygote, using: str = "") -> None:
        from labcontainer.engine.containers import Containers
        from labcontainer.engine.execs import Execs
        from labcontainer.engine.images import Images
        from labcontainer.engine.networks import Networks
        from labcontainer.engine.volumes import Volumes

        self.home = home
        self.live_restore = False  # whether containers run on when it ends
        self._overlays: bool | None = None
        self.runtime_root = f"{home}/engine/runtime"
        self.zygotes = Zygotes(zygote, using)
        self.store = Store(f"{home}/images")
        self._lock = _alone(f"{home}/engine")
        self.records = Records(f"{home}/engine/state.db")
        self.identity = _identity(self.records)
        self.events = Events()
        self.volumes = Volumes(self.records, self.events, f"{home}/engine/volumes")
        self.networks = Networks(self.records, self.events, _ledger(home), f"{home}/engine")
        self.images = Images(self.store, self.events)
        self.images.records = self.records
        self.containers = Containers(self)
        self.execs = Execs(self)
        self.images.in_use = self.containers.user_of_image
        self.networks.containers = self.containers
        self.volumes.containers = self.containers

    def mounts_overlays(self, probe: Callable[[], bool]) -> bool:
        """Whether overlays can be mounted in this home; asked once, it is its file system's."""
        if self._overlays is None:
            self._overlays = probe()
        return self._overlays

    def recover(self) -> None:
        """Find again what a daemon before this one has left running."""
        self.containers.load()
        self.networks.recover()
        self.containers.recover()
        self.volumes.recover()

    def close(self, *, stop: bool = False) -> None:
        """Let go of everything; containers run on, unless they are to be stopped."""
        self.containers.close(stop=stop)
        self.networks.close()
        self.zygotes.close()
        self.records.close()
        os.close(self._lock)


def _ledger(home: str) -> str:
    """What is changed of this host's network, written down: root's is one for all homes."""
    from labcontainer.image import inside

    return (
        f"{home}/engine/network.json"
        if inside.in_user_namespace()
        else "/run/labcontainer/network.json"
    )


def _identity(records: Records) -> str:
    """The engine's own id, the same for as long as its home is."""
    import uuid

    if not records.get_meta("identity"):
        records.set_meta("identity", str(uuid.uuid4()))
    return records.get_meta("identity")


def _alone(folder: str) -> int:
    """The lock of a home's engine; closed with the process, however it ends."""
    from labcontainer import errors

    os.makedirs(folder, mode=0o711, exist_ok=True)
    try:
        return locks.hold_file(f"{folder}/lock")
    except BlockingIOError:
        raise errors.ExistsError(f"another daemon works in {folder}") from None
