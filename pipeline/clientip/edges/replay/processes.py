"""Tasks spread over processes, without a queue that could hang: each process holds one task at a time."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from multiprocessing import connection, get_context, parent_process
from multiprocessing.context import SpawnProcess
from os import _exit as exit_at_once
from pathlib import Path
from typing import Literal, NamedTuple

from clientip.edges.replay.plan import Plan
from clientip.edges.replay.tasks import Moved, Result, Task, Worker
from clientip.errors import ConfigError, Fault, SinkError

# Spawned, not forked: a forked child would inherit locks, descriptors and terminal state.
_CONTEXT = get_context("spawn")


class _Failed(NamedTuple):
    """An error on its way to the parent, in plain values: exceptions do not survive pickling whole."""

    kind: Literal["config", "sink"]
    text: str
    faults: tuple[Fault, ...] = ()
    retry: bool = False


class _Process(NamedTuple):
    process: SpawnProcess
    pipe: connection.Connection


class Crew:
    """Processes, started when there is something to do for them."""

    def __init__(self, paths: tuple[Path, ...], plan: Plan, folder: Path, count: int) -> None:
        self._arguments, self._count = (paths, plan, folder), count
        self._processes: list[_Process] = []

    def work(self, tasks: Sequence[Task], moved: Moved) -> Generator[Result, None, None]:
        """The tasks as they are finished."""
        while len(self._processes) < min(self._count, len(tasks)):
            self._processes.append(_started(*self._arguments))
        waiting = iter(tasks)
        busy = {each.pipe: each for each in self._processes if _give(each, waiting)}
        while busy:
            for ready in connection.wait(list(busy)):
                assert isinstance(ready, connection.Connection)
                message = _received(busy[ready])
                if isinstance(message, int):
                    moved(message)
                    continue
                if not _give(busy[ready], waiting):
                    del busy[ready]
                yield message

    def end(self) -> None:
        """Stop them, whatever they are at."""
        for each in self._processes:
            each.process.terminate()
        for each in self._processes:
            each.process.join()


def _started(paths: tuple[Path, ...], plan: Plan, folder: Path) -> _Process:
    here, there = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=_serve, args=(there, paths, plan, folder), daemon=True)
    process.start()
    there.close()  # or its end would never be noticed here
    return _Process(process, here)


def _give(each: _Process, waiting: Iterator[Task]) -> bool:
    task = next(waiting, None)
    if task is not None:
        with suppress(BrokenPipeError):  # the process has ended: the next receive says so
            each.pipe.send(task)
    return task is not None


def _received(each: _Process) -> Result | int:
    try:
        message = each.pipe.recv()
    except (EOFError, ConnectionResetError) as error:
        each.process.join()
        code = each.process.exitcode
        if code == 1:  # what Python ends with where nothing caught the error
            raise RuntimeError("a worker process failed; its traceback stands above") from error
        text = f"a worker process ended with code {code} (out of memory?); run the same command again to go on"
        raise SinkError(text, retry=True) from error
    if isinstance(message, _Failed):
        if message.kind == "config":
            raise ConfigError(message.faults)
        raise SinkError(message.text, retry=message.retry)
    assert isinstance(message, int | Result)
    return message


def _serve(pipe: connection.Connection, paths: tuple[Path, ...], plan: Plan, folder: Path) -> None:
    """The life of a process: tasks in, progress and results out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        worker = Worker(paths, plan, folder)
        while True:
            pipe.send(worker.perform(pipe.recv(), pipe.send))
    except ConfigError as error:
        pipe.send(_Failed("config", "", error.faults))
    except SinkError as error:
        pipe.send(_Failed("sink", str(error), retry=error.retry))
    except EOFError:
        return


def _end_with_parent() -> None:
    """A killed parent takes its workers with it."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    exit_at_once(1)
