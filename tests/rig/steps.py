"""What a client does, as values: each function returns a step for apps.py."""

SERVICE_HTTP = ("10.96.0.10", 80)       # the peer pod's HTTP application, through mTLS
SERVICE_TCP = ("10.96.0.20", 6379)      # the peer pod's echo, through mTLS
SERVICE_PLAIN = ("10.96.0.30", 6379)    # the peer pod's echo, without mTLS
SERVICE_SELF = ("10.96.0.40", 80)       # the pod's own HTTP application
SERVICE6_HTTP = ("fd00:96::10", 80)     # the peer pod's HTTP application over IPv6
SERVICE6_SELF = ("fd00:96::40", 80)     # the pod's own HTTP application over IPv6
SERVICE_NOBODY = ("10.96.0.7", 80)      # the peer pod, where nobody listens
SERVICE6_NOBODY = ("fd00:96::7", 80)    # the same over IPv6
NAMESERVERS = (("10.96.0.53", 53), ("10.96.0.54", 53), ("fd00:96::53", 53))


def http(to: tuple[str, int], n: int = 1, **more) -> dict:
    """n requests on one connection. More: size (of an answer), body (of a request), gap (seconds between),
    until (no more once this file exists), skip (not at all then), bind (local address),
    fields (of the header, each with its CRLF), close (fin, rst, vanish), refused (nobody takes the connection), silent (nobody answers the SYN for so many seconds),
    dropped (the proxy takes it, and resets it), ended (the server ends it instead of an answer),
    half (only half of the first request is sent, which nobody answers for so many seconds), pause (seconds until the
    answer is read), buffer (octets of the socket's receive buffer), stray (a packet with a number out of the window follows, past the socket), tls (TLSv1_2, TLSv1_3: the client begins such a session; its truth is
    the plain text)."""
    return {"do": "http", "to": to, "n": n, **more}


def echo(to: tuple[str, int], n: int = 1, **more) -> dict:
    """n lines on one connection, with the same options."""
    return {"do": "echo", "to": to, "n": n, **more}


def idle(to: tuple[str, int], seconds: float, **more) -> dict:
    """A connection on which nothing is said for so long."""
    return {"do": "idle", "to": to, "seconds": seconds, **more}


def dns(*names: str, **more) -> dict:
    """Queries on one socket. More: to (a nameserver), bind (local address), stream (over TCP), padding (bytes in a
    query), unanswered (names)."""
    return {"do": "dns", "to": NAMESERVERS[0], "names": names, **more}


def sleep(seconds: float) -> dict:
    return {"do": "sleep", "seconds": seconds}


def in_turn(*steps: dict) -> dict:
    return {"do": "in-turn", "steps": steps}


def at_once(*steps: dict) -> dict:
    return {"do": "at-once", "steps": steps}
