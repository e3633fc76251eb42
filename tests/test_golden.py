"""Real servers' logs: every recorded line gives the client that sent it, or names nobody.

The truth travels in the URL, so re-recording (`make record`) changes no expectation:
`golden/expected.jsonl` holds verdict and word per label, and the client stands in `truth.jsonl`.
`CLIENTIP_EXPECT=1 pytest tests/test_golden.py` writes it anew; read the difference before you keep it.
"""

from __future__ import annotations

import json
import os

from tests.worlds.recordings import EXPECTED, GOLDEN, Recording, expected

RECORDING = Recording(GOLDEN / "logs")

if os.environ.get("CLIENTIP_EXPECT"):
    EXPECTED.write_text(
        "".join(json.dumps({"line": key, "gives": gives}) + "\n" for key, gives in sorted(RECORDING.gives().items()))
    )


def test_no_recorded_line_names_a_wrong_client() -> None:
    assert RECORDING.wrong() == []


def test_every_recorded_line_gives_what_it_gave_before() -> None:
    assert RECORDING.gives() == expected()


def test_only_formats_without_escapes_reject_lines_and_only_where_a_client_forged_columns() -> None:
    lost = {key: gives for key, gives in RECORDING.gives().items() if gives.startswith("rejected")}
    assert lost.pop("haproxy-syslog3164.log haproxy-syslog3164-long-ua-010") == "rejected truncated"  # at 1024
    unescaped = {name for name, row in RECORDING.setups.items() if row["format"] in ("envoy_text", "traefik_clf")}
    assert {key.partition(" ")[0] for key in lost} <= unescaped
    assert set(lost.values()) == {"rejected two_readings"}
    assert all(any(word in key for word in ("-ua-", "-path-", "-xff-clf")) for key in lost)
