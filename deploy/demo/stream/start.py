"""Starts a broker, a stream and a feed, shows them, and ends them all: `make demo-stream`.

DEMO_SECONDS ends it after so long, DEMO_RATE is the number of lines a second, DEMO_FOLDER where it may write.
The exit code: 0; 1 a record named a wrong client; 3 something did not start, or ended by itself.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from clientip.config import load as config

from deploy.demo.stream.show import answer, show
from deploy.demo.stream.truth import truths
from deploy.kafka.broker import HOST, free_ports

ROOT: Final = Path(__file__).parents[3]
CONFIGS: Final = ("deploy/demo/clientip.toml", "deploy/demo/stream/network")
PAGE_PORT: Final = 9464  # if it is free
KEEP: Final = 64 << 20  # bytes of a partition
END_S: Final = 15.0
READY_S: Final = 300.0  # a busy machine takes long to start all programs

SETTINGS: Final = """\
[kafka]
brokers = ["{address}"]

[stream]
output = "record"                # whole records, so that they say of which system they are
join_partitions = 2
spool = "{spool}"
"""


class DemoError(Exception):
    """What cannot go on, in words for the user."""


class Demo:
    """The programs of a demo, which end with the block, the last one first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held = ExitStack()
        self._running: dict[str, subprocess.Popen[Any]] = {}

    def __enter__(self) -> Demo:
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # they end already
        self._held.close()

    def log(self, name: str) -> Path:
        """What a program has said."""
        return self.folder / f"{name}.log"

    def start(self, name: str, *command: str, **options: Any) -> subprocess.Popen[Any]:
        """Start a program that ends with us, however we end. A Ctrl-C at the terminal is for us only."""
        log = self._held.enter_context(self.log(name).open("wb"))
        process = subprocess.Popen(  # noqa: S603 - our own programs
            ["setpriv", "--pdeathsig", "TERM", *command],  # noqa: S607
            cwd=ROOT, stdin=subprocess.DEVNULL, stderr=log, start_new_session=True, **{"stdout": log, **options},
        )  # fmt: skip
        self._running[name] = process
        self._held.callback(self._end, name)
        return process

    def check(self, well: bool = True) -> None:
        """Errors: DemoError where a program has ended, or where nothing comes out."""
        if not well:
            raise DemoError(f"the stream does not come to work, see {shown(self.folder)}/*.log")
        for name, process in self._running.items():
            if process.poll() is not None:
                raise DemoError(f"{name} has ended with {process.returncode}:\n{self._tail(name)}")

    def _end(self, name: str) -> None:
        process = self._running.pop(name)
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _tail(self, name: str) -> str:
        return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-20:])


def broker(demo: Demo) -> str:
    """Start a broker; its address."""
    command = ("-m", "deploy.kafka.broker", str(demo.folder / "broker"), "--keep", str(KEEP))
    say(f"{shown(sys.executable)} {' '.join(map(shown, command))}")
    process = demo.start("broker", sys.executable, *command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = str(process.stdout.readline()).strip()
    if not address:
        process.wait()
        demo.check()
    return address


def run(demo: Demo, seconds: float | None, rate: float) -> int:
    """The whole demo; the exit code."""
    address = broker(demo)
    settings = demo.folder / "kafka.toml"
    spool = demo.folder / "spool"
    spool.mkdir()
    settings.write_text(SETTINGS.format(address=address, spool=spool))
    configs = [word for path in (*CONFIGS, str(settings)) for word in ("-c", path)]
    clientip = str(Path(sys.executable).with_name("clientip"))
    topics = [clientip, "kafka", "topics", *configs, "--create", "--raw"]
    say(" ".join(map(shown, topics)))
    with demo.log("topics").open("wb") as log:
        if subprocess.run(topics, cwd=ROOT, stdout=log, stderr=log, check=False).returncode:  # noqa: S603
            raise DemoError(f"the topics do not fit, see {demo.log('topics')}")
    page = f"{HOST}:{free_ports(1, [PAGE_PORT])[0]}"
    stream = (clientip, "stream", *configs, "--name", "demo", "--listen", page)
    say(" ".join(map(shown, stream)))
    demo.start("stream", *stream)
    await_ready(demo, page)
    feed = ("-m", "deploy.demo.stream.feed", *configs, "--rate", f"{rate:g}")
    say(f"{shown(sys.executable)} {' '.join(map(shown, feed))}")
    demo.start("feed", sys.executable, *feed)
    say(f"figures: http://{page}/metrics    logs: {shown(demo.folder)}/*.log\n", "")
    loaded = config.load([ROOT / CONFIGS[0], ROOT / CONFIGS[1], settings])
    assert loaded.kafka is not None
    known = truths([ROOT / "tests/golden/logs/truth.jsonl", *(ROOT / "tests/lab/recorded").glob("*/truth.jsonl")])
    counts = show(loaded.kafka, page, known, seconds, demo.check)
    return 1 if counts.judgements["wrong"] else 0


def await_ready(demo: Demo, page: str) -> None:
    """Wait until all workers are at work. Errors: DemoError."""
    until = time.monotonic() + READY_S
    while answer(page, "/readyz") != "ready\n":
        demo.check(time.monotonic() < until)
        time.sleep(0.2)


def say(text: str, prompt: str = "$ ") -> None:
    """Tell what is done, as it would be typed."""
    sys.stdout.write(f"{prompt}{text}\n")
    sys.stdout.flush()


def shown(path: object) -> str:
    """A path as it is written from the root of the repository."""
    return str(path).removeprefix(f"{ROOT}/")


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """No other demo runs in this folder; its data are gone afterwards, and its logs stay."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DemoError(f"a demo runs already in {folder}") from None
        cleared(folder)  # of one that was killed
        try:
            yield
        finally:
            cleared(folder)


def cleared(folder: Path) -> None:
    """No data are left."""
    for name in ("broker", "spool"):
        shutil.rmtree(folder / name, ignore_errors=True)


def main() -> int:
    """Run the demo as the environment says; the exit code."""
    seconds, rate = os.environ.get("DEMO_SECONDS"), float(os.environ.get("DEMO_RATE", "300"))
    folder = Path(os.environ.get("DEMO_FOLDER", ROOT / "build/demo-stream")).absolute()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with only_one(folder), Demo(folder) as demo:
            return run(demo, None if seconds is None else float(seconds), rate)
    except KeyboardInterrupt:
        return 0
    except DemoError as error:
        sys.stderr.write(f"demo-stream: {error}\n")
        return 3


if __name__ == "__main__":
    sys.exit(main())
