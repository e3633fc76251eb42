"""What several test modules share: one real Kafka broker for all workers of a run, and names for topics."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.worlds.patience import until

ROOT = Path(__file__).parent.parent
SERVERS = subprocess.run(["sh", ROOT / "tests/setup.sh", "--where"], capture_output=True, text=True, check=True)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a run in the background, whose programs would ignore it, too
    signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile(  # on a busy machine any example may take a second
    "untimed", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")
os.environ["PATH"] = f"{SERVERS.stdout.strip()}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of one broker that all workers of this run share: the first that asks starts it.

    It ends with the run, whoever started it.  Tests that stop brokers start their own (`tests.worlds.brokers`).
    """
    base, run = tmp_path_factory.getbasetemp(), os.getpid()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base, run = base.parent, os.getppid()
    address, log = base / "kafka" / "address", base / "kafka.log"
    with (base / "kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not log.exists():
            _start_broker(address, log, run)
    if not address.exists():
        raise AssertionError(log.read_text())
    return address.read_text()


def _start_broker(address: Path, log: Path, run: int) -> None:
    command = [sys.executable, "-m", "tests.worlds.brokers", str(address.parent), "--while", str(run)]
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    until(lambda: process.poll() is not None or address.exists(), log.read_text)


@pytest.fixture
def topic_prefix(request: pytest.FixtureRequest) -> str:
    """A beginning for the names of topics, groups and transactions that no other test uses; ends with a hyphen."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)[:60]
    return f"{words}-{uuid.uuid4().hex[:12]}-"
