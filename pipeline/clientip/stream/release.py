"""Whether a question of a stream can leave now, and with what answer.

An answer leaves when nothing that comes later can change it: one line proves it alone, or its witnesses have told
everything of its moment. A refusal leaves on the same condition; it is then the refusal of a replay, and another key
may be tried. When the time is over before that, the line ends with a reason that says so: a weaker key must not answer
if a stronger one might still have answered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from clientip.joins.bounds import COMPLETE, window
from clientip.joins.connections import MAX_ACCEPT_NS
from clientip.joins.facts import JoinFact, JoinQuestion, kind_of
from clientip.joins.flows import NEVER
from clientip.joins.matching import answers
from clientip.reasons import WAITING
from clientip.stream.watermarks import Licence, View
from clientip.syntax.addresses import parse_address
from clientip.trust.answers import Answer, Awaits, Refused, Through

Forgotten = Callable[[str], int]
"""System → up to which moment facts of it, under this kind of key, were dropped; NEVER: none were."""


class Leave(NamedTuple):
    """The question leaves."""

    answer: Answer | Awaits
    over: bool  # its time is over: no further key is tried


class Wait(NamedTuple):
    """The question waits for a new fact."""

    need_ns: int | None  # or until its witnesses have told everything up to this moment


class Case(NamedTuple):
    """One question with all that is known under its key."""

    view: View
    forgotten: Forgotten
    asked: JoinQuestion
    facts: Sequence[JoinFact]
    others: Callable[[], Sequence[JoinQuestion]]  # the other questions of the key, also those that have left
    clock_ns: int
    is_over: bool  # whether its time is over
    is_patient: bool = True  # whether it may wait longer while lines of a witness are read with a delay


_SILENT: Final = Refused("evidence_missing")


def decide(case: Case) -> Leave | Wait:
    """Whether the question leaves, and with what answer, or until when it waits."""
    asked, kind = case.asked, kind_of(case.asked.key)
    licence = Licence(case.view, case.forgotten)
    answer = _answer(case, licence, [asked])
    if answer is None:  # the line it awaits has not ended
        return Leave(Refused("evidence_incomplete"), over=True) if case.is_over else Wait(None)
    if isinstance(answer, Through) and answer.own and not answer.record and not _is_silence(case, licence, answer):
        answer = _SILENT
        final = False
    else:
        final = _is_final(case, licence)
    if not isinstance(answer, Refused):
        if final or len(asked.witnesses) == 1 or kind == "conn" or _all_know(case):
            return Leave(answer, over=False)
        if not case.is_over:
            return Wait(licence.need_ns if licence.need_ns > NEVER else _high(case))
        return Leave(answer, over=False) if _all_know(case) else Leave(Refused("evidence_incomplete"), over=True)
    if answer.reason == "ambiguous" and asked.serial is not None and kind == "conn":
        return _in_order(case, answer, final)
    if final:
        return Leave(answer, over=False)
    if case.is_over:
        if case.is_patient and any(_lags(case, witness) for witness in asked.witnesses):
            return Wait(None)
        return Leave(_only_waited(case, answer), over=True)
    return Wait(licence.need_ns if licence.need_ns > NEVER else _high(case))


def _answer(case: Case, licence: Licence, questions: Sequence[JoinQuestion]) -> Answer | Awaits | None:
    bounds = case.view.joining.bounds
    return answers(questions[0].key, case.facts, questions, licence, bounds)[0]  # type: ignore[arg-type]


def _high(case: Case) -> int:
    return window(case.asked, case.view.joining.bounds)[1]


def _low(case: Case) -> int:
    return window(case.asked, case.view.joining.bounds)[0]


def _is_final(case: Case, licence: Licence) -> bool:
    """Whether its witnesses have told everything that could change the answer."""
    if licence.states and licence.states <= COMPLETE:
        return True
    low, high = _low(case), _high(case)
    return all(case.view.told_until(each) >= high and case.forgotten(each) < low for each in case.asked.witnesses)


def _is_silence(case: Case, licence: Licence, answer: Through) -> bool:
    """Whether the device translated nothing from there in the window and a while after, with no fact dropped ever."""
    if case.forgotten(answer.system) != NEVER:
        return False
    low, high = window(case.asked, case.view.joining.bounds)
    return licence(answer.system, parse_address(case.asked.source), low, high + MAX_ACCEPT_NS, True) == "yes"


def _all_know(case: Case) -> bool:
    """Whether each witness alone would leave no doubt about its own log."""
    for witness in case.asked.witnesses:
        alone = replace(case.asked, witnesses=(witness,))
        said = _answer(case, Licence(case.view, case.forgotten), [alone])
        if isinstance(said, Refused) and said.reason in ("evidence_missing", "evidence_incomplete"):
            return False
    return True


def _in_order(case: Case, answer: Refused, final: bool) -> Leave | Wait:
    """Several flows fit: the order of the other requests on the server's connections may leave one of them."""
    if not case.is_over:
        return Wait(None)
    ordered = _answer(case, Licence(case.view, case.forgotten), [case.asked, *case.others()])
    if ordered is not None and not isinstance(ordered, Refused):
        return Leave(ordered, over=False)
    return Leave(answer, over=False) if final else Leave(_only_waited(case, answer), over=True)


def _lags(case: Case, witness: str) -> bool:
    """Whether lines of this witness are missing still, and a reader is reading them."""
    return case.view.told_until(witness) < _high(case) and case.view.catches_up(witness, case.clock_ns)


def _only_waited(case: Case, answer: Refused) -> Refused:
    """The refusal of a line whose time is over, with a reason that says so."""
    low = _low(case)
    if any(case.forgotten(witness) >= low for witness in case.asked.witnesses):
        return replace(answer, reason="too_late")
    if any(case.view.is_silent(witness) for witness in case.asked.witnesses):
        return replace(answer, reason="source_silent")
    return answer if answer.reason in WAITING else replace(answer, reason="evidence_incomplete")
