"""Network namespaces of a lab and the processes in them: made together, gone together."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

PREFIX = "ck-"
MOUNTED = Path("/run/netns")


class LabError(Exception):
    """The lab could not be built or did not become ready; the text says what and where its log is."""


class Namespaces:
    """A context: inside it namespaces and processes can be made, at its end none of them is left."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch  # logs of the processes
        self._names: list[str] = []
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Namespaces:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        for name in list(self._names):
            self.remove(name)

    def add(self, name: str) -> None:
        """A namespace `ck-NAME` with its loopback up."""
        ip("netns", "add", PREFIX + name)
        self._names.append(name)
        ip("-n", PREFIX + name, "link", "set", "lo", "up")

    def bridge(self, name: str) -> None:
        """A namespace that is one Ethernet switch."""
        self.add(name)
        ip("-n", PREFIX + name, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        ip("-n", PREFIX + name, "link", "set", "br0", "up")

    def plug(self, name: str, link: str, switch: str, *addresses: str) -> None:
        """A cable from the interface `link` of NAME to a switch, with addresses (prefix length included)."""
        port = f"{name}-{link}"[:15]
        ends = ["type", "veth", "peer", "name", port, "netns", PREFIX + switch]
        ip("link", "add", link, "netns", PREFIX + name, *ends)
        ip("-n", PREFIX + switch, "link", "set", port, "master", "br0", "up")
        for address in addresses:
            ip("-n", PREFIX + name, "addr", "add", address, "dev", link, *(["nodad"] if ":" in address else []))
        ip("-n", PREFIX + name, "link", "set", link, "up")

    def route(self, name: str, *words: str) -> None:
        """`ip route add` in a namespace; the family is that of the first word."""
        family = ["-6"] if any(":" in word for word in words) else []
        ip("-n", PREFIX + name, *family, "route", "add", *words)

    def sysctl(self, name: str, *settings: str) -> None:
        """Settings of the namespace's own network stack."""
        self.run(name, "sysctl", "-qw", *settings)

    def run(self, name: str, *command: str, stdin: str | None = None) -> str:
        """A command that must succeed; its standard output."""
        done = subprocess.run(inside(name, command), input=stdin, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"{' '.join(command)} in {PREFIX}{name}: {done.stderr.strip()}")
        return done.stdout

    def start(self, name: str, log: str, *command: str) -> subprocess.Popen[bytes]:
        """A process in the background, which dies with this one; its output goes to LOG.log in the scratch folder."""
        with (self.scratch / f"{log}.log").open("ab") as output:
            process = subprocess.Popen(
                inside(name, ("setpriv", "--pdeathsig", "KILL", *command)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._processes.append((log, process))
        return process

    def check(self) -> None:
        """Raises where a process that should run has ended."""
        for log, process in self._processes:
            if process.poll() is not None:
                tail = (self.scratch / f"{log}.log").read_text(errors="replace").splitlines()[-5:]
                raise LabError(f"{log} ended with {process.returncode}:\n  " + "\n  ".join(tail))

    def stop(self, *logs: str) -> None:
        """Ends processes by the name of their log, all at once; none named: every one, the last started first."""
        chosen = [(log, process) for log, process in self._processes if not logs or log in logs]
        for _, process in reversed(chosen):
            process.terminate()
        for _, process in chosen:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes = [entry for entry in self._processes if entry not in chosen]

    def remove(self, name: str) -> None:
        """One namespace, with what still runs in it."""
        for pid in ip("netns", "pids", PREFIX + name).split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue  # ended by itself meanwhile
        # The kernel takes a namespace's cables away some time later; the ports at the switches must be free at once.
        for line in ip("-n", PREFIX + name, "-br", "link", "show", "type", "veth").splitlines():
            ip("-n", PREFIX + name, "link", "del", line.split("@")[0].split()[0])
        ip("netns", "del", PREFIX + name)
        self._names.remove(name)


def inside(name: str, command: Sequence[str]) -> list[str]:
    """The command in a namespace. Not `ip netns exec`: that mounts a fresh /sys, where a kubelet finds no cgroups."""
    return ["nsenter", f"--net={MOUNTED}/{PREFIX}{name}", *command]


def ip(*words: str) -> str:
    """The `ip` command, which must succeed."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def wait_until(ready: Callable[[], bool], seconds: float, what: str, alive: Callable[[], None] | None = None) -> None:
    """Asks again and again until `ready`; LabError after `seconds`, or when `alive` raises."""
    end = time.monotonic() + seconds
    while not ready():
        if alive is not None:
            alive()
        if time.monotonic() > end:
            raise LabError(f"{what} did not come within {seconds:.0f} s")
        time.sleep(0.25)
