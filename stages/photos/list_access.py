"""What a row of a list may reach. A list is often a stranger's: its rows are data, and never commands or paths of this machine.

A row may name a web address or an object of a cloud store. Files of this machine and hosts of private networks must be allowed,
and every body has limits of bytes, redirects and time.
"""

import ipaddress
import re
import socket
from urllib.parse import urlsplit

from pydantic import Field

from pipeline.core.errors import SampleError
from pipeline.core.settings import Settings

WEB = ("http", "https")
CLOUD = ("s3", "s3a", "gs", "gcs")  # their hosts are fixed by the environment, not by the address
CLUSTER = ("hdfs", "webhdfs")
REFUSED = "refused"  # the reject word of a row that names what it may not reach
_PROTOCOL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # NAT64: the last 32 bits are an IPv4 address
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ListAccess(Settings):
    """What the rows of a list may reach, and how much of it is read.

    Args:
        local: whether rows may name files of this machine.
        private: whether rows may name hosts of private networks: this machine, its neighbours, a cluster's HDFS.
        max_bytes: largest file that is read, in bytes.
        max_redirects: redirects of one address that are followed; each is checked as a row is.
        timeout_s: longest time for one address, in seconds.
    """

    local: bool = False
    private: bool = False
    max_bytes: int = Field(256 << 20, ge=1)
    max_redirects: int = Field(5, ge=0, le=20)
    timeout_s: float = Field(120.0, gt=0)


DEFAULT_ACCESS = ListAccess()


def protocol_of_row(address: str, access: ListAccess) -> str:
    """The protocol of a row's address; empty for a path of this machine. Raises SampleError for one that it may not reach."""
    if "\0" in address or "\n" in address or "\r" in address or "::" in address.partition("?")[0].partition("[")[0]:
        raise SampleError(REFUSED, f"{address!r} is no plain address")
    matched = _PROTOCOL.match(address)
    protocol = matched.group()[:-1].lower() if matched else ""
    if protocol in ("", "file"):
        if not access.local:
            raise SampleError(
                REFUSED, "a list may not name files of this machine; if this one is yours, add ingest.lists.local=true"
            )
        return ""
    if protocol not in (*WEB, *CLOUD, *CLUSTER):
        known = ", ".join((*WEB, *CLOUD, *CLUSTER))
        raise SampleError(REFUSED, f"'{protocol}:' is not a protocol that a list may use ({known})")
    if protocol in CLUSTER and not access.private:
        raise _private(urlsplit(address).hostname or "")
    return protocol


def resolve(host: str, port: int, access: ListAccess) -> list[str]:
    """Addresses of a host that a row may reach. Raises SampleError when one of them is private, OSError for an unknown host."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not access.private and not all(is_public(address) for address in addresses):
        raise _private(host)
    return addresses


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet."""
    parsed: Address = ipaddress.ip_address(address.partition("%")[0])
    inner = _carried(parsed) if isinstance(parsed, ipaddress.IPv6Address) else None
    if inner is not None:
        return is_public(str(inner))
    return parsed.is_global and not parsed.is_multicast


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for."""
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def _private(host: str) -> SampleError:
    return SampleError(
        REFUSED,
        f"'{host}' is on a private network, which a list may not reach; if this list is yours, add ingest.lists.private=true",
    )
