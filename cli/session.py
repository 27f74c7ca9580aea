"""Opens a session for one command and prints failed plugins on stderr."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from latentloom.api import Session, open_session
from latentloom.cli.errors import say


@contextmanager
def opened(*, metadata: bool = True, label: bool = True, **settings: Any) -> Iterator[Session]:
    """Open a session with these settings (None = not given) for a with-block. Raises SettingsError."""
    with open_session(metadata=metadata, label=label, on_wait=say, **settings) as session:
        for record in session.plugins:
            if record.status == "failed":
                why = f"the module '{record.missing}' is missing" if record.missing else record.error
                hint = f"`loom plugins --trace {record.plugin}`"
                say(f"warning: the plugin '{record.plugin}' ({record.distribution}) failed: {why}; see {hint}")
            elif record.error and record.status == "loaded":
                say(f"warning: the plugin '{record.plugin}' ({record.distribution}): {record.error}")
        yield session
