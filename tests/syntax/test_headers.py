"""Laws of sorting one request's headers into claims, proofs and ids."""

from __future__ import annotations

import pytest
from clientip import reasons
from clientip.model import Claim, Ids, Node, Setup
from clientip.syntax.addresses import parse_address
from clientip.syntax.headers import (
    FORWARDING,
    ID_HEADERS,
    LIST_HEADERS,
    REQUEST_HEADERS,
    SortedHeaders,
    claim_nodes,
    disagree,
    is_list,
    proof_hash,
    read_ids,
    requests,
    sort_headers,
    traces,
)
from hypothesis import given
from hypothesis import strategies as st

SETUP = Setup(
    system="s",
    format="f",
    claim_headers=frozenset({"x-company-client"}),
    proof_headers=frozenset({"x-azure-fdid", "x-request-id"}),
    proof_key=b"key",
)
PLAIN = Setup(system="s", format="f")
A, B = "a" * 32, "b" * 32
SPAN = "b7ad6b7169203331"


def w3c(trace: str) -> str:
    return f"00-{trace}-{SPAN}-01"


def root(trace: str) -> str:
    return f"Root=1-{trace[:8]}-{trace[8:]}"


# --- claims


@pytest.mark.parametrize("name", sorted(FORWARDING))
def test_every_well_known_header_is_a_claim_in_lower_case(name: str) -> None:
    seen = sort_headers(PLAIN, [(name.upper(), ("192.0.2.1",), "last")])
    assert seen == SortedHeaders(claims=(Claim(name, ("192.0.2.1",), "last"),))


def test_headers_a_system_conveys_are_claims_and_others_are_dropped() -> None:
    pairs = [("X-Company-Client", ("192.0.2.1",), "all"), ("User-Agent", ("x",), "all")]
    assert sort_headers(SETUP, pairs).claims == (Claim("x-company-client", ("192.0.2.1",)),)
    assert sort_headers(PLAIN, pairs) == SortedHeaders()


def test_an_underscore_is_not_a_dash() -> None:
    assert sort_headers(PLAIN, [("X_Forwarded_For", ("192.0.2.1",), "all")]) == SortedHeaders()


def test_a_column_that_shows_nothing_is_a_claim_without_values() -> None:
    assert sort_headers(PLAIN, [("x-forwarded-for", (), "all")]).claims == (Claim("x-forwarded-for", ()),)


def test_a_name_that_comes_twice_is_one_header_as_well_shown_as_its_worst_part() -> None:
    for first, second in (("all", "cut"), ("cut", "all"), ("cut", "cut")):
        pairs = [("x-forwarded-for", ("1.1.1.1",), first), ("X-Forwarded-For", ("2.2.2.2", "3.3.3.3"), second)]
        assert sort_headers(PLAIN, pairs).claims == (
            Claim("x-forwarded-for", ("1.1.1.1", "2.2.2.2", "3.3.3.3"), "cut"),
        )


def test_only_lists_are_lists() -> None:
    assert {name for name in FORWARDING if is_list(name)} == LIST_HEADERS
    assert not is_list("x-company-client")


def test_each_header_is_read_as_it_is_written() -> None:
    v6, v4 = parse_address("2001:db8::7"), parse_address("192.0.2.1")
    assert claim_nodes("x-forwarded-for", ("unknown, ,", "192.0.2.1")) == (
        Node("unknown", fault="unknown"),
        Node("192.0.2.1", v4),
    )
    assert claim_nodes("forwarded", ("for=192.0.2.1",)) == (Node("192.0.2.1", v4),)
    assert claim_nodes("x-real-ip", ("192.0.2.1, 192.0.2.2",))[0].fault == "bad_address"
    assert len(claim_nodes("x-real-ip", ("192.0.2.1", "192.0.2.2"))) == 2
    viewer = "cloudfront-viewer-address"
    assert claim_nodes(viewer, ("2001:db8::7:4658", " 192.0.2.1:80")) == (
        Node("2001:db8::7:4658", v6, 4658),
        Node(" 192.0.2.1:80", v4, 80),
    )
    faults = [node.fault for node in claim_nodes(viewer, ("x:1", "192.0.2.1", "192.0.2.1:x", "0.0.0.0:1"))]
    assert faults == ["bad_address", "bad_port", "bad_port", "unspecified"]


# --- proofs and secrets


def test_a_proof_leaves_only_as_a_keyed_hash_and_is_nothing_else() -> None:
    seen = sort_headers(SETUP, [("X-Azure-FDID", ("hush", "other"), "all"), ("x-request-id", ("hush",), "all")])
    hashed = proof_hash(b"key", "hush")
    assert seen.proofs == (
        ("x-azure-fdid", hashed),
        ("x-azure-fdid", proof_hash(b"key", "other")),
        ("x-request-id", hashed),
    )
    assert (seen.claims, seen.ids) == ((), None)
    assert sort_headers(SETUP, [("x-azure-fdid", (), "all")]) == SortedHeaders()


