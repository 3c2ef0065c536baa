"""The forms in which a capture reaches meshpcap; the packets are those of a plain one."""
from record import ANY, compressed, halves, record
from scenarios import scenario
from steps import SERVICE_HTTP, SERVICE_TCP, echo, http


@scenario()
def forms(mesh):
    """One recording as files, through a pipe, in halves, compressed, and in the other order."""
    with record(mesh, pods=(mesh.a,)) as recording:
        mesh.a.client(http(SERVICE_HTTP, 5, size=3000), echo(SERVICE_TCP, 5, size=100), echo((mesh.b.ip, 9000), 5))
    eth0, lo = recording.files["a"]
    case = recording.case
    return [case(mesh.a, "piped lo", stdin=1), case(mesh.a, "piped eth0", stdin=0),
            case(mesh.a, "halves", inputs=(*halves(eth0), *halves(lo))),
            case(mesh.a, "gzip zstd", inputs=(compressed(eth0, "gzip"), compressed(lo, "zstd"))),
            case(mesh.a, "lz4", inputs=(compressed(eth0, "lz4"), compressed(lo, "lz4"))),
            case(mesh.a, "swapped", inputs=(lo, eth0))]


@scenario()
def streamed(mesh):
    """`tcpdump -i any -w - | meshpcap merge - -o -`: packets come out while the capture goes on."""
    with record(mesh, ANY, pods=(mesh.a,)) as recording:
        mesh.a.client(http(SERVICE_HTTP, 8, size=1000, gap=0.1), echo(SERVICE_TCP, 8, gap=0.1))
    return recording.cases(stdin=0, streams=True, arguments=("--lookahead", "200ms"))


@scenario()
def dumpcap(mesh):
    """dumpcap writes one pcapng of both interfaces, with their names."""
    with record(mesh, dumpcap=True) as recording:
        mesh.a.client(http(SERVICE_HTTP, 3, size=3000), echo(SERVICE_TCP, 3))
    return recording.cases()


@scenario()
def bulk(mesh):
    """24 MB through HTTP and TCP both ways: segments of 64 KB (GSO)."""
    with record(mesh, pods=(mesh.a,), heavy=True) as recording:
        mesh.a.client(http(SERVICE_HTTP, 4, size=2 << 20), echo(SERVICE_TCP, 4, size=1 << 20),
                      http((mesh.b.ip, 8080), 4, body=2 << 20))
    return recording.cases()
