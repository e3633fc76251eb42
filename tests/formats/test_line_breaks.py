"""Law: no client writes a line of a log; a column that may hold his line break is refused, or encoded, or never raw."""

from __future__ import annotations

import pytest
from clientip.errors import ConfigError, FormatError
from clientip.formats import FORMATS
from clientip.formats.haproxy.logformat import HAPROXY
from clientip.model import Observation

from tests.worlds.samples_check import line_of, reader_of, value_at

ESCAPED = (("line_breaks", "escaped"),)
TCP = "%ci:%cp [%t] {} %ts end"
BREAKABLE = (
    "ssl_fc_sni",
    "req.ssl_sni",
    "req_ssl_sni",
    "fc_pp_authority",
    "fc_pp_unique_id",
    "ssl_c_s_dn",
    "ssl_c_s_dn(cn)",
    "ssl_c_i_dn",
    "ssl_fc_session_id",
    "req.payload(0,20)",
    "http_auth_user",
    "path,url_dec",
    "url_param(x),url_dec",
    "req.hdr(x),b64dec",
    "ssl_fc_sni,lower",
    "ssl_fc_sni,json(utf8s),bytes(0,9),url_dec",
    "var(txn.sni)",
    "lua.anything",
    "not_yet_invented",
)
ONE_LINE = (
    "ssl_fc_sni,url_enc",
    "ssl_fc_sni,lower,json(utf8s)",
    "ssl_c_s_dn(cn),hex",
    "req.ssl_sni,crc32",
    "req.hdr(user-agent)",
    "req.fhdr(user-agent),lower",
    "capture.req.hdr(0)",
    "ssl_fc_cipher",
    "ssl_c_verify",
    "fc_rcvd_proxy",
    "var(txn.base)",
    "rand(10)",
    "src,map(/etc/haproxy/names)",
    "path",
)


def haproxy(expression: str, **fields: object) -> str:
    """What the format says against a log-format with this expression; "" if it takes it."""
    try:
        reader_of(HAPROXY, pattern=TCP.format(f"%[{expression}]"), **fields)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("expression", BREAKABLE)
def test_haproxy_writes_expressions_as_they_came_so_those_with_line_breaks_are_refused(expression: str) -> None:
    said = haproxy(expression)
    assert f"`%[{expression}]` may hold a line break" in said
    assert f"%[{expression},url_enc]" in said
    assert haproxy(f"{expression},url_enc") == ""
    assert haproxy(expression, options=ESCAPED) == ""


@pytest.mark.parametrize("expression", ONE_LINE)
def test_what_cannot_hold_a_line_break_or_is_encoded_is_read(expression: str) -> None:
    assert haproxy(expression) == ""


def test_quotes_and_escapes_of_haproxy_leave_line_breaks_alone() -> None:
    for flags in ("+Q", "+E"):
        with pytest.raises(ConfigError, match="may hold a line break"):
            reader_of(HAPROXY, pattern=TCP.format(f"%{{{flags}}}[ssl_fc_sni]"))


def test_json_of_haproxy_escapes_them_and_a_variable_is_what_the_operator_says() -> None:
    reader_of(HAPROXY, pattern="%{+json}o %(ci)ci %(sni)[ssl_fc_sni] %(ST)ST")
    assert haproxy("var(txn.sni)", options=(("var.txn.sni", "x-name"),)) == ""


def test_the_word_about_line_breaks_is_one_word() -> None:
    assert "options.line_breaks" in haproxy("path", options=(("line_breaks", "yes"),))


HEAD = '203.0.113.9:51000 [30/Nov/2026:23:06:30.000] www~ www/s1 0/0/0/1/1 200 5 - - ---- 1/1/0/0/0 0/0 "POST /evil"'


def test_httpslog_is_read_only_where_its_server_name_cannot_end_the_line() -> None:
    line = line_of(f"{HEAD} 0/0/0/0/0 a/TLSv1.3/b".encode())
    with pytest.raises(ConfigError, match="ssl_fc_sni"):
        reader_of(HAPROXY, pattern="httpslog")
    with pytest.raises(FormatError):
        reader_of(HAPROXY)(line)
    for pattern in (None, "httpslog"):
        assert value_at(_seen(reader_of(HAPROXY, pattern=pattern, options=ESCAPED)(line)), "peer") is not None


def test_what_real_haproxy_makes_of_a_name_with_a_line_break_is_one_line() -> None:
    # openssl s_client -servername "$(printf 'x\ny"\\ \xc3\xa9 z')", HAProxy 2.6.12
    for converter, text in (("url_enc", "x%0Ay%22%5C%20%C3%A9%20z"), ("json(utf8s)", r"x\ny\"\\ \u00e9 z")):
        pattern = f"%ci:%cp [%tr] %[ssl_fc_sni,{converter}] %{{+Q}}r"
        line = f'10.0.0.9:5 [01/Dec/2026:03:31:25.273] {text} "GET /a"'
        seen = _seen(reader_of(HAPROXY, pattern=pattern)(line_of(line.encode())))
        assert (value_at(seen, "peer"), value_at(seen, "http.target")) == ("10.0.0.9:5", "/a")


@pytest.mark.parametrize(
    "name",
    ["uri", "document_uri", "remote_user", "ssl_server_name", "ssl_preread_server_name", "ssl_client_s_dn", "my_map"],
)
def test_nginx_without_escaping_does_not_hold_a_decoded_text_in_its_line(name: str) -> None:
    pattern = f'$remote_addr [$time_local] "${name}" end'
    with pytest.raises(ConfigError, match=rf"`\${name}` may hold a line break"):
        reader_of(FORMATS["nginx"], pattern=pattern, escape="none")
    for fields in ({"escape": "none", "options": ESCAPED}, {"escape": "default"}, {"escape": "json"}):
        reader_of(FORMATS["nginx"], pattern=pattern, **fields)


@pytest.mark.parametrize("name", ["request", "request_uri", "http_user_agent", "args", "host", "upstream_addr", "pid"])
def test_nginx_without_escaping_may_log_what_was_one_line_when_it_came(name: str) -> None:
    reader_of(FORMATS["nginx"], pattern=f'$remote_addr [$time_local] "${name}" end', escape="none")


def _seen(outcome: object) -> Observation:
    assert isinstance(outcome, Observation)
    return outcome
