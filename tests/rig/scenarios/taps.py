"""Ways to capture: where tcpdump stands, how much it keeps, when it begins, how many there are."""
import time

from record import ANY, LO, Tap, record
from scenarios import scenario
from steps import SERVICE6_HTTP, SERVICE_HTTP, SERVICE_SELF, SERVICE_TCP, at_once, echo, http


def recorded_later(mesh, **more):
    """Four connections in use, recorded from their middle to their end."""
    stop = mesh.folder / "stop"
    use = {"gap": 0.1, "until": str(stop), **more}
    busy = mesh.a.client_meanwhile(at_once(http(SERVICE_HTTP, 200, **use), echo(SERVICE_TCP, 200, **use),
                                           echo((mesh.b.ip, 9000), 200, **use), http((mesh.b.ip, 8080), 200, **use)))
    time.sleep(0.6)
    with record(mesh) as recording:
        time.sleep(0.6)
        stop.touch()
        busy.join()
    return recording.cases(compare="suffix")


@scenario()
def midstream(mesh):
    """The capture begins while connections are in use: no handshake, the sequence numbers must prove the pairs."""
    return recorded_later(mesh)


@scenario()
def midstream_one_port(mesh):
    """The capture begins while one local port talks to four destinations: only sequence numbers tell them apart."""
    return recorded_later(mesh, bind=(mesh.a.ip, 25463))


@scenario(ipv6=True)
def any_interface_ipv6_short(mesh):
    """`tcpdump -i any -s 112` of IPv6 and IPv4: cooked headers, cut packets, two families."""
    with record(mesh, Tap("any", "any", options=("-s", "112"))) as recording:
        mesh.a.client(http(SERVICE6_HTTP, 3, size=2000), http(SERVICE_HTTP, 3, size=2000), echo((mesh.b.ip6, 9000), 3))
    return recording.cases(compare="lengths")


@scenario()
def any_interface(mesh):
    """`tcpdump -i any` alone: both interfaces in one file, told apart by index (LINUX_SLL2)."""
    with record(mesh, ANY) as recording:
        mesh.a.client(http(SERVICE_HTTP, 3, size=3000), echo(SERVICE_TCP, 3), http(SERVICE_SELF, 1),
                      http(("127.0.0.1", 8080)))
    return recording.cases()


@scenario()
def any_cooked_v1(mesh):
    """`tcpdump -i any -y LINUX_SLL`: both interfaces in one file, and nothing tells them apart."""
    with record(mesh, Tap("any", "any", options=("-y", "LINUX_SLL"))) as recording:
        mesh.a.client(http(SERVICE_HTTP, 3, size=3000), echo(SERVICE_TCP, 3), http(SERVICE_SELF, 1))
    return recording.cases()


@scenario()
def any_beside_lo(mesh):
    """`-i any` beside `-i lo`: every packet of lo is there twice, with two link types."""
    with record(mesh, ANY, LO, pods=(mesh.a,)) as recording:
        mesh.a.client(http(SERVICE_HTTP, 3, size=3000), echo(SERVICE_TCP, 3))
    case = recording.case
    return [case(mesh.a, duplicates_at_least=20),
            case(mesh.a, "ethernet", duplicates_at_least=20, arguments=("--linktype", "ethernet")),
            case(mesh.a, "both kept", arguments=("--keep-duplicates",), lossless=False)]


@scenario()
def snaplen96(mesh):
    """96 bytes of each packet: checksums cannot be computed, only kept right."""
    short = ("-s", "96")
    with record(mesh, Tap("eth0", "eth0", options=short), Tap("lo", "lo", options=short)) as recording:
        mesh.a.client(http(SERVICE_HTTP, 3, size=3000), echo(SERVICE_TCP, 3, size=500), http(SERVICE_SELF, 1))
    return recording.cases(compare="lengths")


@scenario()
def four_tcpdumps(mesh):
    """Four tcpdumps side by side, as people start them for a sidecar; their filters overlap."""
    ephemeral = "portrange 20000-60999"
    taps = (Tap("in-eth0", "eth0", "port 8080"), Tap("in-lo", "lo", "port 8080"),
            Tap("out-lo", "lo", f"dst port 15001 or dst {ephemeral}"), Tap("out-eth0", "eth0", ephemeral))
    with record(mesh, *taps) as recording:
        for pod in mesh.pods:
            pod.client(http(SERVICE_HTTP, 3, size=3000), http(("127.0.0.1", 8080), 1), tag=pod.name)
    return recording.cases(duplicates_at_least=10)


@scenario()
def one_direction(mesh):
    """The filter `port 15001` keeps every forward packet and no reply: nothing can be proven, and it is said."""
    with record(mesh, Tap("lo", "lo", "port 15001"), pods=(mesh.a,)) as recording:
        mesh.a.client(http(SERVICE_HTTP, 3), echo(SERVICE_TCP, 3))
    return recording.cases(left="no-reply", servers=False, alarms=frozenset({"one-direction"}))
