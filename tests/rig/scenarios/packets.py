"""Packets about a leg that are not plain TCP or UDP segments of it."""
from record import record
from scenarios import scenario
from steps import dns


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
