"""One line's way through the joins: ask, be answered, walk on, ask again, until nothing is left to ask.

Pure: the caller carries questions and answers (replay, stream, a test) and calls `begin` and `go_on`.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from clientip.joins.facts import JoinQuestion, line_key
from clientip.joins.questions import Questions
from clientip.model import Observation, Resolution
from clientip.trust.answers import Answer, Awaits, Known, Refused, Through
from clientip.trust.graph import Graph
from clientip.trust.walk import resolve

MAX_ANSWERS: Final = 12  # of one line: hops that only other logs know; more are a loop


class Inquiry(Struct, frozen=True, gc=False, array_like=True):
    """Where a line stands: the answers it has, and what it asks now."""

    answers: tuple[Through, ...] = ()
    asked: int = 0  # how many keys of the present stop were tried before
    refused: tuple[Refused, ...] = ()  # by the keys of the present stop tried so far
    awaits: Awaits | None = None


class Open(Struct, frozen=True, gc=False):
    """A line that waits for the answer to one question."""

    inquiry: Inquiry
    question: JoinQuestion


class Inquirer:
    """Leads lines on with their answers; compiled once from the drawing."""

    def __init__(self, graph: Graph, asking: Questions) -> None:
        self._graph = graph
        self._questions = asking

    def begin(self, seen: Observation, found: Resolution) -> Open | Resolution:
        """The first question of a line whose walk ended as `found`, or its end if no system could answer."""
        return found if found.stop is None else self._ask(seen, found, Inquiry())

    def go_on(self, seen: Observation, inquiry: Inquiry, answer: Answer | Awaits) -> Open | Resolution:
        """What follows from the answer: a further question, or the end of the walk."""
        if isinstance(answer, Awaits):
            question = self._awaiting(seen, answer)
            return Open(replace(inquiry, awaits=answer), question)
        if isinstance(answer, Known):
            awaited = inquiry.awaits
            known = answer if awaited is None else replace(answer, method=awaited.method, system=awaited.system)
            return resolve(self._graph, seen, answers=(*inquiry.answers, known))
        if isinstance(answer, Through):
            told = (*inquiry.answers, answer)
            found = resolve(self._graph, seen, answers=told)
            if found.stop is None or found.stop.at < len(told):
                return replace(found, stop=None)
            if len(told) >= MAX_ANSWERS:
                return resolve(self._graph, seen, answers=(*told, Refused("too_many_steps")))
            return self._ask(seen, found, Inquiry(told))
        found = resolve(self._graph, seen, answers=inquiry.answers)
        return self._ask(seen, found, replace(inquiry, asked=inquiry.asked + 1, refused=(*inquiry.refused, answer)))

    def ask_again(self, seen: Observation, inquiry: Inquiry) -> Open:
        """The same question again, of a line that awaits another one: that line has not ended yet."""
        assert inquiry.awaits is not None
        return Open(inquiry, self._awaiting(seen, inquiry.awaits))

    def give_up(self, seen: Observation, inquiry: Inquiry) -> Resolution:
        """The end of a line that awaits one that awaits it."""
        return resolve(self._graph, seen, answers=(*inquiry.answers, Refused("too_many_steps")))

    def end(self, seen: Observation, inquiry: Inquiry, refused: Refused) -> Resolution:
        """The end of a line that is not led on, for this reason; what was named before stays a candidate."""
        shown = _final((refused, *inquiry.refused)).candidates
        return resolve(self._graph, seen, answers=(*inquiry.answers, replace(refused, candidates=shown)))

    def _ask(self, seen: Observation, found: Resolution, inquiry: Inquiry) -> Open | Resolution:
        questions = self._questions.questions(seen, found)
        if questions is None:
            return replace(found, stop=None)
        if isinstance(questions, Refused):
            return resolve(self._graph, seen, answers=(*inquiry.answers, questions))
        # A witness that owed an answer under a stronger key and kept silent is not overruled by a weaker one.
        silent = bool(inquiry.refused) and inquiry.refused[0].reason in ("evidence_missing", "contradiction")
        conn = bool(questions[0].source)
        if inquiry.asked < len(questions) and not (silent and conn):
            return Open(inquiry, questions[inquiry.asked])
        return resolve(self._graph, seen, answers=(*inquiry.answers, _final(inquiry.refused)))

    def _awaiting(self, seen: Observation, answer: Awaits) -> JoinQuestion:
        return JoinQuestion(
            line_key(answer.record),
            0,
            0,
            (answer.system,),
            seen.setup.system,
            seen.instance or "",
            None,
            seen.start_ns,
            seen.start_latest_ns or 0,
            seen.end_ns,
        )


def _final(refused: tuple[Refused, ...]) -> Refused:
    """The reason under the strongest key, with every candidate that any key named."""
    shown = {(each.address, each.port): each for one in reversed(refused) for each in one.candidates}
    witnesses = [each for each in refused if each.reason != "evidence_missing"] or list(refused)
    candidates = tuple(sorted(shown.values(), key=lambda each: (each.address, each.record)))
    return Refused(witnesses[0].reason, candidates, witnesses[0].finding)
