"""Runs scenarios for real and leaves, for each, a folder: logs, clientip.toml, truth.jsonl.

    python -m tests.lab.record [SCENARIO …] --out FOLDER [--scale 0.5]

As root. Everything happens in namespaces of this program's own.
"""

from __future__ import annotations

import argparse
import fnmatch
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.lab import drawing, network, scenarios
from tests.lab.driver import Driver
from tests.lab.haproxy_conf import BALANCERS
from tests.lab.scenario import Scenario
from tests.lab.servers import Collectors, Servers
from tests.worlds.patience import LIMIT_S

LONGEST = f"'longest': '{drawing.LONGEST}'"
LONGEST_S = float(drawing.LONGEST.removesuffix("s"))
QUIET_S = 0.25  # a log that has not grown for so long has been written
EXPORT_S = 1.5  # the lab's exporters of spans wait no longer
FRAMES = 2, 16  # fewest and most: rules of kube-proxy choose a pod at random, and each one's log is to vouch
PLACES = {  # log of a server → folder of the recording, and how the file ends there
    **dict.fromkeys(("app-a", "app-b", "app-b2", "app-b-hand", "mesh-app"), "app"),
    **dict.fromkeys(("ingress-a", "ingress-b", "ingress-settings"), "ingress"),
    **dict.fromkeys(BALANCERS, "lb"),
    "envoy": "envoy",
    "sidecar": "sidecar",
    "caddy": "caddy",
}


class Recorder:
    """One lab that runs scenarios one after the other."""

    def __init__(self, tmp: Path, scale: float) -> None:
        self.tmp, self.scale = tmp, scale
        self.network = network.Network()
        self.network.up()
        self.servers = Servers(self.network, tmp)
        self._rules: tuple[object, ...] = ()
        self._overlay, self._stamps = False, True
        self._ports: dict[str, int] = {}

    def record(self, scenario: Scenario, out: Path) -> None:
        """Run one scenario and leave its folder."""
        self._set(scenario)
        if scenario.prepare:
            scenario.prepare(self.network)
        self.network.forget()
        begun = {path: path.stat().st_size for path in self.servers.logs.iterdir()}
        driver = Driver(self.network, scenario.name, self._ports, self.scale)
        if scenario.before:
            scenario.before(driver)
        folder = self.tmp / "runs" / scenario.name / "nat"
        folder.parent.mkdir(parents=True)
        collectors = Collectors(self.network, folder, scenario.nodes, ulogd=scenario.ulogd)
        collectors.ready()
        assert scenario.send is not None
        self._frame(scenario, driver)
        scenario.send(driver)
        driver.join()
        self._quiet()
        if LONGEST in str(scenario.systems):
            time.sleep(LONGEST_S)
            self._frame(scenario, driver)
            self._quiet()
        collectors.stop()
        self._publish(scenario, out, begun, folder)
        driver.write(out / "truth.jsonl")
        if driver.is_holding:
            driver.release()
            self._quiet()  # what is written only now is of no scenario
        for text in driver.failed[:5]:
            print(f"  {text}", file=sys.stderr)

    def _frame(self, scenario: Scenario, driver: Driver) -> None:
        """A few requests before and after: a log that is written at the end vouches for what lies in between."""
        if LONGEST not in str(scenario.systems):
            return
        assert scenario.send is not None
        fewest, most = FRAMES
        begun = self._vouching(scenario)
        driver.framing = True
        for number in range(most):
            scenario.send(driver)
            driver.join()
            if number + 1 >= fewest and self._grows(scenario, begun):
                break
        driver.framing = False
        time.sleep(QUIET_S)

    def _grows(self, scenario: Scenario, begun: dict[Path, int]) -> bool:
        """Whether each log that vouches has grown since; spans are sent a second after their requests."""
        deadline = time.monotonic() + EXPORT_S
        while time.monotonic() < deadline:
            if all(size > begun.get(path, 0) for path, size in self._vouching(scenario).items()):
                return True
            time.sleep(QUIET_S)
        return False

    def _vouching(self, scenario: Scenario) -> dict[Path, int]:
        """The logs that are written at the end and must reach around the scenario, and how long they are."""
        vouching = [keys.get("inputs", ()) for keys in scenario.systems.values() if "longest" in keys]
        patterns = [pattern.replace("{instance}", "*") for inputs in vouching for pattern in inputs]
        logs = [path for path in self.servers.logs.iterdir() if path.name.partition(".")[0] in scenario.servers]
        return {
            path: path.stat().st_size
            for path in logs
            if any(fnmatch.fnmatch(place_of(path), pattern) for pattern in patterns)
        }

    def _set(self, scenario: Scenario) -> None:
        rules = (scenario.mode, scenario.snat_ports)
        if rules != self._rules:
            self.network.rules(*rules)
            self._rules = rules
        if scenario.stamps != self._stamps:
            self.network.stamps(scenario.stamps)
            self._stamps = scenario.stamps
        if scenario.overlay != self._overlay:
            self.network.overlay(scenario.overlay)
            self._overlay = scenario.overlay
        self.servers.need(scenario.servers)

    def _quiet(self) -> None:
        """Wait until no log grows any more."""
        sizes: dict[Path, int] = {}
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            now = {path: path.stat().st_size for path in self.servers.logs.iterdir()}
            if now == sizes:
                return
            sizes = now
            time.sleep(QUIET_S)

    def _publish(self, scenario: Scenario, out: Path, begun: dict[Path, int], nat: Path) -> None:
        """The part of every log that was written meanwhile, and the configuration to read it with."""
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        drawn = {Path(pattern).parent for keys in scenario.systems.values() for pattern in keys.get("inputs", ())}
        for path in sorted(self.servers.logs.iterdir()):
            with path.open("rb") as file:
                file.seek(begun.get(path, 0))
                data = file.read()
            if not data or path.name.partition(".")[0] not in scenario.servers:
                continue
            place = Path(place_of(path))
            if place.parent in drawn:
                (out / place).parent.mkdir(exist_ok=True)
                (out / place).write_bytes(data)
        shutil.copytree(nat, out / "nat")
        write_config(scenario, out)


