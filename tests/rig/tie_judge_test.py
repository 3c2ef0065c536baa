#!/usr/bin/env python3
"""Proves that the judge of ties passes a right report and sees each kind of mistake: run it.

The reports are made by hand. No Envoy, no tshark, no root.
"""
import copy
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import tie_judge                                                # noqa: E402
from tie_judge import Streams                                   # noqa: E402

ONE, TWO, POD = "172.21.207.16:40001", "172.21.207.17:40002", "172.21.206.228:6379"


def leg(proxy: str, *clients: str) -> dict:
    carried = [{"token": f"tok-{number}", "client": client, "got": 10, "answered": 11, "client_times": {"last": 12}}
               for number, client in enumerate(clients)]
    return {"proxy": proxy, "app": POD, "protocol": "tcp", "began": 10, "ended": 13, "clients": list(clients),
            "carried": carried}


def row(stream: int, client: str, captured: str | None = None, server: str = POD, **more) -> dict:
    return {"protocol": "tcp", "role": "inbound-app" if captured else "inbound-peer", "client": client,
            "server": server, "captured_client": captured, "tcp_stream": stream, "first_time": "10.1",
            "last_time": "12.0", "tie": None, "tie_evidence": None, "tie_grade": None, "tie_filter": None,
            "real_client": None, **more}


def tied(number: int, *rows: dict) -> list[dict]:
    wanted = f"tcp.stream in {{{', '.join(str(one['tcp_stream']) for one in rows)}}}"
    tie = {"tie": number, "tie_evidence": "bytes", "tie_grade": "proven", "tie_filter": wanted}
    return [{**one, **tie} for one in rows]


class ManyClients(unittest.TestCase):
    def setUp(self):
        self.truth = {"legs": [leg("127.0.0.6:501", ONE), leg("127.0.0.6:502", ONE, TWO)]}
        self.rows = [*tied(1, row(0, ONE), row(1, "172.21.207.16:501", "127.0.0.6:501", real_client=[ONE])),
                     row(2, TWO), row(3, "127.0.0.6:502", "127.0.0.6:502", real_client=[ONE, TWO])]

    def judge(self, logged=None):
        verdicts, counts = tie_judge.judge_many(self.truth, self.rows, 10.1, logged)
        return {verdict.what: verdict.good for verdict in verdicts}, counts

    def test_a_right_report_passes(self):
        good, counts = self.judge(logged={("127.0.0.6:501", POD), ("127.0.0.6:502", POD)})
        self.assertEqual(good, {"clients": True, "all logged": True})
        self.assertEqual(counts, {("tcp", "right"): 1, ("pooled", "right"): 1})

    def test_another_client_is_wrong(self):
        self.rows[1]["client"] = "172.21.207.17:501"
        good, counts = self.judge()
        self.assertEqual((good["clients"], counts["tcp", "wrong"]), (False, 1))

    def test_a_stranger_among_the_clients_is_wrong(self):
        self.rows[1]["real_client"] = [ONE, TWO]
        self.assertFalse(self.judge()[0]["clients"])

    def test_a_pooled_leg_with_one_client_s_address_is_wrong(self):
        self.rows[3]["client"] = "172.21.207.16:502"
        self.assertEqual(self.judge()[1]["pooled", "wrong"], 1)

    def test_a_leg_that_lost_the_proxy_s_port_is_wrong(self):
        self.rows[1]["client"] = "172.21.207.16:40001"
        self.assertEqual(self.judge()[1]["tcp", "wrong"], 1)

    def test_a_tie_with_another_client_s_leg_is_wrong(self):
        self.truth["legs"] = [leg("127.0.0.6:501", ONE), leg("127.0.0.6:502", TWO)]
        self.rows = [*tied(1, row(0, TWO), row(1, "127.0.0.6:501", "127.0.0.6:501")),
                     row(3, "127.0.0.6:502", "127.0.0.6:502")]
        self.assertEqual(self.judge()[1], {("tcp", "wrong"): 1, ("tcp", "none"): 1})

    def test_a_leg_that_is_left_is_none_and_fails_only_if_logged(self):
        self.rows[1] = row(1, "127.0.0.6:501", "127.0.0.6:501")
        self.assertEqual(self.judge()[1]["tcp", "none"], 1)
        self.assertTrue(self.judge()[0]["clients"])
        self.assertFalse(self.judge(logged={("127.0.0.6:501", POD)})[0]["all logged"])
        other = {("127.0.0.6:501", "10.0.0.9:1")}
        self.assertTrue(self.judge(logged=other)[0]["all logged"], "the same port, to another server")

    def test_nothing_to_judge_fails(self):
        self.rows = []
        self.assertFalse(self.judge()[0]["clients"])