def test_a_header_that_claims_and_proves_is_only_a_proof() -> None:
    both = Setup(system="s", format="f", proof_headers=frozenset({"x-real-ip"}))
    assert sort_headers(both, [("x-real-ip", ("v",), "all")]) == SortedHeaders(
        proofs=(("x-real-ip", proof_hash(b"", "v")),)
    )


def test_the_secret_of_forwarded_leaves_only_as_a_keyed_hash() -> None:
    seen = sort_headers(SETUP, [("Forwarded", ("for=192.0.2.1;secret=hush",), "all")])
    assert seen.claims == (Claim("forwarded", (f"for=192.0.2.1;secret={proof_hash(b'key', 'hush')}",)),)


@given(st.binary(max_size=200), st.binary(max_size=200), st.text())
def test_a_hash_depends_on_the_whole_key_and_fits_any_text(one: bytes, two: bytes, value: str) -> None:
    assert (proof_hash(one, value) == proof_hash(two, value)) == (one == two)
    assert len(proof_hash(one, value + "\udc80")) == 32


def test_the_hash_of_a_proof_never_changes() -> None:
    assert proof_hash(b"key", "value") == "ddefcfd9935c697e78d48a345e6f2f2d"


# --- which trace wins

PAIRS = {
    "w3c": ("traceparent", w3c(A)),
    "b3": ("b3", f"{A}-{SPAN}"),
    "jaeger": ("uber-trace-id", f"{A}:{SPAN}:0:1"),
    "gcp": ("x-cloud-trace-context", f"{A}/{int(SPAN, 16)}"),
    "datadog": ("x-datadog-trace-id", str(int(A[16:], 16))),
    "xray": ("x-amzn-trace-id", f"{root(A)};Parent={SPAN}"),
}


@pytest.mark.parametrize("index", range(len(PAIRS)))
def test_the_strongest_header_wins_in_whatever_order_they_come(index: int) -> None:
    pairs = [(name, (value,)) for name, value in list(PAIRS.values())[index:]]
    for order in (pairs, pairs[::-1]):
        assert read_ids(order).scheme == list(PAIRS)[index]
        assert not disagree(traces(order))


def test_b3_in_many_headers_counts_after_b3_in_one() -> None:
    multi = [("x-b3-spanid", (SPAN,)), ("x-b3-traceid", (B,))]
    assert read_ids(multi) == Ids(B, None, SPAN, "b3", 128, header="x-b3-traceid")
    both = [*multi, ("b3", (f"{A}-{SPAN}",))]
    assert [ids.trace for ids in traces(both)] == [A, B]
    assert disagree(traces(both)) and read_ids(both).trace is None


def test_datadog_is_put_together_from_three_headers() -> None:
    pairs = [
        ("x-datadog-tags", ("_dd.p.dm=-1,_dd.p.tid=" + A[:16],)),
        ("x-datadog-parent-id", (str(int(SPAN, 16)),)),
        ("x-datadog-trace-id", (str(int(A[16:], 16)),)),
    ]
    ids = read_ids(pairs)
    assert (ids.trace, ids.parent, ids.scheme, ids.bits) == (A, SPAN, "datadog", 128)


def test_several_traceparents_are_void() -> None:
    assert traces([("traceparent", (w3c(A), w3c(A)))]) == ()
    assert traces([("traceparent", (f"{w3c(A)}, {w3c(A)}",))]) == ()
    assert read_ids([("traceparent", (w3c(A), w3c(B))), ("b3", (f"{B}-{SPAN}",))]).scheme == "b3"


def test_a_repeated_header_that_names_two_traces_does_not_win() -> None:
    pairs = [("b3", (f"{A}-{SPAN}", f"{B}-{SPAN}")), ("uber-trace-id", (f"{B}:{SPAN}:0:1",))]
    assert read_ids(pairs).scheme == "jaeger"
    assert disagree(traces(pairs))
    same = [("b3", (f"{A}-{SPAN},{A}-{SPAN}", f"{A}-{SPAN}"))]
    assert (read_ids(same).trace, disagree(traces(same))) == (A, False)


def test_of_repeated_parts_none_is_tied_to_a_trace() -> None:
    assert [ids.parent for ids in traces([("x-b3-traceid", (A, B)), ("x-b3-spanid", (SPAN,))])] == [None, None]
    assert [ids.parent for ids in traces([("x-b3-traceid", (A,)), ("x-b3-spanid", (SPAN, "c" * 16))])] == [None]


