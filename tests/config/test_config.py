"""A configuration is read whole or refused with every fault; equal drawings have equal rules."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from clientip.config.key_help import GROUPS, REQUIRED, allowed, config_help
from clientip.config.keys import KEYS, Key, config_schema, keys_of
from clientip.config.lint import warnings
from clientip.config.load import load
from clientip.config.schema_check import misfits
from clientip.config.suggest import key_faults
from clientip.config.topology import promise_fault
from clientip.errors import ConfigError
from clientip.model import Promise
from clientip.settings import Settings
from clientip.syntax.headers import proof_hash
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

CASES = Path(__file__).parents[1] / "configs"

WEB = """
[systems.web]
format = "nginx"
logs_peer = "socket"
peers = ["lb", "internal"]
inputs = ["web/{instance}/*.log"]
"""
LB = """
[systems.lb]
addresses = ["192.0.2.10", "192.0.2.32/28"]
peers = ["outside"]
conveys = [{ header = "X-Forwarded-For", mode = "append" }]
"""


def cases(folder: str) -> list[Path]:
    return sorted(path for path in (CASES / folder).iterdir() if path.suffix != ".txt")


def sentences(case: Path) -> list[str]:
    """The lines `#: …` at the head of a case: what must be said of it."""
    file = case / "a.toml" if case.is_dir() else case
    return [line.removeprefix("#: ") for line in file.read_text().splitlines() if line.startswith("#: ")]


def config(folder: Path, text: str, name: str = "clientip.toml") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def read(folder: Path, text: str) -> Settings:
    return load([config(folder, text)])


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    return [f"{fault.key}: {fault.text}" for fault in caught.value.faults]


@pytest.mark.parametrize("case", cases("faults"), ids=lambda case: case.stem)
def test_every_mistake_is_said_once_with_what_to_write_instead(case: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load([case])
    said = [str(fault).replace(f"{case.parent}/", "").removeprefix(f"{case.name}: ") for fault in caught.value.faults]
    assert said == sentences(case)


@pytest.mark.parametrize("case", cases("warnings"), ids=lambda case: case.stem)
def test_dangerous_trust_is_warned_of_and_still_loads(case: Path) -> None:
    assert list(warnings(load([case]))) == sentences(case)


def test_a_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read: No such file"):
        load([tmp_path / "nowhere.toml"])


def test_a_folder_without_toml_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no \*\.toml"):
        load([tmp_path])


@pytest.mark.parametrize("content", [b"a = \xff", b"a = " + b"[" * 100_000, b'a = "\x00"'])
def test_bytes_that_are_no_toml_are_a_fault(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.toml").write_bytes(content)
    with pytest.raises(ConfigError, match="is no TOML"):
        load([tmp_path])


def test_a_drawing_is_read_as_written(tmp_path: Path) -> None:
    settings = read(tmp_path, WEB + LB)
    web, lb = settings.systems
    assert lb.setup is None
    assert lb.system.conveys == (Promise("x-forwarded-for", "append"),)
    assert [own.text for own in lb.system.owns] == ["192.0.2.10", "192.0.2.32/28"]
    assert web.setup is not None
    assert web.setup.claim_headers == {"x-forwarded-for"}
    assert web.system.peers == {"lb", "internal"}
    assert web.inputs == (str(tmp_path / "web/{instance}/*.log"),)
    assert settings.limits.line_bytes == 1_048_576


@pytest.mark.parametrize(
    ("written", "nanoseconds"), [("50ms", 50_000_000), ("2s", 2_000_000_000), ("0ns", 0), ("1h", 3_600_000_000_000)]
)
def test_durations_have_units(tmp_path: Path, written: str, nanoseconds: int) -> None:
    [web, _] = read(tmp_path, WEB + f'max_skew = "{written}"\n' + LB).systems
    assert web.setup is not None
    assert web.setup.max_skew_ns == nanoseconds


@pytest.mark.parametrize("moment", ["2025-01-01", '"2025-01-01"', "2025-01-01T00:00:00Z", "2025-01-01T01:00:00+01:00"])
def test_one_moment_is_the_same_however_it_is_written(tmp_path: Path, moment: str) -> None:
    text = LB.replace('"192.0.2.10"', f'{{ range = "192.0.2.10", from = {moment}, network = "edge" }}')
    [_, lb] = read(tmp_path, WEB + text).systems
    assert lb.system.owns[0].from_ns == 1_735_689_600_000_000_000
    assert lb.system.owns[0].network == "edge"


def test_the_same_range_may_change_hands(tmp_path: Path) -> None:
    first = LB.replace('"192.0.2.10"', '{ range = "192.0.2.10", until = 2025-01-01 }')
    second = '[systems.cdn]\naddresses = [{ range = "192.0.2.10", from = 2025-01-01 }]\npeers = ["outside"]\n'
    read(tmp_path, WEB + first + second)
    assert any("same time" in fault for fault in faults(tmp_path, WEB + first.replace("2025-", "2026-") + second))


def test_the_same_range_may_be_owned_in_two_networks(tmp_path: Path) -> None:
    read(tmp_path, WEB + LB + '[systems.cdn]\nnetwork = "b"\naddresses = ["192.0.2.10"]\npeers = ["outside"]\n')


def test_ranges_may_stand_in_a_file_with_comments(tmp_path: Path) -> None:
    (tmp_path / "lb.txt").write_text("# ours\n192.0.2.10\n\n192.0.2.32/28 # more\n")
    listed = read(tmp_path, WEB + LB)
    filed = read(tmp_path, WEB + LB.replace('["192.0.2.10", "192.0.2.32/28"]', '[{ file = "lb.txt" }]'))
    assert filed.systems[1].system.owns == listed.systems[1].system.owns
    assert filed.rules == listed.rules


def test_keys_may_be_spread_over_files(tmp_path: Path) -> None:
    config(tmp_path, WEB + "[limits]\nline_bytes = 65536\n", "a.toml")
    config(tmp_path, LB, "b.toml")
    settings = load([tmp_path])
    assert [each.system.name for each in settings.systems] == ["web", "lb"]
    assert settings.limits.line_bytes == 65536


def test_secrets_are_kept_as_keyed_hashes(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"0123456789abcdef\n")
    (tmp_path / "secret").write_text("open sesame\n")
    text = WEB + LB + 'shared = true\nproof = [{ header = "X-Origin", value_file = "secret" }]\n'
    settings = read(tmp_path, text + '[secrets]\nkey_file = "key"\n')
    web, lb = settings.systems
    assert [proof.value for proof in lb.system.proof] == [proof_hash(b"0123456789abcdef", "open sesame")]
    assert web.setup is not None
    assert web.setup.proof_headers == {"x-origin"}
    assert web.setup.proof_key == b"0123456789abcdef"


def test_rules_do_not_depend_on_paths_comments_or_order(tmp_path: Path) -> None:
    one = read(tmp_path / "one", WEB + LB)
    other = read(tmp_path / "other", "# a comment\n" + LB + WEB.replace('"lb", "internal"', '"internal", "lb"'))
    assert (one.rules, len(one.rules)) == (other.rules, 16)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("192.0.2.32/28", "192.0.2.32/27"),
        ('"outside"', '"internal"'),
        ('"X-Forwarded-For"', '"Forwarded"'),
        ('logs_peer = "socket"\n', 'logs_peer = "socket"\nmax_skew = "1ms"\n'),
    ],
)
def test_rules_change_with_whatever_decides(tmp_path: Path, old: str, new: str) -> None:
    assert read(tmp_path, WEB + LB).rules != read(tmp_path, (WEB + LB).replace(old, new)).rules


def test_inputs_change_the_digest_but_not_the_rules(tmp_path: Path) -> None:
    one, other = read(tmp_path, WEB + LB), read(tmp_path, WEB.replace("*.log", "*.gz") + LB)
    assert one.rules == other.rules
    assert one.digest != other.digest


@pytest.mark.parametrize(
    ("source", "mode", "good"),
    [
        ("proxy", "append", True),
        ("x-forwarded-for", "append", True),
        ("x-forwarded-for", "append2", True),
        ("x-forwarded-for", "overwrite", False),
        ("forwarded", "overwrite", False),
        ("cf-connecting-ip", "overwrite", True),
        ("cf-connecting-ip", "append", False),
        ("x-made-up", "append2", False),
    ],
)
def test_a_header_can_only_be_promised_as_it_is_written(source: str, mode: str, good: bool) -> None:
    assert (promise_fault(source, mode) is None) == good


@pytest.mark.parametrize("key", KEYS, ids=lambda key: f"{key.table}.{key.name}")
def test_every_example_has_the_shape_of_its_key_and_stands_in_the_help(key: Key) -> None:
    value = tomllib.loads(f"x = {key.example}")["x"]
    assert list(misfits(key.shape, value, key.name)) == []
    values = f"Allowed: {allowed(key.shape)}" if allowed(key.shape) else ""
    shown = " ".join(f"{key.name} = {key.example} {key.meaning} {values}".split())
    assert shown in " ".join(config_help().split())


def test_every_key_of_a_system_stands_in_one_group() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(keys_of("systems"))


def words_of(shape: Any) -> list[str]:
    """Every word of the closed lists of a shape."""
    inner = shape.values() if isinstance(shape, dict) else shape if isinstance(shape, list) else []
    own = shape.get("enum", []) if isinstance(shape, dict) else []
    return [*own, *(word for each in inner for word in words_of(each))]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: f"{key.table}.{key.name}")
def test_the_help_of_a_key_shows_every_word_of_its_closed_list(key: Key) -> None:
    assert all(f'"{word}"' in allowed(key.shape) for word in words_of(key.shape))


MISSED = {  # what `help config` marks as required → a configuration that lacks it
    ("systems", "peers"): "peers-missing",
    ("systems", "addresses"): "addresses-missing",
    ("systems", "format"): "log-key-without-format",
    ("systems", "logs_peer"): "logs-peer-missing",
    ("systems", "timezone"): "zone-missing",
    ("kafka", "brokers"): "brokers-missing",
    ("kafka", "user"): "sasl-without-user-and-password",
    ("kafka", "password_file"): "sasl-without-user-and-password",
    ("kafka", "cert_file"): "key-without-certificate",
    ("kafka", "key_file"): "certificate-without-key",
    ("secrets", "key_file"): "secret-without-key",
}


@pytest.mark.parametrize("key", REQUIRED, ids=".".join)
def test_what_the_help_marks_as_required_is_missed(key: tuple[str, str]) -> None:
    assert any(re.search(rf"\b{key[1]}\b", said) for said in sentences(CASES / "faults" / f"{MISSED[key]}.toml"))


VALUES = st.recursive(
    st.sampled_from(["", "a", "proxy", "append", "x-real-ip", "x_y", "/p", "5s", "cri", "socket", "2025-01-01"])
    | st.booleans()
    | st.integers(-1, 300),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["header", "mode", "range", "file", "from", "value", "value_file", "z"]), inner
        )
    ),
    max_leaves=5,
)


@given(st.sampled_from(KEYS), VALUES)
def test_our_check_and_the_json_schema_accept_the_same_values(key: Key, value: object) -> None:
    assert (list(misfits(key.shape, value, "")) == []) == Draft202012Validator(key.shape).is_valid(value)


def test_the_json_schema_accepts_a_good_configuration_and_refuses_an_unknown_key() -> None:
    schema = Draft202012Validator(config_schema())
    schema.validate(tomllib.loads(WEB + LB))
    assert not schema.is_valid(tomllib.loads(WEB + "pears = 1\n" + LB))
    assert not schema.is_valid(tomllib.loads(LB.replace("systems.lb", "systems.outside")))


WRONG = st.one_of(
    st.text("ab-_/, 12.:{}", max_size=12),
    st.integers(-3, 70_000),
    st.booleans(),
    st.sampled_from(["yes", "1d", "X_Real_IP", "PROXY", "outside", "kafka-1:9092,kafka-2:9092", "10.0.0.0/24"]),
)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: f"{key.table}.{key.name}")
@given(
    value=st.one_of(WRONG, st.lists(WRONG, max_size=2), st.dictionaries(st.sampled_from(["header", "range"]), WRONG))
)
def test_what_a_fault_says_to_write_has_its_shape(key: Key, value: object) -> None:
    for path, text in key_faults(key, value, f"t.{key.name}"):
        name, sign, written = text.partition("; write ")[2].partition(f"{key.name} = ")
        if sign and not name and path == f"t.{key.name}":
            mended = tomllib.loads(f"mended = {written.partition(' or ')[0]}")["mended"]
            assert list(misfits(key.shape, mended, "")) == []
