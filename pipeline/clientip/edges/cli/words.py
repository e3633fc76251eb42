"""The words of our own that an operator meets, explained where they are met first."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "system": "one deployed thing, such as this balancer, those nodes, that ingress; a table [systems.NAME]",
        "peer": "the other end of a system's own connection: who connected to it",
        "hop": "a system between the client and the one whose log is read",
        "vouch": "a system that owns the address of a peer says who its own peer was",
        "promise": "what a system tells its next hop of its own peer, for every request (`conveys`)",
        "claim": "an address in a header that no system vouches for; anyone can have written it",
        "record": "a row that leaves: one line with its client, or with the reason why the client is unknown",
        "verdict": "how the client of a record is known; `clientip help reasons` lists the verdicts",
        "finding": "a contradiction or an attack noticed on the way to the client",
        "fact": "what one line proves for other lines: a connection, an address translation, an id",
        "question": "what a line needs from other logs: who was behind this connection, or which request had this id?",
        "witness": "a system whose log may answer the questions of others (`tells`)",
        "watermark": "the moment up to which a witness has told everything",
        "reader": "a process of a stream that turns lines into records, facts and questions",
        "answerer": "a process of a stream that answers questions and writes the records that waited for them",
        "join topic": "the Kafka topic through which readers send facts and questions to answerers",
    }
)


def words_in(text: str) -> Mapping[str, str]:
    """The words that the text uses, in singular or plural."""
    return {word: meaning for word, meaning in WORDS.items() if re.search(rf"\b{word}(s|es)?\b", text, re.IGNORECASE)}


def explained(text: str, words: Mapping[str, str]) -> str:
    """The text below an explanation of these words."""
    if not words:
        return text
    return "\n".join(["Words:", *_lines(words), "", text])


def _lines(words: Mapping[str, str]) -> Iterator[str]:
    wide = max(map(len, words))
    for word, meaning in words.items():
        head = f"  {word:{wide}}  "
        yield from textwrap.wrap(meaning, 110, initial_indent=head, subsequent_indent=" " * len(head))