def place_of(path: Path) -> str:
    """Where a server's log goes in a recording.

    >>> place_of(Path("logs/app-b.log")), place_of(Path("logs/ingress-a.bin")), place_of(Path("shop-a.spans.jsonl"))
    ('app/app-b.log', 'ingress-spans/ingress-a.bin', 'shop/shop-a.jsonl')
    """
    name, _, ending = path.name.partition(".")
    if name.startswith("shop"):
        return f"shop/{name}.{ending.removeprefix('spans.')}"
    if ending != "log":
        return f"{PLACES[name]}-spans/{name}.{ending.removeprefix('spans.')}"
    return f"{PLACES[name]}/{name}.log"


def write_config(scenario: Scenario, out: Path) -> None:
    """The configuration of a recording."""
    (out / "clientip.toml").write_text(drawing.toml(scenario.systems, scenario.joins))


def derive(scenario: Scenario, recordings: Path) -> None:
    """Make a recording from another one."""
    assert scenario.derived_from and scenario.change
    out = recordings / scenario.name
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(recordings / scenario.derived_from, out)
    scenario.change(out)
    write_config(scenario, out)


def record_all(chosen: list[Scenario], out: Path, scale: float) -> None:
    """Record all of them; those that share rules follow each other."""
    with tempfile.TemporaryDirectory(prefix="lab-") as tmp:
        recorder = Recorder(Path(tmp), scale)
        real = [scenario for scenario in chosen if scenario.send]
        for scenario in sorted(real, key=lambda each: (each.mode, each.snat_ports or 0, each.overlay)):
            begun = time.monotonic()
            recorder.record(scenario, out / scenario.name)
            print(f"{scenario.name}: {time.monotonic() - begun:.1f} s", flush=True)
        recorder.servers.stop()
    for scenario in chosen:
        if scenario.derived_from:
            derive(scenario, out)


def with_sources(names: list[str]) -> list[Scenario]:
    """The scenarios of these names (all, if none is given), and those they are derived from."""
    table = scenarios.BY_NAME
    wanted: dict[str, Scenario] = {}
    for name in names or list(table):
        if name not in table:
            sys.exit(f"no scenario {name}; there are: {', '.join(table)}")
        source = table[name].derived_from
        if source:
            wanted[source] = table[source]
        wanted[name] = table[name]
    return list(wanted.values())


def main() -> None:
    """Parse the arguments, enter the namespaces, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="SCENARIO", help="default: all")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scale", type=float, default=1.0, help="how many connections, as a factor")
    options = parser.parse_args()
    network.enter("tests.lab.record")
    record_all(with_sources(options.names), options.out, options.scale)


if __name__ == "__main__":
    main()
