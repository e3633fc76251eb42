"""Who does the tasks of a run: this process, or several at once."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from clientip.edges.replay.plan import Plan
from clientip.edges.replay.tasks import Moved, Result, Task, Work, Worker


@contextmanager
def at_work(paths: tuple[Path, ...], plan: Plan, folder: Path, count: int) -> Iterator[Work]:
    """`count` processes that work until the end of the block; none where this one works alone."""
    if count <= 1:
        here: list[Worker] = []

        def work(tasks: Sequence[Task], moved: Moved) -> Generator[Result, None, None]:
            if tasks and not here:
                here.append(Worker(paths, plan, folder))
            for task in tasks:
                yield here[0].perform(task, moved)

        yield work
        return
    from clientip.edges.replay.processes import Crew  # noqa: PLC0415 - one process alone starts faster without

    crew = Crew(paths, plan, folder, count)
    try:
        yield crew.work
    finally:
        crew.end()
