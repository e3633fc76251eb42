"""Watches a running stream: reads its records as any consumer would, and its page of figures."""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from clientip.edges.kafka.client import client_settings
from clientip.settings import Kafka
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from rich.console import Console
from rich.live import Live

from deploy.demo.stream.counts import Counts, Page
from deploy.demo.stream.screen import View, line, screen, summary
from deploy.demo.stream.truth import Truths

EVERY_S: Final = 1.0
FIRST_S: Final = 300.0  # until there is a record
_PAGE_S: Final = 2.0


class Watch:
    """The records that are read, and the page."""

    def __init__(self, kafka: Kafka, address: str, truths: Truths) -> None:
        """`address`: HOST:PORT of the page."""
        self.counts, self._address = Counts(truths), address
        self._page, self._began_s = Page(""), 0.0  # of the first record; 0: there is none yet
        self._before, self._before_s = 0, time.monotonic()
        self._consumer = Consumer(
            {
                **client_settings(kafka),
                "group.id": f"{kafka.prefix}.demo",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",  # or it would see what was never said
            }
        )
        topic = kafka.topic("records")
        partitions = self._consumer.list_topics(topic, FIRST_S).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for each in partitions])

    @property
    def seconds(self) -> float:
        """Since the first record."""
        return time.monotonic() - self._began_s if self._began_s else 0.0

    def read(self, seconds: float) -> None:
        """Take what comes for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for message in self._consumer.consume(1000, min(left, 0.2)):
                if message.error() is None:
                    self._began_s = self._began_s or time.monotonic()
                    self.counts.add(json.loads(message.value() or b""))

    def view(self) -> View:
        """Everything as it is now."""
        now_s, total = time.monotonic(), self.counts.total
        per_second = (total - self._before) / max(0.001, now_s - self._before_s)
        self._before, self._before_s = total, now_s
        text = answer(self._address, "/metrics")
        self._page = self._page if text is None else Page(text)
        return View(self.counts, self._page, self.seconds, per_second, f"http://{self._address}/metrics")

    def last(self) -> View:
        """Everything, with the rate of the whole time."""
        self._before, self._before_s = 0, self._began_s
        return self.view()

    def close(self) -> None:
        """Be done."""
        self._consumer.close()


def answer(address: str, path: str) -> str | None:
    """What the stream's own page says; None if it does not answer."""
    connection = http.client.HTTPConnection(address, timeout=_PAGE_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def show(kafka: Kafka, address: str, truths: Truths, seconds: float | None, check: Callable[[bool], None]) -> Counts:
    """Show for so long, or until interrupted; what was seen. `check` is told
    whether all seems well, and raises where it is not."""
    watch, console = Watch(kafka, address, truths), Console()
    try:
        with suppress(KeyboardInterrupt), _shown(console) as put:
            until = time.monotonic() + FIRST_S
            while seconds is None or watch.seconds < seconds:
                watch.read(EVERY_S)
                check(watch.counts.total > 0 or time.monotonic() < until)
                put(watch.view())
        sys.stdout.write("\n" + summary(watch.last()))
    finally:
        watch.close()
    return watch.counts


@contextmanager
def _shown(console: Console) -> Iterator[Callable[[View], None]]:
    """Where to put what is to be seen: a screen, or lines where there is no terminal."""
    if not console.is_terminal:
        yield _say
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        yield lambda view: live.update(screen(view), refresh=True)


def _say(view: View) -> None:
    sys.stdout.write(line(view) + "\n")
    sys.stdout.flush()
