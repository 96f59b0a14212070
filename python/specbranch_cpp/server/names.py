"""Names of hosts and of web origins, in the form in which browsers send them."""

from __future__ import annotations

from urllib.parse import urlsplit

from specbranch_cpp.errors import InvalidArgument

__all__ = ["ANY", "host_of", "host_setting", "origin_of", "origin_setting"]

ANY = "*"
_PORTS = {"http": 80, "https": 443}


def host_of(host: str) -> str | None:
    """The name in ``name:port``, in lower case, without brackets of IPv6.

    ``None``: this is not a host name.
    """
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018 (raises if the port is not a number)
    except ValueError:
        return None
    if parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        return None
    return parts.hostname


def host_setting(value: str) -> str:
    """A host name of the settings. The port and the rest of a URL are left out.

    Raises:
        InvalidArgument: the value is not a host name.
    """
    if value == ANY:
        return ANY
    text = value.strip()
    _, scheme, rest = text.rpartition("://")
    if scheme:
        text = rest.partition("/")[0]
    if text.count(":") > 1 and not text.startswith("["):
        text = f"[{text}]"  # IPv6
    name = host_of(text)
    if not name or ANY in name:
        raise InvalidArgument(
            f"allowed_hosts has {value!r}; it must be a host name such as 'model.lan', or '*' for "
            "every name"
        )
    return _ascii(name)


def origin_of(value: str) -> str | None:
    """The origin of a page: scheme, host and port. ``None``: this is not an origin."""
    if value == "null":
        return value
    try:
        parts = urlsplit(value.strip())
        port = parts.port
    except ValueError:
        return None
    if not parts.scheme or not parts.hostname or "@" in parts.netloc:
        return None
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else _ascii(parts.hostname)
    if port is None or port == _PORTS.get(parts.scheme):
        return f"{parts.scheme}://{host}"
    return f"{parts.scheme}://{host}:{port}"


def origin_setting(value: str) -> str:
    """An origin of the settings, as browsers write it.

    Raises:
        InvalidArgument: the value is not an origin.
    """
    if value == ANY:
        return ANY
    origin = origin_of(value)
    if origin is None or ANY in origin:
        raise InvalidArgument(
            f"cors_origins has {value!r}; it must be a scheme and a host without a path, such as "
            "'https://example.org' or 'http://localhost:3000', 'null' for pages of files, or '*' "
            "for every origin"
        )
    return origin


def _ascii(name: str) -> str:
    """The name as browsers send it: other letters than ASCII are encoded."""
    try:
        return name.encode("idna").decode()
    except UnicodeError:
        return name
