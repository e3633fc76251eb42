"""Chunks spread over processes, without a queue that could hang: each process holds one chunk at a time."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from multiprocessing import connection, get_context, parent_process
from multiprocessing.context import SpawnProcess
from os import _exit as exit_at_once
from pathlib import Path
from typing import Literal, NamedTuple

from pipeline.edges.chunks import Plan, chunks_of
from pipeline.edges.worker import Done, open_job, process
from pipeline.errors import ConfigError, Fault, SinkError

# Spawned, not forked: a forked child would inherit locks, descriptors and terminal state.
_CONTEXT = get_context("spawn")


class _Failed(NamedTuple):
    """An error on its way to the parent, in plain values: exceptions do not survive pickling whole."""

    kind: Literal["config", "sink"]
    text: str
    faults: tuple[Fault, ...] = ()
    retry: bool = False


class _Worker(NamedTuple):
    process: SpawnProcess
    pipe: connection.Connection


def work_in_process(
    paths: tuple[Path, ...], plan: Plan, folder: Path, todo: Iterable[int], moved: Callable[[int], None]
) -> Generator[Done, None, None]:
    """The chunks one after the other, here."""
    job, chunks = open_job(paths, plan), chunks_of(plan)
    for number in todo:
        yield process(job, chunks[number], folder, moved)


def work_in_processes(
    paths: tuple[Path, ...],
    plan: Plan,
    folder: Path,
    todo: Iterable[int],
    moved: Callable[[int], None],
    *,
    count: int,
) -> Generator[Done, None, None]:
    """The chunks as they are finished by `count` processes, which end when the iteration does."""
    waiting = iter(todo)
    workers: list[_Worker] = []
    try:
        workers.extend(_started(paths, plan, folder) for _ in range(count))
        busy = {worker.pipe: worker for worker in workers if _give(worker, waiting)}
        while busy:
            for ready in connection.wait(list(busy)):
                assert isinstance(ready, connection.Connection)
                worker = busy[ready]
                message = _received(worker)
                if isinstance(message, int):
                    moved(message)
                    continue
                if not _give(worker, waiting):
                    del busy[ready]
                yield message
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join()


def _started(paths: tuple[Path, ...], plan: Plan, folder: Path) -> _Worker:
    here, there = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=_serve, args=(there, paths, plan, folder), daemon=True)
    process.start()
    there.close()  # or its end would never be noticed here
    return _Worker(process, here)


def _give(worker: _Worker, waiting: Iterator[int]) -> bool:
    number = next(waiting, None)
    if number is not None:
        with suppress(BrokenPipeError):  # the process has ended: the next receive says so
            worker.pipe.send(number)
    return number is not None


def _received(worker: _Worker) -> Done | int:
    try:
        message = worker.pipe.recv()
    except (EOFError, ConnectionResetError) as error:
        worker.process.join()
        code = worker.process.exitcode
        if code == 1:  # what Python ends with where nothing caught the error
            raise RuntimeError("a worker process failed; its traceback stands above") from error
        text = f"a worker process ended with code {code} (out of memory?); run the same command again to go on"
        raise SinkError(text, retry=True) from error
    if isinstance(message, _Failed):
        if message.kind == "config":
            raise ConfigError(message.faults)
        raise SinkError(message.text, retry=message.retry)
    assert isinstance(message, Done | int)
    return message


def _serve(pipe: connection.Connection, paths: tuple[Path, ...], plan: Plan, folder: Path) -> None:
    """The life of a worker process: chunk numbers in, progress and finished chunks out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        job, chunks = open_job(paths, plan), chunks_of(plan)
        while True:
            pipe.send(process(job, chunks[pipe.recv()], folder, pipe.send))
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
