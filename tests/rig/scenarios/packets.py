"""Packets about a leg that are not plain TCP or UDP segments of it."""
from record import record
from scenarios import scenario
from steps import SERVICE_HTTP, SERVICE_TCP, dns, echo, http


@scenario(dns=True, lo_mtu=1500)
def fragments(mesh):
    """DNS messages larger than the MTU: fragments of queries and of responses follow their leg."""
    with record(mesh, pods=(mesh.a,)) as recording:
        mesh.a.client(dns("size3500.default.svc.cluster.local", "svc.default.svc.cluster.local", padding=3000),
                      dns("size2000.default.svc.cluster.local"))
    return recording.cases()


def unanswered(mesh):
    gone = "gone.default.svc.cluster.local"
    with record(mesh, pods=(mesh.a,)) as recording:
        mesh.a.client(dns("svc.default.svc.cluster.local", "stop.default.svc.cluster.local", gone, unanswered=[gone]))
    return recording.cases()


@scenario(dns=True)
def icmp(mesh):
    """The DNS server stops: the next query on the socket is answered by ICMP port unreachable, which quotes it.

    The error belongs to no entry of Istio's conntrack zone: it is captured from 127.0.0.1, and the application
    never learns of it.
    """
    return unanswered(mesh)


@scenario(dns=True, zones=False)
def icmp_translated(mesh):
    """The same without zones: conntrack translates the error, outside and in the quoted packet."""
    return unanswered(mesh)


@scenario()
def proxy_gone(mesh):
    """The proxy ends, and nothing listens on 15001 any more: connections are refused with the service's address."""
    local = (mesh.a.ip, 25463)
    with record(mesh, pods=(mesh.a,)) as recording:
        mesh.a.client(http(SERVICE_HTTP, 2), echo(SERVICE_TCP, 2))
        mesh.a.stop(mesh.a.proxy)
        mesh.a.client(http(SERVICE_HTTP, refused=True, bind=local), echo((mesh.b.ip, 9000), refused=True, bind=local))
    return recording.cases()


@scenario()
def losses(mesh):
    """One packet in thirty is lost on its way in: retransmissions are no duplicates, and belong to their leg.

    A rule loses them inside the pod, too. Whether a timeout comes of it, which check has to tell, is up to chance.
    """
    mesh.a.inside(*"iptables -A INPUT -m statistic --mode random --probability 0.03 -j DROP".split())
    with record(mesh, pods=(mesh.a,)) as recording:
        mesh.a.client(http(SERVICE_HTTP, 20, size=50000), echo(SERVICE_TCP, 20, size=5000),
                      echo((mesh.b.ip, 9000), 10, size=1000))
    return recording.cases(lossless=False, may_alarm=frozenset({"loopback-retransmission"}))
