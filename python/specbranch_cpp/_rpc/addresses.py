"""Addresses of RPC servers."""

from __future__ import annotations

import errno
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_SERVERS", "PORT", "Address", "parse_addresses"]

MAX_SERVERS = 16
"""llama.cpp's limit for an engine."""
PORT = 50052
"""llama.cpp's default."""

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_MAX_PORT = 65535


@dataclass(frozen=True)
class Address:
    """Where a server listens.

    Attributes:
        host: an IPv4 address or a name; llama.cpp knows no IPv6.
        port: 1 to 65535.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def resolved(self) -> Address:
        """The same with an IPv4 address in place of a name.

        Raises:
            OSError: nothing is known of the name.
        """
        try:
            found = socket.getaddrinfo(
                self.host, self.port, socket.AF_INET, socket.SOCK_STREAM, flags=0
            )
        except UnicodeError:  # a part of the name is empty, or has more than 63 letters
            raise OSError(errno.EINVAL, "no host has such a name") from None
        host, port = found[0][4][:2]
        return Address(str(host), int(port))


def parse_addresses(name: str, given: Sequence[str] | None) -> tuple[Address, ...]:
    """The addresses of an argument, such as ``["10.0.0.2:50052"]``; ``None``: none.

    Raises:
        InvalidArgument: the argument is no sequence of different addresses, or has too many.
    """
    if given is None:
        return ()
    addresses = tuple(_parsed(name, text) for text in checked.texts(name, given))
    if len(addresses) > MAX_SERVERS:
        raise InvalidArgument(
            f"{name} is {[*given]!r}; llama.cpp takes at most {MAX_SERVERS} servers"
        )
    for address in addresses:
        if addresses.count(address) > 1:
            raise InvalidArgument(f"{name} is {[*given]!r}; {str(address)!r} is there twice")
    return addresses


def _parsed(name: str, text: Any) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon:
        raise InvalidArgument(
            f"{name} is {text!r}; it must be HOST:PORT, such as '10.0.0.2:{PORT}'"
        )
    if ":" in host:
        raise InvalidArgument(f"{name} is {text!r}; llama.cpp's RPC backend has no IPv6")
    if not _NAME.fullmatch(host):
        raise InvalidArgument(f"{name} is {text!r}; {host!r} is no IPv4 address and no host name")
    if not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= _MAX_PORT:
        raise InvalidArgument(f"{name} is {text!r}; its port must be 1 to {_MAX_PORT}")
    return Address(host, int(port))