@pytest.mark.parametrize(
    ("pairs", "differ"),
    [
        ([("traceparent", w3c(A)), ("b3", f"{B}-{SPAN}")], True),
        ([("traceparent", w3c(A)), ("x-b3-traceid", A[:16])], False),
        ([("traceparent", w3c(A)), ("x-b3-traceid", B[:16])], True),
        ([("traceparent", w3c("c" * 16 + A[:16])), ("b3", f"{A}-{SPAN}"), ("x-b3-traceid", A[:16])], True),
        ([("traceparent", w3c(A)), ("x-amzn-trace-id", root(B))], False),
        ([("x-amzn-trace-id", f"{root(A)},{root(B)}")], True),
        ([("traceparent", w3c(A))], False),
        ([], False),
    ],
)
def test_headers_disagree_if_what_both_say_differs_but_x_ray_is_on_its_own(
    pairs: list[tuple[str, str]], differ: bool
) -> None:
    assert disagree(traces([(name, (value,)) for name, value in pairs])) is differ
    seen = sort_headers(PLAIN, [(name, (value,), "all") for name, value in pairs])
    assert seen.notes == (("trace_ids_disagree",) if differ else ())
    assert set(seen.notes) <= set(reasons.FINDINGS)


# --- request ids


@pytest.mark.parametrize("name", sorted(REQUEST_HEADERS))
def test_every_request_header_keeps_its_id_under_its_own_name(name: str) -> None:
    assert requests([(name, (" Id+1/x== ",))]) == ((name, "id+1/x==" if name == "cf-ray" else "Id+1/x=="),)
    assert sort_headers(PLAIN, [(name.upper(), ("abc",), "all")]).ids == Ids(requests=((name, "abc"),))


def test_request_ids_lose_wrappers_and_repeats_but_nothing_else() -> None:
    pairs = [
        ("x-arr-log-id", ("{785918d6-06b6-9312-bf77-6d9bd968dc21}",)),
        ("x-request-id", ("a, b", "a", "-", "null")),
        ("cf-ray", ("761FDE4E984E5AB2-AMS",)),
        ("x-kong-request-id", ("u#1",)),
    ]
    assert requests(pairs) == (
        ("x-arr-log-id", "785918d6-06b6-9312-bf77-6d9bd968dc21"),
        ("x-request-id", "a"),
        ("x-request-id", "b"),
        ("cf-ray", "761fde4e984e5ab2"),
        ("x-kong-request-id", "u#1"),
    )


def test_an_x_ray_root_is_kept_as_a_request_id_though_another_trace_wins() -> None:
    pairs = [("traceparent", (w3c(A),)), ("x-amzn-trace-id", (f"Self=1-67891234-x;{root(B)}",))]
    ids = read_ids(pairs)
    assert (ids.trace, ids.requests) == (A, (("xray_root", B), ("xray_self", "1-67891234-x")))
    assert requests([("x-amzn-trace-id", ("Self=x",))]) == (("xray_self", "x"),)
    assert requests([("x-amzn-trace-id", ("Self=" + "x" * 300,))]) == ()


def test_ids_are_bounded_in_length_and_number() -> None:
    assert requests([("x-request-id", ("x" * 200,))]) != ()
    assert requests([("x-request-id", ("x" * 201,))]) == ()
    many = ",".join(f"id{n}" for n in range(100))
    assert len(requests([("x-request-id", (many,))])) == 8
    assert len(requests([(name, (many,)) for name in sorted(REQUEST_HEADERS)])) == 16
    assert len(traces([("x-b3-traceid", (",".join(format(n, "016x") for n in range(1, 25)),))])) == 8
    assert traces([("b3", (f"{A}-{SPAN}" + " " * 1000,))]) == ()
    assert traces([("b3", (f"{A}-{SPAN}" + " " * 1000, f"{B}-{SPAN}"))])[0].trace == B


def test_headers_without_an_id_give_no_ids() -> None:
    assert sort_headers(PLAIN, [("traceparent", ("-",), "all"), ("x-request-id", (), "all")]).ids is None
    assert read_ids([]) == Ids()


NAMES = st.sampled_from(sorted(FORWARDING | ID_HEADERS | {"x-company-client", "x-azure-fdid", "other"}))
VALUES = st.lists(st.one_of(st.text(max_size=30), st.sampled_from([value for _, value in PAIRS.values()])), max_size=3)


@given(st.lists(st.tuples(NAMES, VALUES.map(tuple), st.sampled_from(["all", "cut", "first"])), max_size=6))
def test_any_headers_are_sorted_and_no_proof_is_shown(pairs: list[tuple[str, tuple[str, ...], str]]) -> None:
    seen = sort_headers(SETUP, pairs)  # type: ignore[arg-type]
    assert {claim.name for claim in seen.claims} == {name for name, *_ in pairs} & (FORWARDING | {"x-company-client"})
    assert all(len(hashed) == 32 for _, hashed in seen.proofs)
    for claim in seen.claims:
        claim_nodes(claim.name, claim.values)
