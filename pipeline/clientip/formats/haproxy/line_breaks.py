"""Which expressions of a log-format may hold a line break that a client wrote, and with it whole lines of his.

HAProxy writes the value of an expression as it is: `+Q` and `+E` escape no line break.  What it parsed out of HTTP
holds none; a TLS server name, a certificate's names, PROXY's TLVs and payloads may, and so may a variable that was
set from them.  So only what is known to be one line is read, and what a converter encodes.

https://docs.haproxy.org/dev/configuration.html#7.3.1
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

from clientip.patterns.matcher import ESCAPED, WORD

# Fetches whose value is a number, an address, HAProxy's or its operator's own word, or text out of a parsed HTTP head.
_ONE_LINE: Final = re.compile(
    r"(?:"
    r"(?:re[qs]\.)?(?:f|s)?hdrs?(?:_[a-z]+)?|(?:re[qs]\.)?(?:s?cook|cookie)(?:_[a-z]+)?|capture\.re[qs]\.[a-z]+"
    r"|(?:req\.)?(?:method|ver)|res\.ver|pathq?|url|url_(?:param|ip|port)|urlp(?:_val)?|base(?:32(?:\+src)?)?|query"
    r"|(?:accept|request)_date|date(?:_us)?|rand|uuid|unique-id|hostname|nbproc|nbthread|pid|proc|thread|status|txn\.status"
    r"|(?:src|dst|sc[0-2]?|table|be|fe|srv|nbsrv|queue|avg_queue|connslots|act_conns|bytes)(?:_[a-z0-9_]+)?"
    r"|[fb]c(?:_(?!pp_)[a-z0-9_.]+|\.timer\.[a-z]+)|req\.timer\.[a-z]+|res\.timer\.[a-z]+|txn\.timer\.[a-z]+"
    r"|ssl_(?:fc|bc|f)(?:_(?:protocol|cipher|curve|alpn|npn|is_resumed|has_(?:crt|sni|early)|(?:use|alg)_keysize"
    r"|err|err_str|hsk_err|hsk_err_str))?|ssl_c_(?:used|verify|err|ca_err|ca_err_depth|key_alg|sig_alg|version)"
    r"|str|int|bool|ipv4|ipv6|env|http_status|http_first_req|so_(?:id|name)"
    r")(?:\([^()]*\))?"
)
# Converters whose result is one line whatever came in; the text they give, where it is more than a word.
_ENCODING: Final = MappingProxyType({"json": ESCAPED, "url_enc": WORD, "hex": WORD, "base64": WORD, "ub64enc": WORD})
_NUMBERS: Final = re.compile(
    r"(?:crc32c?|djb2|sdbm|wt6|xxh(?:3|32|64)|length|strcmp|mod|add|sub|mul|div|and|or|xor|not|neg|odd|even|bool|cpl"
    r"|be2dec|be2hex|ipmask|in_table|table_[a-z0-9_]+|map(?:_[a-z_]+)?|utime|ltime|us_[ul]time|ms_[ul]time)"
)
_KEEPING: Final = re.compile(r"(?:lower|upper|field|word|bytes|ltrim|rtrim|regsub|htonl|debug)")
_PART: Final = re.compile(r",(?![^(]*\))")


def is_one_line(expression: str, *, known: bool = False) -> bool:
    """Whether its value holds no line break; `known`: what its fetch holds is known to be one line.

    >>> is_one_line("ssl_fc_sni"), is_one_line("ssl_fc_sni,json(utf8s)"), is_one_line("path,url_dec")
    (False, True, False)
    """
    fetch, *converters = _PART.split(expression)
    safe = known or _ONE_LINE.fullmatch(fetch) is not None
    for converter in converters:
        name = converter.partition("(")[0]
        safe = name in _ENCODING or bool(_NUMBERS.fullmatch(name)) or (safe and bool(_KEEPING.fullmatch(name)))
    return safe


def encoded_unit(expression: str) -> str | None:
    """The unit of a value that its last converter encodes; None where it is as raw as it came.

    >>> encoded_unit("ssl_fc_sni,url_enc") == WORD, encoded_unit("ssl_fc_sni")
    (True, None)
    """
    return _ENCODING.get(_PART.split(expression)[-1].partition("(")[0])
