"""The table of scenarios: what is sent, which sources exist, how it is drawn, and what may be expected."""

from __future__ import annotations

from tests.lab.scenarios import attacks, balancers, changes, cluster, gaps, presets, proxies

ALL = (*cluster.ALL, *balancers.ALL, *proxies.ALL, *attacks.ALL, *gaps.ALL, *presets.ALL, *changes.ALL)
BY_NAME = {scenario.name: scenario for scenario in ALL}
