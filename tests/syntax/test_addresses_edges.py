"""Cases that mutation testing asked for: each was a change of `addresses` that no other test noticed."""

from __future__ import annotations

import pytest
from clientip.errors import FormatError
from clientip.syntax.addresses import parse_node, read_port, split_list


@pytest.mark.parametrize(
    "digits", [6, 5_000]
)  # Python refuses to read more than 4,300 digits, with an error of its own
def test_a_port_of_any_length_is_refused_as_a_port(digits: int) -> None:
    with pytest.raises(FormatError, match="port"):
        read_port("9" * digits)


def test_only_blanks_and_tabs_are_taken_off_an_entry() -> None:
    assert parse_node(" \t~192.0.2.1~\t ").text == "~192.0.2.1~"
    assert [node.text for node in split_list(["~, \v192.0.2.1\n"])[0]] == ["~", "\v192.0.2.1\n"]
