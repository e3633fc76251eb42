"""IP protocol numbers and their names.

A module of its own, that imports nothing of ours: the collector needs it and must stay small.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

#: Those that connection tracking tells apart by ports, keys or types (IANA "Protocol Numbers").
PROTOCOLS: Final = MappingProxyType(
    {1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 47: "gre", 58: "icmpv6", 132: "sctp", 136: "udplite"}
)
