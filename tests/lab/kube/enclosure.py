"""A place of a lab's own: namespaces, a scratch folder, which all go when the lab ends.

Nobody else's namespaces, mounts or processes are seen or touched. Killed, it leaves no process, mount or namespace.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from tests.lab.kube.namespaces import MOUNTED

FAILED = 3  # the exit code after which the logs are kept
SCRATCH = "CLIENTIP_LAB_SCRATCH"
STATE = ("/run", "/var/lib", "/var/log")  # where containerd, the kubelet and CNI plugins write whatever they are told
CGROUPS = Path("/sys/fs/cgroup")
OWN = ("--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--mount-proc", "--kill-child")


def enclosed(module: str) -> int | None:
    """Outside: runs this program again, enclosed, and says how that ended. Inside: None; folders of state are empty."""
    if SCRATCH in os.environ:
        signal.signal(signal.SIGTERM, _unwind)  # the first process of a namespace has no default for it
        for state in STATE:
            subprocess.run(["mount", "-t", "tmpfs", "lab", state], check=True)
        MOUNTED.mkdir()
        return None
    if os.geteuid() != 0:
        sys.exit("the lab needs root: it makes network namespaces")
    folder = Path(tempfile.mkdtemp(prefix="ck-"))
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", *OWN, sys.executable, "-m", module, *sys.argv[1:]]
    process = subprocess.Popen(command, env={**os.environ, SCRATCH: str(folder)}, start_new_session=True)

    def end(number: int, frame: FrameType | None) -> None:
        os.killpg(process.pid, signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    status = process.wait()
    _sweep(folder)
    if status == FAILED:
        print(f"logs: {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return status if status >= 0 else 128 - status


def scratch() -> Path:
    """The folder of this run, inside."""
    return Path(os.environ[SCRATCH])


def _unwind(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _sweep(folder: Path) -> None:
    """Cgroups of containers outlive namespaces, and for a moment the processes in them."""
    containers = [task.name for task in folder.glob("node-*/state/io.containerd.runtime.v2.task/k8s.io/*")]
    for group in (*CGROUPS.glob("k8s.io"), *CGROUPS.glob("*/k8s.io")):
        for left in [group / name for name in containers if (group / name).exists()]:
            _remove(left)
        if not any(each.is_dir() for each in group.iterdir()):
            _remove(group)


def _remove(group: Path) -> None:
    for _ in range(50):
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.1)
        else:
            return
