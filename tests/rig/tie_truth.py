"""The truth of a recording of ties.py, from what the sockets of the application and of its clients saw.

A token that the client wrote down on one connection and the application on another ties the two. Access logs are
asked only about connections without a byte, which bear no token.
"""
import json
import re
from pathlib import Path

import tie_plan
import wireshark

TOKEN = re.compile(rb"tok-[0-9a-f]{12}")


def text(end) -> str:
    """ADDRESS:PORT as the report writes it."""
    host, port = end
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def rows(path: Path, role: str) -> list[dict]:
    every = (json.loads(line) for line in path.read_text().splitlines()) if path.exists() else ()
    return [{**row, "local": text(row["local"]), "peer": text(row["peer"])} for row in every if row["role"] == role]


def logged(folder: Path) -> dict[str, list[str]]:
    """By the proxy's address towards the application: the clients that the access log names."""
    found: dict[str, list[str]] = {}
    for line in (folder / "access.json").read_text().splitlines():
        row = json.loads(line)
        if row.get("upstream_local_address"):
            found.setdefault(row["upstream_local_address"], []).append(row["downstream_remote_address"])
    return found


def by_token(connections: list[dict]) -> dict[str, tuple[dict, dict]]:
    return {entry["token"]: (connection, entry) for connection in connections for entry in connection["tokens"]}


def many_clients(served: Path, clients: list[dict]) -> dict:
    """`legs`: the application's connections, each with what it carried of which client."""
    told, log, legs = by_token(clients), logged(served.parent), []
    for connection in rows(served, "server"):
        carried = []
        for entry in connection["tokens"]:
            client, sent = told.get(entry["token"], (None, {}))
            carried.append({**entry, "client": client and client["local"], "client_times": {
                name: sent[name] for name in ("sent", "first", "last") if name in sent}})
        clients_of, by = sorted({row["client"] for row in carried if row["client"]}), "tokens"
        if not carried:
            named = set(log.get(connection["peer"], ()))
            clients_of, by = (sorted(named), "access log") if len(named) == 1 else ([], "unknown")
        legs.append({"proxy": connection["peer"], "app": connection["local"], "protocol": connection["protocol"],
                     "began": connection["began"], "ended": connection["ended"], "closed": connection.get("closed"),
                     "got": connection["got"], "sent": connection["sent"], "clients": clients_of, "by": by,
                     "carried": carried})
    return {"legs": sorted(legs, key=lambda leg: leg["began"]), "clients": clients}


def wire_tokens(capture: Path, keys: Path | None) -> dict[str, str]:
    """The connection (`CLIENT > SERVER`) on which each token is in a capture; TLS is decrypted with the key log."""
    secrets = ("-o", f"tls.keylog_file:{keys}", *(word for port in (tie_plan.HTTP, tie_plan.TCP, tie_plan.SPEAKS_FIRST)
                                                  for word in ("-d", f"tcp.port=={port},tls"))) if keys else ()
    ends, kinds = {}, {}
    for line in wireshark.tshark(capture, *secrets, "-Y", "tcp", "-T", "fields", "-E", "separator=|", *(
            word for name in ("tcp.stream", "ip.src", "ipv6.src", "tcp.srcport", "ip.dst", "ipv6.dst", "tcp.dstport",
                              "tls.record.content_type") for word in ("-e", name))).splitlines():
        stream, source, source6, source_port, target, target6, target_port, content = line.split("|")
        ends.setdefault(stream, f"{text((source or source6, source_port))} > {text((target or target6, target_port))}")
        kinds[stream] = "tls" if content or kinds.get(stream) == "tls" else "tcp"
    found = {}
    taps = [word for stream, kind in kinds.items() for word in ("-z", f"follow,{kind},raw,{stream}")]
    for block in re.split(r"^Follow: ", wireshark.tshark(capture, *secrets, "-q", *taps), flags=re.M)[1:]:
        stream = re.search(r"^Filter: tcp\.stream eq (\d+)", block, re.M)[1]
        for side in (r"^([0-9a-f]+)$", r"^\t([0-9a-f]+)$"):
            data = bytes.fromhex("".join(re.findall(side, block, re.M)))
            found |= {token.decode(): ends[stream] for token in TOKEN.findall(data)}
    # HTTP/2 compresses headers
    for line in wireshark.tshark(capture, *secrets, "-Y", "http2.header.value contains \"tok-\"", "-T", "fields", "-E",
                                 "separator=|", "-e", "tcp.stream", "-e", "http2.header.value").splitlines():
        stream, values = line.split("|", 1)
        found |= {token: ends[stream] for token in re.findall(r"tok-[0-9a-f]{12}", values)}
    return found


def two_pods(folder: Path, clients: list[dict], encrypted: bool) -> dict:
    """`exchanges`: for each token its connections and times; `chains`: sets of connections that carried the same."""
    served, told = by_token(rows(folder / "b" / "truth.jsonl", "server")), by_token(clients)
    keys = [path for path in (folder / "a" / "keys.log", folder / "b" / "keys.log") if path.exists()]
    both = folder / "keys.log"
    both.write_text("".join(path.read_text() for path in keys))
    wires = [wire_tokens(folder / pod / "eth0.pcap", both if encrypted else None) for pod in "ab"]
    exchanges, chains = [], []
    for token, (app, got) in served.items():
        client, sent = told.get(token, (None, {}))
        legs = {"a_app": client and f"{client['local']} > {client['peer']}", "a_wire": wires[0].get(token),
                "b_wire": wires[1].get(token), "b_app": f"{app['peer']} > {app['local']}"}
        exchanges.append({"token": token, "protocol": app["protocol"], "request_id": got.get("request_id"), **legs,
                          "times": {"sent": sent.get("sent"), "got": got.get("got"), "answered": got.get("answered"),
                                    "last": sent.get("last")}})
        # the wire connection is one, however often it was captured
        joined = {f"{place} {leg}" for place, leg in (("a", legs["a_app"]), ("wire", legs["a_wire"] or legs["b_wire"]),
                                                      ("b", legs["b_app"])) if leg}
        apart = [chain for chain in chains if not chain & joined]
        chains = apart + [joined.union(*(chain for chain in chains if chain & joined))]
    return {"exchanges": exchanges, "chains": [sorted(chain) for chain in chains], "clients": clients}
