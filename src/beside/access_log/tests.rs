//! Lines as Envoy writes them, and lines that pretend to be such.

use super::*;
use crate::beside::spoil::spoiled;
use proptest::prelude::*;

const HTTP: &str = r#"[2026-11-25T10:29:43.105Z] "GET /a?size=3 HTTP/1.1" 200 - via_upstream - "-" 7 3066 3 2 "10.1.0.9" "curl/8.5.0 (x; y)" "e1761a13-76af-44f9-aa7c-f05eae11be9a" "web.shop.svc" "10.1.0.6:8080" outbound|80||web.shop.svc 10.1.0.5:22494 10.96.0.10:80 10.1.0.5:57582 - default"#;
const TCP: &str = r#"[2026-11-25T10:29:43.129Z] "- - -" 0 - - - "-" 35 36 6 - "-" "-" "-" "-" "[fd00:21::6]:9000" PassthroughCluster [fd00:21::5]:21814 [fd00:21::6]:9000 [fd00:21::5]:21806 outbound_.80_._.web -"#;

/// 2026-11-25T10:29:43Z
const SECOND: u64 = 1_795_602_583_000_000_000;

/// The lines that are records, what was not used, and what `of` says of each record.
fn read<T>(format: Format, text: &[u8], of: impl Fn(&Record<'_>) -> T) -> (Vec<(u64, T)>, Unused) {
    let mut log = AccessLog::new("access.log", text, format);
    let mut records = Vec::new();
    while let Some(record) = log.advance().expect("memory does not fail") {
        records.push((record.line, of(&record)));
    }
    assert!(log.advance().expect("for good").is_none());
    (records, log.unused().clone())
}

fn istio() -> Format {
    Format::istio().expect("it is built in")
}

fn format(text: &str) -> Format {
    Format::new(text).expect("a format")
}

/// What `of` says of the only record.
fn one<T>(format: Format, line: &str, of: impl Fn(&Record<'_>) -> T) -> T {
    let (mut records, unused) = read(format, line.as_bytes(), of);
    assert_eq!((records.len(), unused.bad, unused.other), (1, 0, 0), "{line}: {unused}");
    records.remove(0).1
}

fn address(text: &str) -> Option<SocketAddr> {
    Some(text.parse().expect("an address"))
}

#[test]
fn istio_s_text_format() {
    one(istio(), HTTP, |record| {
        let expected = Record {
            line: 1,
            start: Some(SECOND + 105_000_000),
            start_resolution: 1_000_000,
            duration: Some(3_000_000),
            upstream_local: address("10.1.0.5:22494"),
            upstream_host: address("10.1.0.6:8080"),
            downstream_local: address("10.96.0.10:80"),
            downstream_remote: address("10.1.0.5:57582"),
            downstream_direct_remote: None,
            response_flags: None,
            request_id: Some(b"e1761a13-76af-44f9-aa7c-f05eae11be9a"),
        };
        assert_eq!(*record, expected);
    });
    one(istio(), TCP, |record| {
        assert_eq!(record.upstream_local, address("[fd00:21::5]:21814"));
        assert_eq!(record.downstream_remote, address("[fd00:21::5]:21806"));
        assert_eq!((record.request_id, record.response_flags, record.duration), (None, None, Some(6_000_000)));
    });
}

/// The same values as [`HTTP`], with Istio's keys; Envoy sorts them.
const JSON: &str = r#"{"authority":"web.shop.svc","bytes_received":7,"bytes_sent":3066,"connection_termination_details":null,"downstream_local_address":"10.96.0.10:80","downstream_remote_address":"10.1.0.5:57582","duration":3,"method":"GET","path":"/a?size=3","protocol":"HTTP/1.1","request_id":"e1761a13-76af-44f9-aa7c-f05eae11be9a","requested_server_name":null,"response_code":200,"response_code_details":"via_upstream","response_flags":"-","route_name":"default","start_time":"2026-11-25T10:29:43.105Z","upstream_cluster":"outbound|80||web.shop.svc","upstream_host":"10.1.0.6:8080","upstream_local_address":"10.1.0.5:22494","upstream_service_time":"2","upstream_transport_failure_reason":null,"user_agent":"curl/8.5.0 \"(x; y)","x_forwarded_for":"10.1.0.9"}"#;

#[test]
fn istio_s_json_says_the_same() {
    let text = one(istio(), HTTP, |record| format!("{record:?}"));
    assert_eq!(one(istio(), JSON, |record| format!("{record:?}")), text);
    let both = format!("{HTTP}\n{JSON}\n{TCP}\n");
    assert_eq!(read(istio(), both.as_bytes(), |_| ()).0.len(), 3, "line by line");
}

#[test]
fn formats_of_one_s_own() {
    let tie = |record: &Record<'_>| (record.start, record.downstream_remote, record.upstream_local);
    let times = [
        ("%START_TIME(%s.%3f)%", "1795602583.105", 105_000_000),
        ("%START_TIME(%s.%f)%", "1795602583.105000007", 105_000_007),
        ("%START_TIME(%Y/%m/%dT%H:%M:%S%z %6f)%", "2026/11/25T12:29:43+0200 105000", 105_000_000),
        ("%START_TIME(%d/%b/%Y:%H:%M:%S %Ez)%", "25/Nov/2026:05:29:43 -05:00", 0),
        ("%START_TIME(%a %b %e %I:%M:%E*S %p %Y)%", "Wed Nov 25 10:29:43.25 AM 2026", 250_000_000),
        ("%START_TIME(%F %T)%", "2026-11-25 10:29:43", 0),
        ("%START_TIME(%Y %j %R:%S)%", "2026 329 10:29:43", 0),
        ("%START_TIME_LOCAL(%s)%", "1795602583", 0),
    ];
    for (time, written, fraction) in times {
        let format_string = format!("<{time}> 100%% %DOWNSTREAM_REMOTE_ADDRESS% via %UPSTREAM_LOCAL_ADDRESS%\n");
        let line = format!("<{written}> 100% 10.1.0.5:57582 via [fd00::5]:7");
        let expected = (Some(SECOND + fraction), address("10.1.0.5:57582"), address("[fd00::5]:7"));
        assert_eq!(one(format(&format_string), &line, tie), expected, "{time}");
    }
    let several = format("%START_TIME(%s)% %START_TIME(%s.%6f)% %START_TIME%");
    let line = "1795602583 1795602583.105001 2026-11-25T10:29:43.105Z";
    assert_eq!(one(several, line, |record| record.start), Some(SECOND + 105_001_000), "the most exact one");
    // Nobody knows which zone it is.
    let of = |record: &Record<'_>| (record.start, record.duration);
    let local = format("%START_TIME_LOCAL% %DURATION%");
    assert_eq!(one(local, "2026-11-25T10:29:43.105Z 5", of), (None, Some(5_000_000)));
    let of_day = format("%START_TIME(%H:%M:%S)% %DURATION%");
    assert_eq!(one(of_day, "10:29:43 5", of), (None, Some(5_000_000)));
}

#[test]
fn operators_in_any_place() {
    let of = |record: &Record<'_>| (record.downstream_direct_remote, record.duration);
    let own = format("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%,%CONNECTION_ID%,%DURATION%ms,%REQ(X?Y):10%");
    let expected = (address("10.1.0.5:1"), Some(4_000_000));
    assert_eq!(one(own, "10.1.0.5:1,9,4ms,anything, really", of), expected);
    let parts = format(
        "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%|%DOWNSTREAM_DIRECT_REMOTE_PORT%|%CONNECTION_ID%|%DURATION%",
    );
    assert_eq!(one(parts, "10.1.0.5|1|9|4", of), expected);
    let unknown =
        format("%FILTER_STATE(a:b):5% %UPSTREAM_REMOTE_ADDRESS% \"%DYNAMIC_METADATA(com.test:x(y))%\" %DURATION%");
    let of = |record: &Record<'_>| (record.upstream_host, record.duration);
    assert_eq!(one(unknown, "- 10.1.0.6:80 \"{\"a\": 1}\" 9", of), (address("10.1.0.6:80"), Some(9_000_000)));
    // With omit_empty_values, what is absent is nothing.
    let of = |record: &Record<'_>| (record.upstream_host, record.duration, record.response_flags.is_some());
    let sparse = format("[%UPSTREAM_HOST%] \"%RESPONSE_FLAGS%\" %DURATION%");
    assert_eq!(one(sparse.clone(), "[] \"\" 5", of), (None, Some(5_000_000), false));
    assert_eq!(one(sparse.clone(), "[/var/run/app.sock] \"UF,URX\" 5", of), (None, Some(5_000_000), true));
    let line = HTTP.replace(" - via", "  via").replace("\"10.1.0.9\"", "\"\"").replace(" - default", "  ");
    one(istio(), &line, |record| assert_eq!(record.downstream_remote, address("10.1.0.5:57582")));
    assert_eq!(one(sparse, "[envoy://internal/] \"-\" -", of), (None, None, false));
}

#[test]
fn json_formats_of_one_s_own() {
    let own = r#"{"t": "%START_TIME(%s)%", "peer": {"client": "%DOWNSTREAM_REMOTE_ADDRESS%", "id": "%REQ(X-REQUEST-ID)%"},
        "up": "from %UPSTREAM_LOCAL_ADDRESS% to %UPSTREAM_HOST%", "constant": "x", "n": 5, "list": ["%PROTOCOL%"]}"#;
    let line = r#"{"constant":"x","n":5,"more":[1,{"t":"2"}],"peer":{"client":"10.1.0.5:1","id":"a\"\u00e4b c"},"t":"1795602583","up":"from 10.1.0.5:2 to 10.1.0.6:80","list":["HTTP/1.1"]}"#;
    one(format(own), line, |record| {
        assert_eq!((record.start, record.start_resolution), (Some(SECOND), 1_000_000_000));
        assert_eq!((record.downstream_remote, record.upstream_local), (address("10.1.0.5:1"), address("10.1.0.5:2")));
        assert_eq!(record.upstream_host, address("10.1.0.6:80"));
        assert_eq!(record.request_id, Some("a\"äb c".as_bytes()), "decoded");
    });
    // Absent values are missing, null or "-".
    for line in
        [r#"{"t":null,"peer":{"client":"10.1.0.5:1"}}"#, r#"{"t":"-","peer":{"client":"10.1.0.5:1"},"up":null}"#]
    {
        one(format(own), line, |record| assert_eq!((record.start, record.upstream_host), (None, None)));
    }
}

#[test]
fn formats_that_make_no_sense() {
    let wrong = [
        ("hello", "no operator"),
        ("%START_TIME", "no % at its end"),
        ("100% %START_TIME%", "written %%"),
        ("%START_TIME(%Q)%", "%Q is not understood"),
        ("%START_TIME(%s%", "no end"),
        ("%PROTOCOL%%ROUTE_NAME%", "cannot be told apart"),
        ("%START_TIME%\n%PROTOCOL%", "several lines"),
        ("{\"a\": ", "no JSON object"),
        ("{\"a\": \"b\"}", "no operator"),
        ("{\"a\": {\"b\": \"%\"}}", "written %%"),
    ];
    for (text, word) in wrong {
        let error = Format::new(text).expect_err(text).to_string();
        assert!(error.starts_with("access log format: ") && error.contains(word), "{text}: {error}");
    }
    assert!(Format::new(&"%PROTOCOL% ".repeat(1000)).is_err());
}

/// A client chooses its user agent: it must not be able to choose the addresses of its record.
#[test]
fn a_user_agent_that_looks_like_the_rest_of_the_line() {
    let harmless = HTTP.replace("curl/8.5.0 (x; y)", r#"a "quoted" agent" -"#);
    one(istio(), &harmless, |record| assert_eq!(record.upstream_local, address("10.1.0.5:22494")));
    let forged = r#"x" "id" "host" "6.6.6.6:1" c 6.6.6.6:2 6.6.6.6:3 6.6.6.6:4 - r"#;
    let (records, unused) = read(istio(), HTTP.replace("curl/8.5.0 (x; y)", forged).as_bytes(), |_| ());
    assert_eq!((records.len(), unused.bad), (0, 1), "{unused}");
    assert!(unused.to_string().contains("in more than one way"), "{unused}");
}

#[test]
fn lines_of_other_kinds() {
    let text = format!(
        "[2026-11-25 10:29:43.105][12][info][main] [source/server/server.cc:1] starting\n\
         2026-11-25T10:29:43.105123Z\tinfo\tcache\tgenerated new workload certificate\n\
         {{\"level\":\"info\",\"time\":\"2026-11-25T10:29:43Z\",\"msg\":\"x\"}}\n\
         {HTTP}\n\n[pod/web-1/istio-proxy] {TCP}\n[pod/web-1/istio-proxy] {JSON}\r\n\
         {}\nhello\n{}\n{}\n",
        &HTTP[..120],
        HTTP.replace("10:29:43", "10:29:4"),
        &JSON[..90],
    );
    let (records, unused) = read(istio(), text.as_bytes(), |record| record.duration);
    assert_eq!(records, [(4, Some(3_000_000)), (6, Some(6_000_000)), (7, Some(3_000_000))]);
    assert_eq!((unused.bad, unused.other), (4, 3), "{unused}");
    assert_eq!(unused.first[0].place, "line 8");
}

/// A line made to fit in very many ways takes no longer than its bound.
#[test]
fn a_line_that_fits_in_very_many_ways() {
    let own = format(&"%REQ(A)% ".repeat(60));
    let (records, unused) = read(own, "a ".repeat(30_000).as_bytes(), |_| ());
    assert_eq!((records.len(), unused.bad), (0, 1));
    assert!(unused.to_string().contains("too many ways"), "{unused}");
}

proptest! {
    #[test]
    fn spoiled_logs_are_read_as_far_as_they_go(text in spoiled(format!("{HTTP}\n{JSON}\n{TCP}\n"))) {
        let lines = text.split(|&c| c == b'\n').count() as u64;
        let (records, unused) = read(istio(), &text, |record| format!("{record:?}").len());
        prop_assert!(records.len() as u64 + unused.bad + unused.other <= lines);
    }

    #[test]
    fn spoiled_formats(text in spoiled(super::format::ISTIO), json in spoiled(r#"{"a": {"b": "%START_TIME(%s.%3f)% %REQ(X?Y):3%"}}"#)) {
        for text in [text, json] {
            if let Ok(format) = Format::new(&String::from_utf8_lossy(&text)) {
                read(format, format!("{HTTP}\n{JSON}\n").as_bytes(), |record| record.line);
            }
        }
    }
}
