"""Captures with files beside them: TLS secrets, names of addresses."""
import json
import time

from record import record
from scenarios import scenario
from steps import SERVICE_HTTP, SERVICE_TCP, at_once, echo, http

HOSTS = """\
172.21.206.227 client.default
172.21.206.228 web-1.default other-name.default
10.96.0.10 web.default.svc
10.96.0.20 redis.default.svc
192.0.2.1 occurs-nowhere.default
"""


def with_secrets(mesh, version):
    # a session that ends before the capture begins: its secrets are in the key log, and not in the output
    mesh.a.client(echo(SERVICE_TCP, 1), tag="before")
    began = time.time()
    with record(mesh) as recording:
        mesh.a.client(at_once(http(SERVICE_HTTP, 4, size=3000), http(SERVICE_HTTP, 2, body=2000)),
                      echo(SERVICE_TCP, 5, size=100), echo(SERVICE_TCP, 2, size=20000), echo((mesh.b.ip, 9000), 2))
    for pod in mesh.pods:
        (pod.folder / "hosts").write_text(HOSTS)
        # what the applications did before the capture is not in it
        lines = pod.truth.read_text().splitlines(keepends=True)
        pod.truth.write_text("".join(line for line in lines if json.loads(line)["last"] > began))
    return recording.cases(beside=(("--keys", "keys.log"), ("--names", "hosts")), tls=version)


@scenario(tls="TLSv1_2")
def secrets_tls12(mesh):
    """A key log of TLS 1.2 and names beside the captures: Wireshark shows what the mTLS legs carry."""
    return with_secrets(mesh, "TLSv1_2")


@scenario()
def secrets_tls13(mesh):
    """A key log of TLS 1.3 and names beside the captures: Wireshark shows what the mTLS legs carry."""
    return with_secrets(mesh, "TLSv1_3")
