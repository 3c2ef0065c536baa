"""Every kind of leg that a sidecar makes."""
from record import record
from scenarios import scenario
from steps import NAMESERVERS, SERVICE6_HTTP, SERVICE_HTTP, SERVICE_SELF, SERVICE_TCP, at_once, dns, echo, http


@scenario()
def basic(mesh):
    """HTTP and TCP through mTLS, and plain TCP: three redirected legs in the calling pod, none in the called one."""
    with record(mesh) as recording:
        mesh.a.client(http(SERVICE_HTTP, 5, size=3000), echo(SERVICE_TCP, 5, size=100), echo((mesh.b.ip, 9000), 5))
    return recording.cases()


@scenario()
def both_ways(mesh):
    """Each pod calls the other, by service and by address, several at once: both pods hold legs of every kind."""
    with record(mesh) as recording:
        for pod, peer in (mesh.pods, mesh.pods[::-1]):
            pod.client(at_once(http(SERVICE_HTTP, 3, body=2000, size=100), http((peer.ip, 8080), 2),
                               echo(SERVICE_TCP, 3), http(SERVICE_HTTP, 2, size=8000), echo((peer.ip, 9000), 2)),
                       tag=pod.name)
    return recording.cases()


@scenario()
def selfcall(mesh):
    """The application calls itself: by service, which is redirected twice, by its pod's address and by 127.0.0.1."""
    with record(mesh, pods=(mesh.a,)) as recording:
        mesh.a.client(http(SERVICE_SELF, 3, size=500), http((mesh.a.ip, 8080), 2), http(("127.0.0.1", 8080), 2))
    return recording.cases()


@scenario(dns=True)
def dns_capture(mesh):
    """DNS over UDP and over TCP to the mesh's DNS server on 15053, with an HTTP call between."""
    with record(mesh, pods=(mesh.a,)) as recording:
        mesh.a.client(dns("svc.default.svc.cluster.local", "other.default.svc.cluster.local"),
                      http(SERVICE_HTTP, 2), dns("svc.default.svc.cluster.local", stream=True),
                      at_once(*(dns(f"n{i}.default.svc.cluster.local") for i in range(8))))
    return recording.cases()


@scenario(dns=True, ipv6=True)
def dns_two_servers(mesh):
    """One local port asks two nameservers at once, over UDP and over TCP: conntrack gives one of them another port.

    The IDs are the same, the questions are not; where one follows the other, these are the same, too. (Over UDP, the
    same question with the same ID to both at once is beyond proof.) And DNS over IPv6.
    """
    names = [[f"{letter}{i}.default.svc.cluster.local" for i in range(4)] for letter in "abc"]
    first, second, six = NAMESERVERS
    with record(mesh, pods=(mesh.a,)) as recording:
        for stream in (False, True):
            local = {"bind": (mesh.a.ip, 25463), "stream": stream}
            mesh.a.client(at_once(dns(*names[0], to=first, **local), dns(*names[1], to=second, **local),
                                  dns(*names[2], to=six, stream=stream)))
            local["bind"] = (mesh.a.ip, 25464)
            mesh.a.client(dns(*names[0], to=first, **local), dns(*names[0], to=second, **local))
    return recording.cases(moved_at_least=4)


@scenario(ipv6=True)
def ipv6(mesh):
    """IPv6 beside IPv4: [::1]:15001 on lo, and ::6 calling the application."""
    with record(mesh) as recording:
        mesh.a.client(http(SERVICE6_HTTP, 3, size=2000), http(SERVICE_HTTP, 3, size=2000),
                      echo((mesh.b.ip6, 9000), 3), http((mesh.b.ip6, 8080), 2))
    return recording.cases()


@scenario(app_on_loopback=True)
def app_loopback(mesh):
    """The proxy calls the application on 127.0.0.1 (Istio before 1.10, or a Sidecar's defaultEndpoint)."""
    with record(mesh) as recording:
        for pod in mesh.pods:
            pod.client(http(SERVICE_HTTP, 3, size=1000), http(SERVICE_HTTP, 1), tag=pod.name)
    return recording.cases()
