"""What a replay with an end in Kafka writes beside its rows, and how its inputs are named."""

from __future__ import annotations

from typing import Final

NAMED: Final = "kafka:"  # how an input begins that is a topic
RANGES: Final = "ranges.json"  # of a run over topics, and the next one, too: see `kafka_fetch`
FETCHED: Final = "fetched.ndjson"
SENDING: Final = "sending.json"  # of a run into topics: see `kafka_send`
