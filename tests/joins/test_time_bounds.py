"""Stamps that do not keep their bounds: what the data show against the configuration, and what is said then."""

from __future__ import annotations

from clientip.joins.connections import RETAKEN_NS
from clientip.trust.answers import Refused

from tests.joins.test_joins_edges import BOUNDS, POD, A, answer, asked, line, nothing, told, who

HIGH = 100 + BOUNDS.tolerance


def test_a_request_just_before_the_connection_that_must_have_carried_it_breaks_a_bound() -> None:
    for first in (told("f", HIGH + 1, None), told("f", HIGH + RETAKEN_NS, HIGH + 2 * RETAKEN_NS)):
        assert answer([first], asked(90, 100)) == Refused("contradiction", finding="bound_broken")


def test_so_it_does_after_a_connection_that_was_over() -> None:
    before = told("e", 10, 20)
    assert who(answer([before, told("f", HIGH + 1, None)], asked(90, 100))) == "contradiction"


def test_a_connection_much_later_or_of_another_server_breaks_none() -> None:
    later, other = told("f", HIGH + RETAKEN_NS + 1, None), told("f", HIGH + 1, None, target=("10.244.2.6", 8080))
    assert who(answer([later], asked(90, 100))) != "contradiction"
    assert who(answer([other], asked(90, 100))) != "contradiction"


def test_where_lines_may_be_missing_no_bound_is_broken() -> None:
    assert who(answer([told("f", HIGH + 1, None)], asked(90, 100), nothing)) == "evidence_incomplete"


def test_a_balancers_lines_show_it_as_well() -> None:
    found = answer([line("f", HIGH + 1, None, A)], asked(90, 100, witnesses=("lb",), target=POD, nat=False))
    assert found == Refused("contradiction", finding="bound_broken")
