"""The kernel's side of the collector: sockets for events and lists, and the kernel's settings."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from clientip.edges.collect import bpf as collect_filter
from clientip.edges.collect import netlink
from clientip.edges.collect.netlink import NetlinkRead
from clientip.errors import SinkError

_NETLINK_NETFILTER: Final = 12
_SOL_NETLINK: Final = 270
_ADD_MEMBERSHIP: Final = 1
_GROUPS: Final = (1, 2, 3)  # NFNLGRP_CONNTRACK_NEW, _UPDATE, _DESTROY
_SO_ATTACH_FILTER: Final = 26
_SO_RCVBUFFORCE: Final = 33
_EVENT_BYTES: Final = 8192  # the kernel makes none longer than a page
_LIST_BYTES: Final = 65536
_SETTINGS: Final = Path("/proc/sys/net/netfilter")
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_FOREIGN: Final = NetlinkRead([], 0)
_LOST: Final = NetlinkRead([], 0, lost=True)


class _Filter(ctypes.Structure):
    """`struct sock_fprog`"""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


class Events:
    """The socket that events arrive at, subscribed."""

    def __init__(self, receive_buffer: int, *, source_nat: bool) -> None:
        self._socket = _open()
        self.receive_buffer = _set_receive_buffer(self._socket, receive_buffer)
        code = collect_filter.program(source_nat=source_nat)
        fprog = _Filter(len(code) // 8, code)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(fprog))
        try:
            self._socket.bind((0, 0))  # without an address of its own a socket gets no events
            for group in _GROUPS:
                self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        except PermissionError:
            raise SinkError(
                "the kernel shows its NAT events to CAP_NET_ADMIN only; run this as root", retry=False
            ) from None
        except OSError as error:
            raise _failed("subscribe to NAT events", error) from error
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    def read(self) -> NetlinkRead | None:
        """One datagram; None: there is none. `lost` comes alone: the events that the kernel could keep follow it."""
        try:
            data, sender = self._socket.recvfrom(_EVENT_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return _LOST
            raise _failed("read NAT events", error) from error
        return netlink.read_messages(data) if sender[0] == 0 else _FOREIGN  # of a process, not of the kernel

    def close(self) -> None:
        """Unsubscribe."""
        self._socket.close()


def listed(*, source_nat: bool) -> Iterator[NetlinkRead]:
    """The living flows, in pieces; messages that cannot be read count as `malformed`."""
    with _open() as asker:
        try:
            asker.sendto(netlink.dump_request(source_nat=source_nat), (0, 0))
            while True:
                data, sender = asker.recvfrom(_LIST_BYTES)
                if sender[0] != 0:
                    continue
                read = netlink.read_messages(data)
                if read.error:
                    raise OSError(read.error, os.strerror(read.error))
                yield read
                if read.done:
                    return
        except PermissionError:
            raise SinkError("the kernel lists its flows to CAP_NET_ADMIN only; run this as root", retry=False) from None
        except OSError as error:
            raise _failed("list the flows", error) from error


def boot_id() -> str:
    """The id of this boot of this kernel; no other boot has it."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError as error:
        raise _failed(f"read {_BOOT_ID}", error) from error


def kernel_stamps() -> bool:
    """Whether the kernel stamps flows."""
    return _setting("nf_conntrack_timestamp") == "1"


def advice() -> str | None:
    """The settings to switch on so that events come, with the kernel's stamps; None: all are on."""
    wrong = {
        name: value for name in ("nf_conntrack_events", "nf_conntrack_timestamp") if (value := _setting(name)) != "1"
    }
    if not wrong:
        return None
    meaning = {
        "nf_conntrack_events": "no events come"
        if wrong.get("nf_conntrack_events") == "0"
        else "the end of flows older than this collector is not reported",
        "nf_conntrack_timestamp": "times are those of arrival here, some milliseconds late",
    }
    switches = " ".join(f"net.netfilter.{name}=1" for name in wrong)
    return f"{'; '.join(meaning[name] for name in wrong)}. Switch on: sysctl -w {switches}"


def _setting(name: str) -> str:
    try:
        return (_SETTINGS / name).read_text().strip()
    except OSError:
        return ""  # no connection tracking in this network namespace (yet)


def _open() -> socket.socket:
    try:
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    except (AttributeError, OSError) as error:
        raise SinkError(f"this system has no netfilter netlink: {error}", retry=False) from error


def _set_receive_buffer(events: socket.socket, size: int) -> int:
    """Ask for `size` bytes; returns the size granted: less without CAP_NET_ADMIN in the first user namespace."""
    try:
        events.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except PermissionError:
        events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    return events.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # the kernel doubles the size asked for


def _failed(what: str, error: OSError) -> SinkError:
    return SinkError(f"cannot {what}: {error.strerror}", retry=False)
