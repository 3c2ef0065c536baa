"""The pods of ties.py: pod `b` serves, called by many addresses, or by the sidecar of pod `a`.

Envoy is configured as in sidecar.py, with what ties need besides: HTTP/2, both access log formats, pools.
"""
import copy
import json
import pathlib
import sys
from dataclasses import dataclass

import sidecar
import tie_plan
from pod import Mesh, Pod, run
from sidecar import address, extension

APPS = pathlib.Path(__file__).with_name("tie_apps.py")
CLIENTS = pathlib.Path(__file__).with_name("tie_clients.py")
SERVICES = {tie_plan.HTTP: ("10.96.0.10", 80), tie_plan.TCP: ("10.96.0.20", 6379),
            tie_plan.SPEAKS_FIRST: ("10.96.0.30", 3306)}

# Istio's default JSON access log
JSON_LOG = {
    "start_time": "%START_TIME%", "route_name": "%ROUTE_NAME%", "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "protocol": "%PROTOCOL%", "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%", "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%", "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%", "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%", "request_id": "%REQ(X-REQUEST-ID)%", "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%", "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%", "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%", "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%"}


@dataclass(frozen=True)
class Proxy:
    """What differs between the sidecars of recordings."""
    concurrency: int = 2
    pool_per_client: bool = False
    wire: str | None = "1.3"        # TLS between sidecars; None: plain text
    wire_h2: bool = False           # HTTP/2 between sidecars
    certificate_header: bool = True  # x-forwarded-client-cert towards the application, as Istio has it


def tls(certificates: pathlib.Path, downstream: bool, secrets: str, version: str | None) -> dict:
    socket = sidecar.tls(certificates, downstream, secrets)
    context = socket["typed_config"]["common_tls_context"]
    context["alpn_protocols"] = ["istio-peer-exchange", "h2", "istio", "istio-http/1.1", "http/1.1"]
    if version:
        number = {"1.2": "TLSv1_2", "1.3": "TLSv1_3"}[version]
        context["tls_params"] = {"tls_minimum_protocol_version": number, "tls_maximum_protocol_version": number}
    return socket


def configuration(folder: pathlib.Path, peer: str, certificates: pathlib.Path, proxy: Proxy) -> dict:
    """The bootstrap of a sidecar whose services lead to the pod at `peer`; logs go to `folder`."""
    secrets = str(folder / "keys.log")
    logs = [{"name": "envoy.access_loggers.file", "typed_config": extension(
        "access_loggers.file.v3.FileAccessLog", path=str(folder / name), log_format=written)}
        for name, written in (("access.log", {"text_format_source": {"inline_string": sidecar.ACCESS_LOG}}),
                              ("access.json", {"json_format": JSON_LOG}))]

    def http(name: str, cluster: str, **more) -> dict:
        route = {"match": {"prefix": "/"}, "name": "default", "route": {"cluster": cluster, "timeout": "0s"}}
        return {"name": "envoy.filters.network.http_connection_manager", "typed_config": extension(
            "filters.network.http_connection_manager.v3.HttpConnectionManager", stat_prefix=name, access_log=logs,
            server_name="istio-envoy", **more, route_config={"virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [route]}]},
            http_filters=[{"name": "router", "typed_config": extension("filters.http.router.v3.Router")}])}

    def tcp(name: str, cluster: str) -> dict:
        return {"name": "envoy.filters.network.tcp_proxy", "typed_config": extension(
            "filters.network.tcp_proxy.v3.TcpProxy", stat_prefix=name, cluster=cluster, access_log=logs)}

    def speaks(**protocol) -> dict:
        kind = "upstreams.http.v3.HttpProtocolOptions"
        return {"typed_extension_protocol_options": {f"envoy.extensions.{kind}": extension(kind, **protocol)}}

    def original(name: str, **more) -> dict:
        return {"name": name, "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "5s", **more}

    def inbound(port: int, filter_: dict) -> list[dict]:
        match = {"destination_port": port}
        return [{"filter_chain_match": {**match, "transport_protocol": "tls"}, "filters": [copy.deepcopy(filter_)],
                 "transport_socket": tls(certificates, True, secrets, None)},
                {"filter_chain_match": {**match, "transport_protocol": "raw_buffer"}, "filters": [filter_]}]

    forwarded = {"forward_client_cert_details": "APPEND_FORWARD", "set_current_client_cert_details": {
        "subject": True, "dns": True, "uri": True}} if proxy.certificate_header else {}
    bound = {"upstream_bind_config": {
        "source_address": {"address": "127.0.0.6", "port_value": 0},
        "extra_source_addresses": [{"address": {"address": "::6", "port_value": 0}}]}}
    either = speaks(use_downstream_protocol_config={"http_protocol_options": {}, "http2_protocol_options": {}})
    listeners = [
        {"name": "virtualOutbound", "address": address("::", sidecar.OUTBOUND, ipv4_compat=True),
         "use_original_dst": True, "filter_chains": [{"filters": [tcp("passthrough", "PassthroughCluster")]}]},
        {"name": "virtualInbound", "address": address("::", sidecar.INBOUND, ipv4_compat=True),
         "listener_filters": [
             {"name": "original_dst", "typed_config": extension("filters.listener.original_dst.v3.OriginalDst")},
             {"name": "tls", "typed_config": extension("filters.listener.tls_inspector.v3.TlsInspector")}],
         "listener_filters_timeout": "0.5s", "continue_on_listener_filters_timeout": True,
         "filter_chains": inbound(tie_plan.HTTP, http("inbound_8080", "inbound|8080||", **forwarded))
         + inbound(tie_plan.TCP, tcp("inbound_6379", "inbound|6379||"))
         + inbound(tie_plan.SPEAKS_FIRST, tcp("inbound_3306", "inbound|3306||")),
         "default_filter_chain": {"filters": [tcp("inbound_passthrough", "InboundPassthroughCluster")]}}]
    clusters = [
        original("PassthroughCluster"), original("InboundPassthroughCluster", **bound),
        original("inbound|6379||", **bound), original("inbound|3306||", **bound),
        original("inbound|8080||", connection_pool_per_downstream_connection=proxy.pool_per_client, **either, **bound)]
    for port, at in SERVICES.items():
        name = f"outbound|{at[1]}||svc{port}"
        filter_ = (http if port == tie_plan.HTTP else tcp)(f"outbound_{port}", name)
        listeners.append({"name": f"service{port}", "address": address(*at), "bind_to_port": False,
                          "filter_chains": [{"filters": [filter_]}]})
        more = {}
        if port == tie_plan.HTTP and proxy.wire_h2:
            more = speaks(explicit_http_config={"http2_protocol_options": {}})
        if proxy.wire:
            more["transport_socket"] = tls(certificates, False, secrets, proxy.wire)
            more["transport_socket"]["typed_config"]["common_tls_context"]["alpn_protocols"] = [
                "h2" if proxy.wire_h2 and port == tie_plan.HTTP else "istio"]
        endpoint = {"endpoint": {"address": address(peer, port)}}
        clusters.append({"name": name, "type": "STATIC", "connect_timeout": "5s", **more, "load_assignment": {
            "cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}})
    return {"admin": {"address": address("127.0.0.1", sidecar.ADMIN)},
            "static_resources": {"listeners": listeners, "clusters": clusters}}


class TieMesh(Mesh):
    """Pod `b` with a sidecar and the application; pod `a` with a sidecar, or with `addresses` and without one."""

    def __init__(self, folder, program, certificates, options, proxy: Proxy, keepalive: int, ipv4: int, ipv6: int):
        super().__init__(folder, program, certificates, options)
        self.proxy, self.keepalive = proxy, keepalive
        self.addresses = [f"172.21.207.{16 + number}" for number in range(ipv4)]
        self.addresses6 = [f"fd00:21::7:{16 + number:x}" for number in range(ipv6)]

    def set_up(self):
        self.bridge()
        if self.addresses or self.addresses6:
            self.add(self.a, intercepted=False)
            for number in self.addresses:
                run("ip", "-n", self.a.namespace, "addr", "add", f"{number}/23", "dev", "eth0")
            for number in self.addresses6:
                run("ip", "-n", self.a.namespace, "addr", "add", f"{number}/64", "dev", "eth0", "nodad")
        else:
            self.add(self.a)
            self.sidecar(self.a, self.b)
        self.add(self.b)
        self.sidecar(self.b, self.a)
        self.b.start("apps.log", sys.executable, str(APPS), str(self.b.truth), str(self.keepalive),
                     ready="ready")

    def sidecar(self, pod: Pod, peer: Pod):
        config = configuration(pod.folder, peer.ip, self.certificates, self.proxy)
        (pod.folder / "envoy.json").write_text(json.dumps(config, indent=1))
        pod.proxy = pod.start("envoy.log", str(self.envoy), "-c", str(pod.folder / "envoy.json"),
                              "--disable-hot-restart", "--concurrency", str(self.proxy.concurrency),
                              "--file-flush-interval-msec", "200", ready="starting workers", uid=sidecar.UID)
