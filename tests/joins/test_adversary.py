"""The first promise under attack: a client outside does what he can, and no record names a wrong client."""

from __future__ import annotations

import tempfile
from pathlib import Path

import clientip
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worlds.adversaries import Powers, Site, site
from tests.worlds.replay_worlds import write
from tests.worlds.sizes import SIZE

REQUESTS = 20_000 if SIZE == 1 else 1_000_000
A_SITE = 60  # requests, about
SITES = st.builds(
    Site,
    seed=st.integers(0, 10**9),
    connections=st.integers(2, 60),
    mode=st.sampled_from(["http", "tcp"]),
    nat=st.booleans(),
    ports=st.integers(1, 4),
    ids=st.sampled_from(["none", "minted", "passed", "kept"]),
    lossless=st.booleans(),
    shows_retries=st.booleans(),
    begins=st.booleans(),
    rotated=st.booleans(),
    powers=st.builds(Powers, **{name: st.booleans() for name in Powers.__struct_fields__}),
)


def named(shape: Site) -> list[tuple[str, str, str | None]]:
    """Target, true client, and the client named; of every line that the application's log shows."""
    files, found = site(shape), []
    with tempfile.TemporaryDirectory() as folder:
        write(files, Path(folder))
        for record in clientip.replay(Path(folder) / "c.toml"):
            if record.observation.setup.system == "app":
                target = record.observation.http.target
                client = record.resolution.named
                text = None if client is None else f"{client.address.text}:{client.port}"
                found.append((target, files.truth[target], text))
    return found


@settings(max_examples=REQUESTS // A_SITE, deadline=None)
@given(SITES)
def test_no_power_of_a_client_outside_makes_a_record_name_a_wrong_client(shape: Site) -> None:
    assert [each for each in named(shape) if each[2] not in (None, each[1])] == []
