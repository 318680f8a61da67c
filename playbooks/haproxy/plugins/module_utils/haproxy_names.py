"""Owns what servers' names are on the balancer's host: known, of no address, or not to be looked up now."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable

from ansible.module_utils.haproxy_pool import is_name  # type: ignore[import-not-found]

SECONDS = 10
AT_ONCE = 16
KNOWN, NONE, LATER = "known", "none", "later"
WHY = {
    NONE: "is no name that has an address on the balancer's host.",
    LATER: "cannot be looked up on the balancer's host now; try again.",
}
NO_SUCH = (socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY)


def looked_up(addresses: Iterable[str]) -> dict[str, str]:
    """Address -> KNOWN, NONE or LATER. Each name once, many at a time; after SECONDS the rest is LATER."""
    wanted = {*addresses}
    found = {address: KNOWN for address in wanted if not is_name(address)}
    names = sorted(wanted - {*found})
    waiting = iter(names)

    def work() -> None:
        for name in waiting:
            found[name] = look_up(name)

    # Daemons, as a lookup that hangs cannot be ended and must not keep the module.
    threads = [threading.Thread(target=work, daemon=True) for _ in names[:AT_ONCE]]
    for thread in threads:
        thread.start()
    limit = time.monotonic() + SECONDS
    for thread in threads:
        thread.join(max(0.0, limit - time.monotonic()))
    return {address: found.get(address, LATER) for address in wanted}


def look_up(name: str) -> str:
    try:
        socket.getaddrinfo(name, None)
    except socket.gaierror as error:
        return NONE if error.errno in NO_SUCH else LATER
    except UnicodeError:
        return NONE
    except OSError:
        return LATER
    return KNOWN
