"""Records access logs of real servers, together with the truth about each request.

Run as root: `python3 tests/golden/record.py [--to FOLDER] [--only NAME ...] [--keep]`. It moves
itself into a private network namespace, starts the servers, sends the requests
of `cases.py` and replaces `logs/` (or writes FOLDER). Nothing leaves the namespace.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
import time
from itertools import groupby
from pathlib import Path

import network
import report
import servers
import wire
from cases import V4_CLIENTS, V6_CLIENTS, Case, cases_for
from report import Truth
from setups import ALL, LB_HTTP_LOG, LB_TCP_LOG, SETUPS, Setup

LOGS = Path(__file__).parent / "logs"


class Recorder:
    """Sends the cases of the set-ups and remembers the truth about them."""

    def __init__(self, scene: servers.Scene) -> None:
        self.scene = scene
        self.truths: list[Truth] = []

    def record(self, setup: Setup) -> None:
        """All requests of one set-up; `cases_for` puts the label-less ones last."""
        number = 0
        for case in cases_for(setup):
            labels = []
            for _ in range(case.repeat):
                number += 1
                labels.append(f"{setup.name}-{case.slug}-{number:03d}")
            self._send(setup, case, labels, number)
        time.sleep(0.4)

    def _send(self, setup: Setup, case: Case, labels: list[str], number: int) -> None:
        raw = case.raw is not None or case.tls
        before = self._lengths(setup) if raw else {}
        sent = wire.exchange(
            self._source(case, number),
            self._target(setup, case),
            case.messages(labels),
            1.2 if raw else 4.0,
        )
        if not raw and not all(sent.replies):
            print(f"  no reply: {labels}", file=sys.stderr)
        truths = [
            Truth(
                label,
                setup.name,
                sent.client,
                sent.port,
                case.forged,
                [list(pair) for pair in case.headers],
                case.note,
            )
            for label in labels
        ]
        if raw:
            self._attribute(truths[0], before)
        self.truths += truths

    def _source(self, case: Case, number: int) -> str:
        if case.source:
            return case.source
        pool = V6_CLIENTS if case.ipv6 else V4_CLIENTS
        return pool[number % len(pool)]

    def _target(self, setup: Setup, case: Case) -> tuple[str, int]:
        if setup.via and case.route == "normal":
            return ("fd00::10" if case.ipv6 else "10.0.0.10", setup.port)
        return setup.v6 if case.ipv6 else setup.v4

    def _logs(self, setup: Setup) -> list[str]:
        balancer = {"lb-xff": [LB_HTTP_LOG], "lb-proxy": [LB_TCP_LOG]}
        return [setup.log, *(balancer[setup.via or ""] if setup.lb_log else [])]

    def _lengths(self, setup: Setup) -> dict[str, int]:
        time.sleep(0.4)  # let the previous request's line arrive
        return {log: len(self.lines(log)) for log in self._logs(setup)}

    def lines(self, log: str) -> list[bytes]:
        """What a log holds so far (bytes: a log need not be valid UTF-8)."""
        path = self.scene.tmp / log
        return path.read_bytes().split(b"\n")[:-1] if path.exists() else []

    def _attribute(self, truth: Truth, before: dict[str, int]) -> None:
        """New lines after a broken request are its lines: nothing else is under way."""
        time.sleep(0.5)
        for log, count in before.items():
            for number in range(count + 1, len(self.lines(log)) + 1):
                truth.add(log, number, by_label=False)

    def locate(self) -> None:
        """Find the lines of all requests, by label or else by client address and port."""
        for setup in ALL:
            for number, line in enumerate(self.lines(setup.log), 1):
                named = [truth for truth in self.truths if truth.label.encode() in line]
                for truth in named:
                    truth.add(setup.log, number, by_label=True)
                if not named and setup.server == "haproxy":
                    for truth in self.truths:
                        if _by_address(truth, line):
                            truth.add(setup.log, number, by_label=False)
        for truth in self.truths:
            if not truth.lines:
                print(f"  no line: {truth.label}", file=sys.stderr)


def _by_address(truth: Truth, line: bytes) -> bool:
    """Whether a line shows the client's address and port."""
    return re.search(rf"(?:^| ){re.escape(truth.client)}:{truth.port} ".encode(), line) is not None


def _groups(chosen: list[Setup]) -> list[list[Setup]]:
    """Set-ups that share one server process. Traefik has one access log per process."""
    key = {setup: setup.name if setup.server == "traefik" else setup.server for setup in SETUPS}
    kept = {key[setup] for setup in chosen}
    grouped = [list(group) for _, group in groupby(SETUPS, lambda setup: key[setup])]
    return [group for group in grouped if key[group[0]] in kept]


def _publish(recorder: Recorder, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    counts = {}
    for setup in ALL:
        lines = recorder.lines(setup.log)
        counts[setup.log] = len(lines)
        (folder / setup.log).write_bytes(b"".join(line + b"\n" for line in lines))
    versions = servers.versions()
    report.write_truth(folder / "truth.jsonl", recorder.truths)
    report.write_setups(folder / "setups.json", versions)
    report.write_readme(folder / "README.md", versions, counts)
    for name, count in counts.items():
        print(f"{count:5d} {name}")


def main() -> None:
    """Parse the arguments, enter the namespace, record, publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="set-up names, for trials")
    parser.add_argument("--to", type=Path, default=LOGS, help="the folder to write (default: logs/ beside this file)")
    parser.add_argument("--keep", action="store_true", help="keep the scratch folder")
    parser.add_argument(network.INSIDE, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    servers.check_programs()
    if not options.inside:
        network.enter()
    network.set_up()
    chosen = [setup for setup in SETUPS if not options.only or setup.name in options.only]
    scene = servers.Scene(Path(tempfile.mkdtemp(prefix="golden-")))
    scene.tmp.chmod(0o755)  # Apache insists on serving as another user
    recorder = Recorder(scene)
    with servers.surroundings(scene):
        for group in _groups(chosen):
            with servers.serving(scene, group):
                for setup in group:
                    if setup in chosen:
                        print(setup.name, flush=True)
                        recorder.record(setup)
    recorder.locate()
    if not options.only:
        _publish(recorder, options.to)
    if options.keep or options.only:
        print(f"kept {scene.tmp}")
    else:
        shutil.rmtree(scene.tmp)


if __name__ == "__main__":
    main()
