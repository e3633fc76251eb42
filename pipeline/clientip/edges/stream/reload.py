"""The configuration files of a running stream: read at the start, and again when SIGHUP comes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clientip.config import load as config
from clientip.edges.kafka.topic_plan import cluster
from clientip.edges.telemetry.port import TelemetryPort
from clientip.errors import ConfigError, Fault
from clientip.settings import Settings


class ConfigurationFiles:
    """The files, and what they said when they were last read without a fault."""

    def __init__(self, paths: Sequence[Path], telemetry: TelemetryPort) -> None:
        """Errors: ConfigError."""
        self._paths, self._telemetry = paths, telemetry
        self.settings: Settings = config.load(paths)
        cluster(self.settings)

    def reload(self) -> Settings | None:
        """The new configuration; None if nothing changed, or if it has faults: then the log names them."""
        before = self.settings
        try:
            self.settings = self._read()
        except ConfigError as error:
            self._telemetry.add("config.reloads", 1, "refused")
            for fault in error.faults:
                self._telemetry.say("config.refused", level="error", text=str(fault))
            return None
        self._telemetry.add("config.reloads", 1, "taken")
        is_new = self.settings != before
        self._telemetry.say("config.taken", digest=self.settings.digest[:16], changed=str(is_new))
        return self.settings if is_new else None

    def _read(self) -> Settings:
        settings = config.load(self._paths)
        if cluster(settings) != self.settings.kafka:
            raise ConfigError([Fault("", "kafka", "is another one; a reload cannot change it: restart the stream")])
        return settings
