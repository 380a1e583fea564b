"""The models that can be chosen now: those in the registry, those that lie here, and interpolation.

The registry is asked in the background, so that one that is slow or away delays nobody; what is known of it is said in
a sentence.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from serving.store import default_uri, is_absent, shown
from serving.web import choices, registry
from serving.web.choices import Named, Version
from sr_core.errors import ConfigError, SrError

FRESH_S = 20.0  # for so long the registry is not asked again


class Catalogue:
    """Asked by every visitor; asks the registry in one thread at most."""

    def __init__(
        self, root: Path, uri: str | None = None, ask: Callable[[str], tuple[Named, ...]] = registry.registered
    ) -> None:
        self._root, self._ask = root, ask
        self.uri = uri or default_uri()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._asked_s = -FRESH_S
        self._registered: tuple[Named, ...] = ()
        self._problem: str | None = None
        self._answered = False

    def models(self) -> tuple[Named, ...]:
        """Registered models first, then those below root/models, then interpolation."""
        return (*self._registered, *choices.local_models(self._root))

    def find(self, name: str, label: str) -> Version:
        """The version that was chosen; the registry's answer is waited for where only it can know it.

        Raises:
            ConfigError: there is none such; it lists those there are.
        """
        try:
            return choices.find(self.models(), name, label)
        except ConfigError:
            self.refresh()
            self.wait()
        return choices.find(self.models(), name, label)

    def refresh(self) -> None:
        """Begins to ask the registry, unless that goes on or was done just now."""
        with self._lock:
            running = self._thread is not None and self._thread.is_alive()
            if is_absent(self.uri) or running or time.monotonic() - self._asked_s < FRESH_S:
                return
            self._asked_s = time.monotonic()
            self._thread = threading.Thread(target=self._refresh, name="registry", daemon=True)
            self._thread.start()

    def wait(self, most_s: float = 2 * registry.LIST_S) -> None:
        """Until the registry has answered, or has not."""
        thread = self._thread
        if thread is not None:
            thread.join(most_s)

    def note(self) -> str:
        """What is known of the registry, in a sentence."""
        place = shown(self.uri)
        if is_absent(self.uri):
            return "No registry is in use: name one with `--tracking-uri` or MLFLOW_TRACKING_URI."
        if self._problem:
            return f"The registry at {place} cannot be used: {self._problem}"
        if not self._answered:
            return f"Asking the registry at {place} …"
        number = sum(len(named.versions) for named in self._registered)
        return f"The registry at {place} has {number} version{'' if number == 1 else 's'} to choose from."

    def _refresh(self) -> None:
        try:
            self._registered, self._problem = self._ask(self.uri), None
        except SrError as error:
            self._problem = str(error)  # what it said before stays: copies of its versions may lie here
        self._answered = True
