"""Waiting for a cluster that does not answer: the log says so, the worker is not ready, and it does not end."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Thread
from typing import Final, Generic, TypeVar

from clientip.edges.telemetry.port import TelemetryPort
from clientip.errors import ConfigError, SinkError

SAY_S: Final = 10.0  # how often the log says so
_PAUSES_S: Final = (0.05, 2.0)  # between tries: the first, the longest
_LOOK_S: Final = 0.5  # how often a worker that waits for an answer shows that it lives

Answer = TypeVar("Answer")


class AwayError(SinkError):
    """No broker answers now; the same question may be answered later."""

    def __init__(self, text: str) -> None:
        super().__init__(text, retry=True)


class StoppedError(SinkError):
    """The worker was asked to stop while it waited with nothing under way: it ends as it was asked to."""

    def __init__(self, text: str) -> None:
        super().__init__(text, retry=True)


class Waiting:
    """One wait, from its first try on."""

    def __init__(self, telemetry: TelemetryPort, stopping: Callable[[], bool], missing: str, give_up_s: float) -> None:
        """`missing`: what there is not while it lasts.

        `give_up_s`: how long a worker that shall stop still tries; 0: nothing is under way that it could lose.
        """
        self._telemetry, self._stopping, self._missing, self._give_up_s = telemetry, stopping, missing, give_up_s
        self._began_s = time.monotonic()
        self._said_s = self._began_s - SAY_S
        self._pause_s = _PAUSES_S[0]

    def show(self, text: str) -> None:
        """The worker lives and waits, because of this.

        Errors, where it shall stop: StoppedError if nothing is under way, else SinkError.
        """
        now_s = time.monotonic()
        if self._stopping() and now_s - self._began_s > self._give_up_s:
            missed = f"{self._missing} before the stop: {text}"
            raise SinkError(missed, retry=True) if self._give_up_s else StoppedError(missed)
        self._telemetry.beat(ready=False)
        if now_s - self._said_s >= SAY_S:
            seconds = round(now_s - self._began_s, 1)
            self._telemetry.say("kafka.waiting", level="warning", text=text, seconds=seconds)
            self._said_s = now_s

    def pause(self, text: str) -> None:
        """A try failed with this: `show` it, and rest before the next one."""
        self.show(text)
        time.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _PAUSES_S[1])


class _Asked(Thread, Generic[Answer]):
    """One question, in a thread of its own: it may take longer than a worker may be silent."""

    def __init__(self, ask: Callable[[], Answer]) -> None:
        super().__init__(daemon=True)
        self._ask = ask
        self.answers: list[Answer] = []
        self.error: SinkError | ConfigError | None = None

    def run(self) -> None:
        try:
            self.answers.append(self._ask())
        except (SinkError, ConfigError) as error:
            self.error = error


def answered(ask: Callable[[], Answer], telemetry: TelemetryPort, stopping: Callable[[], bool]) -> Answer:
    """What `ask` gives, however long it raises AwayError before.

    Errors: those of `ask` but AwayError; SinkError where the worker shall stop meanwhile.
    """
    waiting, text = Waiting(telemetry, stopping, "no answer from Kafka", 0.0), ""
    while True:
        asked = _Asked(ask)
        asked.start()
        while asked.is_alive():
            if text or stopping():
                waiting.show(text or "it was only just asked")
            asked.join(_LOOK_S)
        if asked.answers:
            return asked.answers[0]
        if asked.error is None:
            raise RuntimeError("the thread of a question died")
        if not isinstance(asked.error, AwayError):
            raise asked.error
        text = str(asked.error)
        waiting.pause(text)
