"""Local ports that are used again, at once and over time: joining halves by port is wrong in every scenario here."""
import time

from record import ANY, record
from scenarios import scenario
from steps import SERVICE_HTTP, SERVICE_TCP, at_once, echo, http, in_turn

PORT = 25463


@scenario()
def four_destinations(mesh):
    """One local port to four destinations at once: conntrack gives three forward halves another source port."""
    local = (mesh.a.ip, PORT)
    with record(mesh) as recording:
        mesh.a.client(at_once(http(SERVICE_HTTP, 4, bind=local, gap=0.1), echo(SERVICE_TCP, 4, bind=local, gap=0.1),
                              echo((mesh.b.ip, 9000), 4, bind=local, gap=0.1),
                              http((mesh.b.ip, 8080), 4, bind=local, gap=0.1)))
    return [recording.case(mesh.a, moved_at_least=3), recording.case(mesh.b)]


@scenario()
def reuse_after_reset(mesh):
    """One local port for one destination after another, each connection ended by a reset."""
    local, targets = (mesh.a.ip, PORT), (http(SERVICE_HTTP, 2), echo(SERVICE_TCP, 2), echo((mesh.b.ip, 9000), 2))
    with record(mesh) as recording:
        mesh.a.client(*(target | {"bind": local, "close": "rst"} for target in targets * 3))
    return recording.cases()


@scenario()
def reuse_after_fin(mesh):
    """One local port for one destination after another, each connection closed by FIN before the next."""
    local, targets = (mesh.a.ip, PORT), (http(SERVICE_HTTP, 2), echo(SERVICE_TCP, 2), http((mesh.b.ip, 8080), 1),
                                         echo((mesh.b.ip, 9000), 2))
    with record(mesh) as recording:
        mesh.a.client(*(target | {"bind": local} for target in targets))
    return recording.cases()


@scenario()
def forgotten(mesh):
    """A connection ends without FIN or RST, conntrack is flushed, and its port goes on to other destinations.

    The proxy still holds the old connection: it answers the new SYN with an ACK of the old one (RFC 5961, 4),
    the client resets that, and its second SYN succeeds. That ACK bears the new destination's address.
    """
    local = (mesh.a.ip, PORT)
    with record(mesh) as recording:
        for target in (echo(SERVICE_TCP, 2), http(SERVICE_HTTP, 2), echo((mesh.b.ip, 9000), 2), echo(SERVICE_TCP, 1)):
            # the gap leaves nothing unacknowledged that the proxy would send again, by no known way
            mesh.a.client(target | {"bind": local, "close": "vanish", "gap": 0.1}, tag=f"to-{target['to'][1]}")
            mesh.a.inside("conntrack", "-F")
    left = {"may_leave": frozenset({"one-direction"}), "lossless": False}
    return [recording.case(mesh.a, alarms=frozenset({"half-closed-connection"}), **left), recording.case(mesh.b, **left)]


@scenario(ports="20000 20299")
def many_short(mesh):
    """2000 short connections from 300 ports to three destinations, half of them reset: every port is used often."""
    def worker(number: int):
        targets = (http(SERVICE_HTTP), echo(SERVICE_TCP), echo((mesh.b.ip, 9000)))
        return in_turn(*(targets[(i + number) % 3] | {"close": "rst"} for i in range(500)))
    with record(mesh, pods=(mesh.a,), heavy=True) as recording:
        mesh.a.client(at_once(*(worker(number) for number in range(4))))
    return recording.cases()


@scenario(ports="20000 20059")
def many_short_midstream(mesh):
    """The capture (`-i any`) begins among short connections that use few ports again and again.

    It may begin between the last reply of a connection and its acknowledgement: nothing proves that leg.
    """
    stop = mesh.folder / "stop"

    def worker(number: int):
        targets = (echo(SERVICE_TCP), echo((mesh.b.ip, 9000)), http(SERVICE_HTTP, 3))
        return in_turn(*(targets[(i + number) % 3] | {"close": "rst", "skip": str(stop)} for i in range(2000)))
    busy = mesh.a.client_meanwhile(at_once(*(worker(number) for number in range(3))))
    time.sleep(0.3)
    with record(mesh, ANY, pods=(mesh.a,), heavy=True) as recording:
        time.sleep(0.5)
        stop.touch()
        busy.join()
    return recording.cases(compare="suffix", may_leave=frozenset({"no-reply"}), lossless=False)
