"""One check for every sample of every format: the line is read as its author says."""

from __future__ import annotations

import pytest
from clientip.errors import FormatError
from clientip.model import Address, Claim, Endpoint, Format, Line, Observation, Reader, Sample, Setup, Skipped
from msgspec.structs import asdict

CHECKED = (("server_name", "checked"),)  # options of Envoy text: its server names are names


def reader_of(chosen: Format, **fields: object) -> Reader:
    """Compile `chosen` for a system `s`; `logs_peer` is the socket and the zone UTC unless said otherwise."""
    known = {"timezone": "UTC", **({"logs_peer": "socket"} if chosen.logs_peer else {}), **fields}
    return chosen.compile(Setup(system="s", format=chosen.name, **known))  # type: ignore[arg-type]


def line_of(text: bytes) -> Line:
    """An unwrapped line."""
    return Line(raw=text, text=text)


def check_sample(chosen: Format, sample: Sample) -> None:
    """Read one sample with its setup and compare every path it names."""
    read = reader_of(chosen, **dict(sample.setup))
    line = line_of(sample.line)
    if sample.rejected is not None:
        with pytest.raises(FormatError) as caught:
            read(line)
        assert caught.value.reason == sample.rejected, sample.line
        return
    seen = read(line)
    if sample.skipped is not None:
        assert isinstance(seen, Skipped), seen
        assert seen.reason == sample.skipped, sample.line
        return
    assert isinstance(seen, Observation), seen
    for path, expected in sample.expect:
        assert value_at(seen, path) == expected, (path, sample.line)


def value_at(seen: Observation, path: str) -> object:
    """The value under a dotted path, in the form samples write it.

    `claims.<header>` is the header's lines joined by ", " (None: no such claim), `claims.<header>.coverage`
    its coverage, `ids.requests.<scheme>` and `proofs.<header>` the value of that pair, `notes` a tuple.
    """
    head, _, rest = path.partition(".")
    value = getattr(seen, head)
    if head == "claims" and rest:
        name, _, part = rest.partition(".")
        return _claim(value, name, part)
    if head == "proofs" and rest:
        return dict(value).get(rest)
    if head == "ids" and rest.startswith("requests."):
        return None if value is None else dict(value.requests).get(rest.removeprefix("requests."))
    for part in rest.split(".") if rest else ():
        value = None if value is None else asdict(value)[part]
    return _text(value)


def _claim(claims: tuple[Claim, ...], name: str, part: str) -> object:
    found = [claim for claim in claims if claim.name == name]
    if not found:
        return None
    return found[0].coverage if part == "coverage" else ", ".join(found[0].values)


def _text(value: object) -> object:
    if isinstance(value, Endpoint):
        if value.port is None:
            return value.address.text
        host = f"[{value.address.text}]" if value.address.version == 6 else value.address.text
        return f"{host}:{value.port}"
    return value.text if isinstance(value, Address) else value
