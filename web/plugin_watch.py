"""Inspects plugins beside the running server and hands what they provide to the workers."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection

from latentloom.engine.errors import Cancelled
from latentloom.engine.settings import Settings
from latentloom.plugins.comfyui.bridge.packs import Packs, packs_of
from latentloom.plugins.discovery import Record, discover
from latentloom.plugins.inspection import Inspector
from latentloom.plugins.isolation.isolating import Isolation
from latentloom.plugins.snapshots import Snapshots
from latentloom.web.intake import Intake

log = logging.getLogger("latentloom.plugins")
FIRST_SECONDS = 3.0  # workers that start after a quick inspection need not be replaced


class PluginWatch:
    """Inspects the plugins that have no snapshot, in child processes of the server."""

    def __init__(self, settings: Settings, intake: Intake, renew: Callable[[], None]) -> None:
        """`renew` replaces the workers, which know only what was installed when they started."""
        self._settings = settings
        self._intake = intake
        self._renew = renew
        self._inspector: Inspector | None = None
        self._stopped = False
        self.first = asyncio.Event()
        """Set after the first inspection, or when it takes long."""

    async def work(self) -> None:
        """Inspect what was not inspected yet. Plugins go first, because a pack may take long."""
        try:
            for packs in (None, packs_of(self._settings)):
                if self._intake.inspecting:
                    await self._inspect(packs)
        finally:
            self.first.set()
        for record in self._intake.plugins:
            if record.status == "failed":
                log.warning("the plugin '%s' (%s) failed: %s", record.plugin, record.distribution, record.error)

    async def _inspect(self, packs: Packs | None) -> None:
        """Inspect, and use what is done from time to time, because one that hangs must not delay the others."""
        inspection, pause = asyncio.create_task(asyncio.to_thread(self._look, packs)), FIRST_SECONDS
        while not inspection.done():
            await asyncio.wait({inspection}, timeout=pause)
            await self._use(inspection.result() if inspection.done() else ())
            if not inspection.done():
                self.first.set()
            pause *= 2

    async def _use(self, failed: Collection[Record]) -> None:
        known = self._intake.codes
        await self._intake.refresh(failed)
        if self._intake.codes != known and self.first.is_set():
            self._renew()

    def _look(self, packs: Packs | None) -> list[Record]:
        """Inspect, and return the status of those that failed."""
        self._inspector = inspector = Inspector(self._settings.plugin_seconds, log.warning)
        if self._stopped:
            return []
        specs = Snapshots(self._settings.data / "specs")
        with contextlib.suppress(Cancelled):
            found = discover(
                specs,
                self._settings.plugins,
                inspect="plugins",
                inspector=inspector,
                packs=packs,
                isolation=Isolation.of(self._settings),
            )
            return [record for record in found.records if record.status == "failed"]
        return []

    def stop(self) -> None:
        """End an inspection that is under way."""
        self._stopped = True
        if self._inspector is not None:
            self._inspector.end()
