"""Rules that are not what the pod had, and connections that went past the proxy: both must be told.

A case's `expects` holds what must stand in report and summary, a dict for each connection: `kind` (stale: the packets
show a translation that the rules given do not make; bypass: the rules would redirect it, and it was not; as-ruled: the
rules let it go by, and nothing may be told of it), `interface`, `direction` (outbound, inbound), `protocol`, `client`,
`server`, what the `rules` say and what the `packets` show. Whatever the rules say, what the handshake proves is repaired.
"""
import time
from dataclasses import replace
from pathlib import Path

from flavours import FLAVOURS
from record import record
from scenarios import scenario
from steps import SERVICE6_HTTP, SERVICE_HTTP, SERVICE_TCP, at_once, echo, http

PORT = 25470


def expected(kind: str, client: tuple[str, int], server: tuple[str, int], rules: str, packets: str,
             interface: str = "lo", direction: str = "outbound") -> dict:
    return {"kind": kind, "interface": interface, "direction": direction, "protocol": "tcp", "client": client,
            "server": server, "rules": rules, "packets": packets}


def flush_nat(pod):
    """The nat rules are gone. A filter rule keeps conntrack at work: without any rule that needs it, the kernel would
    no longer translate what is established either."""
    for program in ("iptables", "ip6tables"):
        pod.inside(program, "-A", "INPUT", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT")
        pod.inside(program, "-t", "nat", "-F")


def wait_for_connection(pod, port: int):
    """Until conntrack knows a TCP connection from the local port that was answered."""
    while "ASSURED" not in pod.inside("conntrack", "-L", "-p", "tcp", "--orig-port-src", str(port)):
        time.sleep(0.02)


def given(mesh, name: str, change=lambda text: text) -> tuple[Path, ...]:
    """Rules that somebody gives for pod a: those of a flavour, changed."""
    paths = []
    for family, program in ((4, "iptables"), (6, "ip6tables")):
        paths.append(mesh.a.folder / f"given.{program}")
        paths[-1].write_text(change(FLAVOURS[name].text(family, mesh.a)))
    return tuple(paths)


@scenario(flavour="exclusions", ipv6=True)
def stale_ports(mesh):
    """The rules given redirect to 15001; the pod's redirect to 15101, where its proxy listens."""
    ends = [((mesh.a.ip, PORT), SERVICE_HTTP), ((mesh.a.ip, PORT + 1), SERVICE_TCP),
            ((mesh.a.ip6, PORT + 2), SERVICE6_HTTP)]
    with record(mesh, pods=(mesh.a,)) as recording:
        mesh.a.client(*((echo if to is SERVICE_TCP else http)(to, 3, size=900, bind=local) for local, to in ends))
    told = tuple(expected("stale", local, to, "redirect to 15001", "redirect to 15101") for local, to in ends)
    return [recording.case(mesh.a, rules=given(mesh, "istio"), mesh=None, found=False, expects=told)]


@scenario(flavour="istio", ipv6=True)
def stale_exclusion(mesh):
    """The rules given exclude port 6379; the pod's do not."""
    ends = [((mesh.a.ip, PORT), SERVICE_HTTP), ((mesh.a.ip, PORT + 1), SERVICE_TCP),
            ((mesh.a.ip, PORT + 2), (mesh.b.ip, 6379)), ((mesh.a.ip6, PORT + 3), (mesh.b.ip6, 6379))]

    def excluding(text: str) -> str:
        return text.replace("-A MESH_OUT ", "-A MESH_OUT -p tcp -m tcp --dport 6379 -j RETURN\n-A MESH_OUT ", 1)
    with record(mesh, pods=(mesh.a,)) as recording:
        mesh.a.client(*((http if to is SERVICE_HTTP else echo)(to, 3, size=900, bind=local) for local, to in ends))
    told = tuple(expected("stale", local, to, "no redirect", "redirect to 15001") for local, to in ends[1:])
    return [recording.case(mesh.a, rules=given(mesh, "istio", excluding), mesh=None, found=False, expects=told)]


@scenario(flavour="linkerd", ipv6=True)
def stale_mesh(mesh):
    """The mesh named is Istio; the pod has Linkerd's rules."""
    ends = [((mesh.a.ip, PORT), SERVICE_HTTP), ((mesh.a.ip6, PORT + 1), SERVICE6_HTTP)]
    with record(mesh, pods=(mesh.a,)) as recording:
        mesh.a.client(*(http(to, 3, size=900, bind=local) for local, to in ends))
    told = tuple(expected("stale", local, to, "redirect to 15001", "redirect to 4140") for local, to in ends)
    return [recording.case(mesh.a, mesh="istio", found=False, expects=told, rules=())]


@scenario(flavour="istio", ipv6=True)
def bypass_user(mesh):
    """An application that runs as the proxy's user, 1337: its calls are not redirected, as the rules say for this user."""
    ends = [((mesh.a.ip, PORT), (mesh.b.ip, 9000)), ((mesh.a.ip6, PORT + 1), (mesh.b.ip6, 9000))]
    with record(mesh, pods=(mesh.a,)) as recording:
        # what lo shows tells the pod's addresses
        mesh.a.client(http(SERVICE_HTTP, 3), http(SERVICE6_HTTP, 3), echo((mesh.b.ip, 9000), 2))
        time.sleep(0.1)
        mesh.a.client(*(echo(to, 3, size=500, bind=local) for local, to in ends), tag="user", uid=1337)
    told = tuple(expected("bypass", local, to, "redirect to 15001 unless uid or gid is 1337", "no redirect", "eth0")
                 for local, to in ends)
    return [recording.case(mesh.a, found=False, expects=told, direct=frozenset({9000}))]


@scenario(flavour="istio", ipv6=True)
def bypass_flushed(mesh):
    """The pod's nat rules are gone for a while: what begins then is not redirected, outbound and inbound; what began
    before still is."""
    out = [((mesh.a.ip, PORT), (mesh.b.ip, 9000)), ((mesh.a.ip6, PORT + 1), (mesh.b.ip6, 9000))]
    into = [((mesh.outside.ip, PORT), (mesh.a.ip, 8080)), ((mesh.outside.ip6, PORT + 1), (mesh.a.ip6, 8080))]
    over = mesh.a.folder / "over"
    with record(mesh, pods=(mesh.a,)) as recording:
        # What begins within 10 ms of a request may be of the proxy's making: they are rare enough to leave room.
        before = mesh.a.client_meanwhile(http(SERVICE_HTTP, 200, size=300, gap=0.5, until=str(over),
                                              bind=(mesh.a.ip, PORT + 9)), tag="before")
        wait_for_connection(mesh.a, PORT + 9)
        mesh.a.client(http(SERVICE_HTTP, 2), http(SERVICE6_HTTP, 2), echo(SERVICE_TCP, 2))
        flush_nat(mesh.a)
        mesh.a.client(*(echo(to, 3, size=500, bind=local) for local, to in out), tag="flushed")
        mesh.outside.client(*(http(to, 2, size=500, bind=local) for local, to in into), tag="flushed")
        over.touch()
        before.join()
    told = (*(expected("bypass", local, to, "redirect to 15001", "no redirect", "eth0") for local, to in out),
            *(expected("bypass", local, to, "redirect to 15006", "no redirect", "eth0", "inbound")
              for local, to in into))
    return [recording.case(mesh.a, found=False, expects=told, direct=frozenset({9000}))]


@scenario(flavour="consul", ipv6=True)
def bypass_flushed_lo(mesh):
    """Consul's rules redirect what the application sends to its own address; once they are gone, that is plain on lo."""
    ends = [((mesh.a.ip, PORT), (mesh.a.ip, 9000)), ((mesh.a.ip6, PORT + 1), (mesh.a.ip6, 9000))]
    with record(mesh, pods=(mesh.a,)) as recording:
        mesh.a.client(http(SERVICE_HTTP, 2), http((mesh.a.ip, 8080), 2), http((mesh.a.ip6, 8080), 2))
        flush_nat(mesh.a)
        time.sleep(0.1)
        mesh.a.client(*(echo(to, 3, size=500, bind=local) for local, to in ends), tag="flushed")
    told = tuple(expected("bypass", local, to, "redirect to 15001", "no redirect") for local, to in ends)
    return [recording.case(mesh.a, found=False, expects=told, direct=frozenset({9000}))]


@scenario(flavour="istio", ipv6=True)
def joined_late(mesh):
    """A connection that began before the rules were there, as of a pod that joins the mesh: nat rules look at the first
    packet alone, so it goes by the proxy to its end."""
    local, to, over = (mesh.a.ip, PORT), (mesh.b.ip, 9000), mesh.a.folder / "over"
    flush_nat(mesh.a)
    with record(mesh, pods=(mesh.a,)) as recording:
        early = mesh.a.client_meanwhile(echo(to, 200, size=300, gap=0.05, until=str(over), bind=local), tag="early")
        wait_for_connection(mesh.a, PORT)
        mesh.load_rules(mesh.a)
        mesh.a.client(http(SERVICE_HTTP, 2), echo(SERVICE_TCP, 2))
        over.touch()
        early.join()
    # Nothing was on lo before it: whether somebody waited for the proxy is not in the capture, and nothing is said.
    told = (expected("as-ruled", local, to, "redirect to 15001", "no redirect", "eth0"),)
    return [recording.case(mesh.a, found=False, expects=told, direct=frozenset({9000}))]


@scenario(flavour="exclusions", ipv6=True)
def excluded(mesh):
    """The pod's own rules exclude port 9000: that it is not redirected is as it should be."""
    ends = [((mesh.a.ip, PORT), (mesh.b.ip, 9000)), ((mesh.a.ip6, PORT + 1), (mesh.b.ip6, 9000))]
    with record(mesh, pods=(mesh.a,)) as recording:
        mesh.a.client(http(SERVICE_HTTP, 3), at_once(*(echo(to, 3, size=500, bind=local) for local, to in ends)))
    told = tuple(expected("as-ruled", local, to, "no redirect", "no redirect", "eth0") for local, to in ends)
    return [replace(recording.case(mesh.a), expects=told)]
