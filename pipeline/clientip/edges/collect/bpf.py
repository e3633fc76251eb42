"""The classic-BPF program that drops events without use inside the kernel, so that they cost nothing here.

Kept are: NEW and DESTROY of flows with source NAT, and the UPDATE by which a TCP flow ends (TIME_WAIT or CLOSE).
A message in which an attribute is missing is kept if it may matter; the reader checks it again.
"""

from __future__ import annotations

import struct
import sys
from typing import Final

from clientip.edges.collect import netlink

# Instructions: class | size | mode (linux/bpf_common.h).
_LOAD_BYTE: Final = 0x30  # A = byte at k
_LOAD_WORD: Final = 0x20  # A = word at k; k from -4096 on are ancillary loads
_LOAD_BYTE_AT_X: Final = 0x50
_LOAD_WORD_AT_X: Final = 0x40
_SET_A: Final = 0x00
_SET_X: Final = 0x01
_COPY_A_TO_X: Final = 0x07
_IF_EQUAL: Final = 0x15
_IF_BIT: Final = 0x45
_RETURN: Final = 0x06

_FIND: Final = 0xFFFFF000 + 12  # SKF_AD_NLATTR: A = offset of attribute X at or behind offset A, or 0
_FIND_INSIDE: Final = 0xFFFFF000 + 16  # SKF_AD_NLATTR_NEST: the same, inside the attribute at A
_ATTRIBUTES: Final = 20  # behind nlmsghdr and nfgenmsg

_LITTLE: Final = sys.byteorder == "little"
_TYPE: Final = 4 if _LITTLE else 5  # the header is in the machine's order, and BPF reads in the network's
_SUBSYSTEM: Final = 5 if _LITTLE else 4
_HIGH_FLAGS: Final = 7 if _LITTLE else 6

_KEEP: Final = "keep"
_DROP: Final = "drop"
_INSTRUCTION: Final = struct.Struct("=HBBI")  # struct sock_filter

Step = tuple[int, int, str, str]  # instruction, k, target if true, target if false; "": the next step


def program(*, source_nat: bool) -> bytes:
    """The program as `struct sock_filter[]`; without `source_nat` flows of every kind pass."""
    return _assemble([*_about_flows(), *(_source_nat() if source_nat else ()), *_begins_or_ends()])


def _find(attribute: int, *, inside: bool = False, missing: str) -> list[Step]:
    """Put the offset of an attribute into A, which must hold the offset to begin at."""
    return [
        (_SET_X, attribute, "", ""),
        (_LOAD_WORD, _FIND_INSIDE if inside else _FIND, "", ""),
        (_IF_EQUAL, 0, missing, ""),
    ]


def _about_flows() -> list[Step]:
    return [(_LOAD_BYTE, _SUBSYSTEM, "", ""), (_IF_EQUAL, netlink.SUBSYSTEM, "", _KEEP)]


def _source_nat() -> list[Step]:
    return [
        (_SET_A, _ATTRIBUTES, "", ""),
        *_find(netlink.STATUS, missing=_KEEP),
        (_COPY_A_TO_X, 0, "", ""),
        (_LOAD_WORD_AT_X, 4, "", ""),
        (_IF_BIT, netlink.SOURCE_NAT, "", _DROP),
    ]


def _begins_or_ends() -> list[Step]:
    return [
        (_LOAD_BYTE, _TYPE, "", ""),
        (_IF_EQUAL, 0, "", _KEEP),
        (_LOAD_BYTE, _HIGH_FLAGS, "", ""),
        (_IF_BIT, netlink.CREATED >> 8, _KEEP, ""),
        (_SET_A, _ATTRIBUTES, "", ""),
        *_find(netlink.PROTOINFO, missing=_DROP),
        *_find(netlink.PROTOINFO_TCP, inside=True, missing=_DROP),
        *_find(netlink.TCP_STATE, inside=True, missing=_DROP),
        (_COPY_A_TO_X, 0, "", ""),
        (_LOAD_BYTE_AT_X, 4, "", ""),
        (_IF_EQUAL, netlink.TIME_WAIT, _KEEP, ""),
        (_IF_EQUAL, netlink.CLOSE, _KEEP, _DROP),
    ]


def _assemble(steps: list[Step]) -> bytes:
    places = {_DROP: len(steps), _KEEP: len(steps) + 1}
    code = b""
    for place, (instruction, k, yes, no) in enumerate(steps):
        jumps = (places[label] - place - 1 if label else 0 for label in (yes, no))
        code += _INSTRUCTION.pack(instruction, *jumps, k)
    return code + _INSTRUCTION.pack(_RETURN, 0, 0, 0) + _INSTRUCTION.pack(_RETURN, 0, 0, 0xFFFFFFFF)
