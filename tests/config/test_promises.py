"""What a system does with headers: promises, `keep`, `drops`, and the presets of products."""

from __future__ import annotations

from pathlib import Path

import pytest
from clientip.config.lint import warnings
from clientip.config.load import load
from clientip.config.presets import BY_NAME, PRESETS, Preset, presets_help
from clientip.errors import ConfigError
from clientip.model import System

from tests.worlds.walks import PROXY, XFF, claim, found, request, system, walk

HOP = '[systems.hop]\naddresses = ["10.0.0.0/24"]\npeers = ["outside"]\n'


def drawn(folder: Path, *lines: str) -> System:
    """The system `hop` with these lines in its table."""
    (folder / "c.toml").write_text(HOP + "\n".join(lines) + "\n")
    [only] = load([folder / "c.toml"]).systems
    return only.system


@pytest.mark.parametrize("preset", PRESETS, ids=[f"{each.product}: {each.setting}" for each in PRESETS])
def test_every_preset_is_a_table_that_loads(preset: Preset, tmp_path: Path) -> None:
    hop = drawn(tmp_path, *preset.lines)
    assert hop.conveys or hop.keeps or hop.drops
    assert preset.setting in presets_help()


def test_a_product_under_one_setting_has_one_preset() -> None:
    assert len({(each.product, each.setting) for each in PRESETS}) == len(PRESETS)


@pytest.mark.parametrize("preset", PRESETS, ids=[each.name for each in PRESETS])
def test_a_preset_by_name_is_its_lines(preset: Preset, tmp_path: Path) -> None:
    assert BY_NAME[preset.name] is preset
    lines = [line for line in preset.lines if not line.startswith("logs_peer")]  # the hop has no log
    assert drawn(tmp_path, f'preset = "{preset.name}"') == drawn(tmp_path, *lines)


def test_what_a_system_writes_itself_counts_more_than_its_preset(tmp_path: Path) -> None:
    assert drawn(tmp_path, 'preset = "traefik"', 'conveys = ["proxy"]').conveys == (PROXY,)


def test_an_unknown_preset_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="preset"):
        drawn(tmp_path, 'preset = "traefick"')


LOGGED = 'format = "traefik_json"\nlogs_peer = "socket"'


def told(folder: Path, *lines: str) -> list[str]:
    drawn(folder, *lines)
    return [text for text in warnings(load([folder / "c.toml"])) if "help presets" in text]


def test_a_promise_that_hangs_on_a_setting_is_warned_of_until_the_setting_is_named(tmp_path: Path) -> None:
    [conveys] = BY_NAME["traefik"].lines
    xff, real_ip = told(tmp_path, LOGGED, conveys)
    assert xff.startswith("systems.hop.conveys: x-forwarded-for")
    assert 'preset = "traefik" or "traefik-trusted"' in xff
    assert 'preset = "traefik" or "traefik-no-append"' in real_ip
    assert told(tmp_path, LOGGED, conveys, 'preset = "traefik"') == []
    assert told(tmp_path, LOGGED, 'preset = "traefik-trusted"') == []
    assert told(tmp_path, LOGGED, 'conveys = ["proxy"]') == []
    assert told(tmp_path, conveys) == []  # what product it is, only its log tells


def test_headers_that_are_kept_or_dropped_are_no_promises(tmp_path: Path) -> None:
    rows = '{ header = "X-Forwarded-For", mode = "keep" }, { header = "x-real-ip", mode = "drops" }, "proxy"'
    hop = drawn(tmp_path, f"conveys = [{rows}]")
    assert hop.conveys == (PROXY,)
    assert (hop.keeps, hop.drops) == (frozenset({"x-forwarded-for"}), frozenset({"x-real-ip"}))


@pytest.mark.parametrize("other", ["append", "drops"])
def test_one_header_has_one_mode(other: str, tmp_path: Path) -> None:
    rows = f'{{ header = "x-forwarded-for", mode = "keep" }}, {{ header = "x-forwarded-for", mode = "{other}" }}'
    with pytest.raises(ConfigError, match="promised twice"):
        drawn(tmp_path, f"conveys = [{rows}]")


def test_a_hop_that_passes_bytes_drops_no_header(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot tell anything"):
        drawn(tmp_path, 'conveys = [{ header = "x-real-ip", mode = "drops" }]', 'carries = ["hop"]')


def drops(hop: System, *headers: str) -> System:
    return System(**{name: getattr(hop, name) for name in System.__struct_fields__} | {"drops": frozenset(headers)})


APP, CDN = system("app", peers="lb"), system("cdn", "192.0.2.0/24", peers="outside", conveys=(XFF,))


def test_a_header_that_an_inner_hop_drops_vouches_for_nobody_further_out() -> None:
    lb = system("lb", "10.0.0.0/24", peers="cdn", conveys=(PROXY,))
    shown = request("10.0.0.1:9", claim("x-forwarded-for", "203.0.113.7"), proxied="192.0.2.1:5")
    gone = request("10.0.0.1:9", claim("x-forwarded-for"), proxied="192.0.2.1:5")
    assert found(walk([APP, lb, CDN], shown)) == ("vouched", "203.0.113.7", "x-forwarded-for")
    dropping = drops(lb, "x-forwarded-for")
    assert found(walk([APP, dropping, CDN], shown)) == ("unknown", None, "contradiction")
    assert found(walk([APP, dropping, CDN], gone)) == ("unknown", None, "header_missing")
    assert found(walk([APP, drops(lb, "x-real-ip"), CDN], shown))[0] == "vouched"


def test_a_hop_that_only_keeps_headers_vouches_for_nobody() -> None:
    lb = system("lb", "10.0.0.0/24", peers="outside")
    seen = request("10.0.0.1:9", claim("x-forwarded-for", "8.8.8.8"))
    assert found(walk([APP, lb], seen)) == ("unknown", None, "snat_no_witness")