class Filters(unittest.TestCase):
    def setUp(self):
        self.rows = tied(1, row(0, ONE), row(1, "172.21.207.16:501", "127.0.0.6:501"))
        self.output = Streams({0: {1, 4}, 1: {2, 3}}, {0: frozenset((ONE, POD)),
                                                       1: frozenset(("172.21.207.16:501", POD))})

    def judge(self, frames={1, 2, 3, 4}):
        return tie_judge.judge_filters(self.rows, self.output, lambda _: frames).good

    def test_an_exact_filter_passes(self):
        self.assertTrue(self.judge())
        self.assertTrue(tie_judge.judge_streams(self.rows, self.output).good)

    def test_other_packets_fail(self):
        self.assertFalse(self.judge({1, 2, 3}))

    def test_other_streams_fail(self):
        for one in self.rows:
            one["tie_filter"] = "tcp.stream in {0, 2}"
        self.assertFalse(self.judge())

    def test_no_ties_fail(self):
        self.rows = [row(0, ONE)]
        self.assertFalse(self.judge())

    def test_other_ends_fail(self):
        self.rows[1]["client"] = "127.0.0.6:501"
        self.assertFalse(tie_judge.judge_streams(self.rows, self.output).good)


class Chains(unittest.TestCase):
    def setUp(self):
        def chain(number):
            app, wire, back = f"10.0.0.1:5{number}", f"10.0.0.1:6{number}", f"127.0.0.6:7{number}"
            rows = tied(number, row(0, app, server="10.96.0.20:6379"), row(1, wire),
                        row(2, f"10.0.0.1:7{number}", back))
            return rows, [f"a {app} > 10.96.0.20:6379", f"wire {wire} > {POD}", f"b {back} > {POD}"], wire
        (one, first, wire), (other, second, _) = chain(1), chain(2)
        self.rows = copy.deepcopy([*one, *other])
        wires = f"{wire} > {POD}"
        self.truth = {"chains": [first, second], "exchanges": [{"a_wire": wires, "b_wire": wires}]}
        self.wire = Streams({0: {1, 2}}, {0: frozenset((wire, POD))})

    def judge(self):
        verdicts, counts = tie_judge.judge_chains(self.truth, self.rows)
        return verdicts[0].good, dict(counts)

    def test_right_chains_pass(self):
        self.assertEqual(self.judge(), (True, {"right": 2}))

    def test_a_tie_over_two_chains_is_wrong(self):
        for one in self.rows:
            one["tie"] = 1
        self.assertEqual(self.judge(), (False, {"wrong": 2}))

    def test_a_chain_in_two_parts_is_not_right(self):
        self.rows[2]["tie"] = 3
        self.assertEqual(self.judge(), (True, {"part": 1, "right": 1}))

    def test_a_wire_connection_that_appears_twice_fails(self):
        twice = Streams({0: {1, 2, 3, 4}}, self.wire.ends)
        self.assertTrue(tie_judge.judge_once(self.truth, self.wire, [self.wire, self.wire]).good)
        self.assertFalse(tie_judge.judge_once(self.truth, twice, [self.wire, self.wire]).good)


class Times(unittest.TestCase):
    def test_duration_lies_between_the_two_sides(self):
        def exchange(took):
            return [{"request_id": "r", "first_time": "10.000000", "last_time": 10 + took}]
        log = [{"request_id": "r", "downstream_remote_address": ONE, "upstream_local_address": "127.0.0.6:501",
                "response_code": 200, "duration": 20}]
        for near, far, good in ((0.021, 0.019, True), (0.050, 0.019, True), (0.017, 0.016, False),
                                (0.050, 0.023, False)):
            rows = [row(0, ONE, exchanges=exchange(near)),
                    row(1, "172.21.207.16:501", "127.0.0.6:501", exchanges=exchange(far))]
            self.assertEqual(tie_judge.judge_times(rows, log).good, good)
        self.assertIsNone(tie_judge.judge_times([row(0, ONE)], log))


if __name__ == "__main__":
    unittest.main()
