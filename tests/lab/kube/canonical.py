"""What kube-proxy wrote, as one text that is the same at every recording and loads as it stands.

kube-proxy walks its services in no order, so rules that dispatch to services, chains and set elements come in another
order each time. They exclude each other, and their order means nothing: these, and only these, are sorted.
"""

from __future__ import annotations

import re

DISPATCH = {"KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES"}
_CHAIN = re.compile(r"-A (\S+)")
_PORT = re.compile(r"--dport (\d+)")
_DESTINATION = re.compile(r"-d (\S+)")
_ACCOUNT = re.compile(r" -m nfacct --nfacct-name +\S+")  # only counts, and a rule with it needs its counter first
_COUNTERS = re.compile(r"\[\d+:\d+\]$")
_BLOCK = re.compile(r"^\t(set|map|chain|counter) (\S+) \{$")
_ELEMENTS = re.compile(r"^(\t\telements = \{ )(.*?)( \}\n)", re.MULTILINE | re.DOTALL)


def iptables(text: str) -> str:
    """The canonical form of `iptables-save` or `ip6tables-save`."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    lines = [_ACCOUNT.sub("", _COUNTERS.sub("[0:0]", line)) for line in lines]
    done: list[str] = []
    group: list[str] = []
    for line in [*lines, ""]:
        if group and _dispatched(line) != _dispatched(group[0]):
            done += sorted(group, key=_meeting)
            group = []
        if _dispatched(line):
            group.append(line)
        else:
            done.append(line)
    tables = "\n".join(done).strip().split("\nCOMMIT")
    return "".join(f"{table.strip()}\nCOMMIT\n" for table in sorted(tables, key=str.strip) if table.strip())


def _dispatched(rule: str) -> str | None:
    """The dispatching chain a rule belongs to."""
    chain = _CHAIN.match(rule)
    return chain[1] if chain and chain[1] in DISPATCH else None


def _meeting(rule: str) -> tuple[bool, str, int]:
    """What a dispatching rule catches; what catches everything stays last. Two rules for one port keep their order."""
    port = _PORT.search(rule)
    if port is None:
        return True, "", 0
    # In the chain of node ports the destination tells loopback from the rest, and that order is kube-proxy's.
    destination = _DESTINATION.search(rule) if _dispatched(rule) == "KUBE-SERVICES" else None
    return False, destination[1] if destination else "", int(port[1])


def nftables(text: str) -> str:
    """The canonical form of `nft list ruleset`."""
    done: list[str] = []
    blocks: list[tuple[str, str, list[str]]] = []
    for line in text.splitlines():
        begins = _BLOCK.match(line)
        if begins:
            blocks.append((begins[1], begins[2], [line]))
        elif line == "}":
            for _, _, lines in sorted(blocks, key=_standing):
                done += ["", *lines]
            done.append(line)
            blocks = []
        elif blocks and line:
            blocks[-1][2].append(line)
        elif line:
            done.append(line)
    return _ELEMENTS.sub(_sorted_elements, "\n".join(done) + "\n")


def _standing(block: tuple[str, str, list[str]]) -> tuple[int, bool, str]:
    """Sets and maps first, as nft prints them; then the chains of every node, then those of services."""
    kind, name, _ = block
    return ("counter", "set", "map", "chain").index(kind), "/" in name, name


def _sorted_elements(found: re.Match[str]) -> str:
    elements = sorted(element.strip() for element in found[2].split(","))
    return found[1] + ",\n\t\t\t     ".join(elements) + found[3]
