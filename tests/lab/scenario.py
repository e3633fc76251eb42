"""What a scenario is: a table row, kept apart from the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clientip.reasons import UNKNOWN

from tests.lab.driver import FRAME, Driver
from tests.lab.network import Mode, Network


@dataclass(frozen=True)
class Refusal:
    """Lines whose client nobody may name, and the true reasons why."""

    system: str  # "*": any
    group: str  # "*": any
    reasons: tuple[str, ...]
    optional: bool = False  # a right answer is welcome too: it depends on the moment


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is sent, which sources are kept, how the lab is drawn, and what may be expected."""

    name: str
    rows: str  # of the matrix of deployment patterns; "-": none
    note: str
    systems: dict[str, dict[str, Any]]  # the drawing; see drawing.py
    send: Callable[[Driver], None] | None = None
    before: Callable[[Driver], None] | None = None  # what begins before anybody collects
    servers: tuple[str, ...] = ("app-b",)
    nodes: tuple[str, ...] = ("node-a", "node-b")  # where NAT events are collected
    mode: Mode = "iptables"
    snat_ports: int | None = None
    overlay: bool = False
    prepare: Callable[[Network], None] | None = None
    stamps: bool = True  # whether the nodes' kernels stamp flows
    ulogd: bool = False  # a second collector writes ulogd2's JSON
    joins: dict[str, Any] = field(default_factory=dict)
    refusals: tuple[Refusal, ...] = ()
    broken: tuple[str, ...] = ()  # findings that the configuration does not fit its logs
    derived_from: str | None = None  # a recording that `change` is made from, without the lab
    change: Callable[[Path], None] | None = None
    attack: bool = False

    def refusal(self, system: str, group: str) -> Refusal | None:
        """Whether, and why, lines of this kind may go without a client."""
        if group == FRAME:
            return Refusal("*", FRAME, tuple(UNKNOWN), optional=True)
        for each in self.refusals:
            if each.system in ("*", system) and each.group in ("*", group):
                return each
        return None
