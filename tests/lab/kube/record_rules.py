"""Records the NAT rules that a real kube-proxy writes for the small lab, which loads them without a Kubernetes.

Run as root: `python -m tests.lab.kube.record_rules [--to FOLDER] [--compare]`. It starts etcd, an API server
and, per node and mode, a kube-proxy in network namespaces, gives the API `services.yaml`, and writes
`rules/iptables.node-a`, `iptables6.node-a`, `nftables.node-a` and so on. `--compare` writes nothing and shows what
would change.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from tests.lab.kube import plane
from tests.lab.kube.canonical import iptables, nftables
from tests.lab.kube.enclosure import FAILED, enclosed, scratch
from tests.lab.kube.namespaces import LabError, Namespaces, wait_until

HERE = Path(__file__).parent
RULES = HERE.parent / "rules"
NODES = {"a": ("198.51.100.11", "2001:db8:2::11"), "b": ("198.51.100.12", "2001:db8:2::12")}
MODES = ("iptables", "nftables")


def main() -> int:
    """Records or compares; 1 where the recording differs from the files."""
    options = arguments()
    plane.build("kube-apiserver", "kube-proxy", "kubectl")
    status = enclosed("tests.lab.kube.record_rules")
    if status is not None:
        return status
    try:
        with Namespaces(scratch()) as lab:
            texts = record(lab)
            for name, text in texts.items():
                assert_loads_again(lab, name, text)
    except LabError as error:
        print(error, file=sys.stderr)
        return FAILED
    if options.compare:
        return compare(texts, options.to)
    options.to.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (options.to / name).write_text(text)
        print(f"{name}: {text.count(chr(10))} lines")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=RULES, help="where the rules are kept")
    parser.add_argument("--compare", action="store_true", help="record anew, write nothing, show the difference")
    return parser.parse_args()


def record(lab: Namespaces) -> dict[str, str]:
    """File name to canonical text, all nodes and modes."""
    lab.bridge("sw")
    lab.add("cp")
    lab.plug("cp", "eth0", "sw", f"{plane.ADDRESS}/24", "2001:db8:2::10/64")
    control = plane.Plane(lab)
    # Without a controller there are no service accounts and no taints to take away: nothing here runs pods.
    control.start("--disable-admission-plugins=ServiceAccount,TaintNodesByCondition")
    control.kubectl("apply", "-f", str(HERE / "services.yaml"))
    control.address_nodes({f"node-{name}": addresses for name, addresses in NODES.items()})
    texts: dict[str, str] = {}
    for mode in MODES:
        for name, addresses in NODES.items():
            lab.add(name)
            lab.plug(name, "eth0", "sw", f"{addresses[0]}/24", f"{addresses[1]}/64")
            control.start_proxy(name, f"node-{name}", mode)
        for name in NODES:
            texts |= settled(lab, name, mode)
        lab.stop(*(f"kube-proxy-{name}-{mode}" for name in NODES))
        for name in NODES:
            lab.remove(name)
    return texts


def settled(lab: Namespaces, name: str, mode: str) -> dict[str, str]:
    """The rules of one node, once kube-proxy has synchronised and two looks a second apart agree."""

    def healthy() -> bool:
        probe = "import urllib.request as u; u.urlopen('http://127.0.0.1:10256/healthz', timeout=2)"
        try:
            lab.run(name, sys.executable, "-c", probe)
        except LabError:
            return False
        return True

    looks: list[dict[str, str]] = []

    def stable() -> bool:
        looks.append(look(lab, name, mode))
        return len(looks) > 4 and all(look == looks[-1] for look in looks[-5:])

    wait_until(healthy, 60, f"kube-proxy of node-{name}, {mode}", lab.check)
    wait_until(stable, 60, f"an end of changes on node-{name}, {mode}", lab.check)
    for file, text in looks[-1].items():
        if "30086" not in text:
            raise LabError(f"{file} lacks a service of services.yaml")
    return looks[-1]


def look(lab: Namespaces, name: str, mode: str) -> dict[str, str]:
    if mode == "nftables":
        return {f"nftables.node-{name}": nftables(lab.run(name, "nft", "list", "ruleset"))}
    return {
        f"iptables.node-{name}": iptables(lab.run(name, "iptables-save")),
        f"iptables6.node-{name}": iptables(lab.run(name, "ip6tables-save")),
    }


def assert_loads_again(lab: Namespaces, file: str, text: str) -> None:
    """Loads a text into an empty namespace and reads it back: it must be the same text."""
    lab.add("load")
    kind = file.partition(".")[0]
    if kind == "nftables":
        lab.run("load", "nft", "-f", "-", stdin=text)
        again = nftables(lab.run("load", "nft", "list", "ruleset"))
    else:
        tool = "iptables" if kind == "iptables" else "ip6tables"
        lab.run("load", f"{tool}-restore", stdin=text)
        again = iptables(lab.run("load", f"{tool}-save"))
    lab.remove("load")
    if again != text:
        raise LabError(f"{file} does not load as it was written:\n" + difference(file, text, again))


def compare(texts: dict[str, str], kept: Path) -> int:
    """Prints the differences of the recording from the kept files; 0 where there are none."""
    found = 0
    for name, text in texts.items():
        before = (kept / name).read_text() if (kept / name).exists() else ""
        if before != text:
            found = 1
            print(difference(name, before, text), end="")
    print(f"rules of kube-proxy {plane.VERSION}: {'different' if found else 'the same'}, {len(texts)} files")
    return found


def difference(name: str, before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), f"kept/{name}", f"now/{name}", n=1)
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
