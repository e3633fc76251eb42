"""Address and moment to the systems that may own it.

One table per network, keyed by prefix length, so a look-up costs one dictionary
probe per distinct length, however many ranges there are.
"""

from __future__ import annotations

from collections.abc import Iterable

from clientip.model import Address, Ownership, System
from clientip.syntax.addresses import holds

_MAX_REMEMBERED = 65_536  # addresses whose owners are kept; client addresses of a busy hour fit

_NO_OWNER: tuple[tuple[System, ...], bool] = ((), True)

Owned = tuple[Ownership, System]


def networks_of(system: System, address: Address) -> frozenset[str]:
    """The networks in which the system ever owns the address.

    >>> from clientip.syntax.addresses import parse_address
    >>> own = Ownership(low=167772160, high=184549375, version=4, text="10.0.0.0/8", network="pods")
    >>> networks_of(System(name="lb", owns=(own,)), parse_address("10.1.2.3"))
    frozenset({'pods'})
    """
    return frozenset(own.network or system.network for own in system.owns if holds(own, address))


class Owners:
    """Who owns which address, in which network, from when until when.

    A pure function of the systems it is built from; what it remembers between
    calls only saves time.
    """

    __slots__ = ("_known", "_tables", "sole")

    def __init__(self, systems: Iterable[System]) -> None:
        self._tables: dict[str, dict[tuple[int, int], dict[int, list[Owned]]]] = {}
        self._known: dict[tuple[str, str], tuple[tuple[System, ...], bool] | list[Owned]] = {}
        #: network → address text → its one owner at all times, or None: it has no owner.  Filled by `of`.
        self.sole: dict[str, dict[str, System | None]] = {}
        for system in systems:
            self.sole.setdefault(system.network, {})
            for own in system.owns:
                shift = (own.high - own.low + 1).bit_length() - 1
                table = self._tables.setdefault(own.network or system.network, {})
                bucket = table.setdefault((own.version, shift), {})
                bucket.setdefault(own.low >> shift, []).append((own, system))

    def _look_up(self, network: str, address: Address) -> tuple[tuple[System, ...], bool] | list[Owned]:
        """The answer, or where it depends on the time, what it is made of."""
        found: list[Owned] = []
        for (version, shift), bucket in self._tables.get(network, {}).items():
            if version == address.version:
                found += bucket.get(address.number >> shift, ())
        if not found:
            return _NO_OWNER
        if any(own.from_ns is not None or own.until_ns is not None for own, _ in found):
            return found
        return tuple({system.name: system for _, system in found}.values()), True

    def of(
        self, network: str, address: Address, earliest_ns: int | None, latest_ns: int | None
    ) -> tuple[tuple[System, ...], bool]:
        """The systems that may own `address` during [earliest, latest], and whether that is certain.

        Not certain: a dated ownership begins or ends inside the interval, or the
        line has no time at all.  Each system comes once.

        >>> from clientip.syntax.addresses import parse_address
        >>> own = Ownership(low=167772160, high=184549375, version=4, text="10.0.0.0/8", until_ns=100)
        >>> owners = Owners([System(name="lb", owns=(own,))])
        >>> [s.name for s in owners.of("default", parse_address("10.1.2.3"), 5, 9)[0]]
        ['lb']
        >>> owners.of("default", parse_address("10.1.2.3"), 100, 101)
        ((), True)
        """
        key = (network, address.text)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
                for answers in self.sole.values():
                    answers.clear()
            found = self._known[key] = self._look_up(network, address)
            if isinstance(found, tuple) and len(found[0]) < 2:
                self.sole.setdefault(network, {})[address.text] = found[0][0] if found[0] else None
        return found if isinstance(found, tuple) else _in_force(found, earliest_ns, latest_ns)


def _in_force(found: list[Owned], earliest_ns: int | None, latest_ns: int | None) -> tuple[tuple[System, ...], bool]:
    systems: dict[str, System] = {}
    certain = True
    for own, system in found:
        if own.from_ns is None and own.until_ns is None:
            systems[system.name] = system
            continue
        if earliest_ns is None or latest_ns is None:
            systems[system.name] = system
            certain = False
            continue
        begins = own.from_ns is None or own.from_ns <= earliest_ns
        lasts = own.until_ns is None or latest_ns < own.until_ns
        over = own.until_ns is not None and own.until_ns <= earliest_ns
        not_yet = own.from_ns is not None and latest_ns < own.from_ns
        if over or not_yet:
            continue
        systems[system.name] = system
        certain = certain and begins and lasts
    return tuple(systems.values()), certain
