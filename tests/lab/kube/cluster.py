"""The whole lab: a real Kubernetes of two nodes, real pods behind Services, every record held against the truth.

Run as root: `python -m tests.lab.kube.cluster [--count N] [--keep FOLDER] [--no-rules]`. It builds Kubernetes where
that is missing, starts it in namespaces of its own, sends labelled requests under both modes of kube-proxy, replays the
pods' CRI logs with the nodes' NAT events, prints a table and takes everything down. It ends with 1 where a record
names a wrong client, or where kube-proxy no longer writes the rules that the small lab loads.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.lab.kube import plane, record_rules
from tests.lab.kube.enclosure import FAILED, enclosed, scratch
from tests.lab.kube.machines import Cluster
from tests.lab.kube.namespaces import LabError, Namespaces
from tests.lab.kube.replaying import DRAWINGS, failures, judge, report, write_configs
from tests.lab.kube.scenarios import batches

PROGRAMS = ("etcd", "containerd", "runc", "iptables", "nft", "conntrack", "gcc", "openssl", "haproxy")
SERVERS = ("traefik", "caddy")
MODES = ("iptables", "nftables")


def main() -> int:
    """All of it; see the module."""
    options = arguments()
    absent = [name for name in (*PROGRAMS, *SERVERS) if not shutil.which(name)]
    if absent:
        print(f"missing: {', '.join(absent)}; see install.sh here, and tests/setup.sh", file=sys.stderr)
        return FAILED
    plane.build()
    status = enclosed("tests.lab.kube.cluster")
    if status is not None:
        return status
    try:
        with Namespaces(scratch()) as lab:
            run(Cluster(lab), options.count)
        failed = replay(scratch())
    except LabError as error:
        print(error, file=sys.stderr)
        return FAILED
    if options.keep is not None:
        shutil.rmtree(options.keep, ignore_errors=True)
        shutil.copytree(
            scratch(), options.keep, ignore=shutil.ignore_patterns("etcd", "certificates", "*.key", "tokens")
        )
    if options.rules and rules(scratch()):
        failed.append("kube-proxy writes other rules than tests/lab/rules holds")
    print(*failed, sep="\n")
    return 1 if failed else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60, help="connections per scenario")
    parser.add_argument("--keep", type=Path, help="a folder for logs, events and records; emptied first")
    parser.add_argument("--no-rules", dest="rules", action="store_false", help="do not record the small lab's rules")
    return parser.parse_args()


def run(cluster: Cluster, count: int) -> None:
    """The cluster's life: both modes, and the evidence written down."""
    began = time.monotonic()
    try:
        cluster.start(MODES[0])
        print(f"cluster ready after {time.monotonic() - began:.0f} s", flush=True)
        cluster.collect()
        for mode in MODES:
            if mode != MODES[0]:
                cluster.switch(mode)
            for batch in batches(cluster.pods, mode, count):
                cluster.send(batch)
            print(f"{mode}: {cluster.sent} connections so far, {time.monotonic() - began:.0f} s", flush=True)
        cluster.settle()
        write_configs(cluster)
    finally:
        cluster.stop()


def replay(folder: Path) -> list[str]:
    """Replays what was kept under every drawing and prints the tables; what must not be."""
    found: list[str] = []
    for drawing in DRAWINGS:
        out = folder / f"replayed-{drawing}"
        command = [str(Path(sys.executable).parent / "clientip"), "replay", "-c", str(folder / f"{drawing}.toml")]
        subprocess.run([*command, "-o", str(out), "--output", "record", "--restart"], check=True, capture_output=True)
        table = judge(out)
        print(f"\nThe ingress known by its {drawing}:\n{report(table)}", flush=True)
        found += failures(drawing, table, folder)
    return found


def rules(folder: Path) -> int:
    """Whether this kube-proxy still writes the rules the small lab loads."""
    logs = folder / "rules"
    logs.mkdir()
    with Namespaces(logs) as lab:
        texts = record_rules.record(lab)
    return record_rules.compare(texts, record_rules.RULES)


if __name__ == "__main__":
    sys.exit(main())
