//! A plan to read: the commands one by one, and as JSON for programs.

use std::fmt::{self, Write};

use serde_json::{Value, json as value};

use super::{Capture, Plan, PodName, Settings, Via};

/// Side files: what to run for each, its name, and what it is good for.
pub(super) const SNAPSHOTS: [(&str, &str, &str); 8] = [
    ("iptables-save", "iptables-save.txt", "the rules: which leg is which"),
    ("ip6tables-save", "ip6tables-save.txt", "the same for IPv6"),
    ("nft -j list ruleset", "nft.json", "rules that are not iptables' own"),
    ("ip -j addr", "addresses.json", "the pod's addresses"),
    ("ss -tanp", "sockets.txt", "which process has which port"),
    ("cat /proc/sys/net/ipv4/ip_local_port_range", "local-ports.txt", "the ports that clients have"),
    ("conntrack -L -o id", "conntrack-before.txt", "connections that exist already, with their original addresses"),
    ("conntrack -L -f ipv6 -o id", "conntrack6-before.txt", "the same for IPv6"),
];

/// What runs as long as the capture.
pub(super) const EVENTS: (&str, &str) = ("conntrack -E -o timestamp,id", "conntrack-events.txt");

/// The plan as text.
pub fn text(plan: &Plan) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_text(plan, &mut out);
    out
}

fn write_text(plan: &Plan, out: &mut String) -> fmt::Result {
    let settings = &plan.settings;
    let prefix = prefix(settings.via.as_ref());
    writeln!(out, "Legs:")?;
    for leg in &plan.legs {
        writeln!(out, "  {:18} {}", leg.name(), leg.meaning())?;
    }
    let both = if plan.captures.len() > 1 { ", all at once" } else { "" };
    writeln!(
        out,
        "\nCapture{both}, for {} s (^C ends it; the last second of packets may be missing):\n",
        settings.duration
    )?;
    for capture in &plan.captures {
        writeln!(out, "  {prefix}timeout {} {}\n", settings.duration, tcpdump(capture, settings))?;
    }
    writeln!(out, "  {prefix}timeout {} {} > {}", settings.duration, EVENTS.0, EVENTS.1)?;
    if !plan.notes.is_empty() {
        writeln!(out, "\nGood to know:")?;
        for note in &plan.notes {
            writeln!(out, "  {note}")?;
        }
    }
    writeln!(out, "\nBeside it, before the pod is gone:")?;
    for (command, file, what) in SNAPSHOTS {
        writeln!(out, "  {:74} # {what}", format!("{prefix}{command} > {file}"))?;
    }
    access_log(settings, out)?;
    writeln!(
        out,
        "\nTLS keys: Envoy writes them where its TLS contexts have a key_log (docs/capturing.md shows how to switch it on \
         and off)."
    )?;
    writeln!(out, "\nAll of it in one folder, by a script: the same command with --script. Then:\n")?;
    writeln!(out, "  meshpcap merge FOLDER/ -o fixed.pcapng{}", plan.merge_options)
}

fn access_log(settings: &Settings, out: &mut String) -> fmt::Result {
    let line = match (&settings.via, &settings.access_log) {
        (Some(Via::Exec(pod) | Via::Debug(pod, _)), None) => {
            let PodName { namespace, pod, container } = pod;
            format!("kubectl logs -n {namespace} {pod} -c {container} --since=10m > access.log")
        }
        (Some(Via::Exec(pod) | Via::Debug(pod, _)), Some(path)) => {
            let PodName { namespace, pod, container } = pod;
            format!("kubectl exec -n {namespace} {pod} -c {container} -- cat {} > access.log", quoted(path))
        }
        (Some(Via::Nsenter(pid)), Some(path)) => {
            format!("cat {} > access.log", quoted(&format!("/proc/{pid}/root{path}")))
        }
        (_, Some(path)) => format!("cp {} access.log", quoted(path)),
        (_, None) => "kubectl logs POD -c istio-proxy --since=10m > access.log".to_owned(),
    };
    writeln!(out, "  {line:74} # which legs belong together (Envoy writes it every 10 s)")
}

/// What comes before a command to run it in the pod.
fn prefix(via: Option<&Via>) -> String {
    match via {
        None => String::new(),
        Some(Via::Nsenter(pid)) => format!("nsenter -n -t {pid} "),
        Some(Via::Exec(PodName { namespace, pod, container })) => {
            format!("kubectl exec -n {namespace} {pod} -c {container} -- ")
        }
        Some(Via::Debug(PodName { namespace, pod, container }, image)) => {
            format!(
                "kubectl debug -n {namespace} {pod} --image={image} --target={container} --profile=netadmin -it -- "
            )
        }
    }
}

/// The command without what bounds it.
pub(super) fn tcpdump(capture: &Capture, settings: &Settings) -> String {
    let interface = &capture.interface;
    let filter = if capture.filter.is_empty() { String::new() } else { format!(" {}", quoted(&capture.filter)) };
    format!(
        "tcpdump -i {} -n -U -s {} -B {} -Z root -C {} -W {} -w {}{filter}",
        quoted(interface),
        settings.snaplen,
        settings.buffer,
        settings.file_size,
        settings.files,
        quoted(&format!("{interface}.pcap"))
    )
}

/// A word for sh.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The plan as JSON.
pub fn json(plan: &Plan) -> Value {
    let capture = |capture: &Capture| {
        let mut legs: Vec<&str> = capture.halves.iter().map(|half| half.leg.name()).collect();
        legs.dedup();
        value!({
            "interface": capture.interface,
            "legs": legs,
            "filter": capture.filter,
            "command": tcpdump(capture, &plan.settings),
        })
    };
    value!({
        "legs": plan.legs.iter().map(|leg| leg.name()).collect::<Vec<_>>(),
        "captures": plan.captures.iter().map(capture).collect::<Vec<_>>(),
        "notes": plan.notes,
        "merge": format!("meshpcap merge FOLDER/ -o fixed.pcapng{}", plan.merge_options),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_sh() {
        for (word, shell) in [("eth0", "eth0"), ("", "''"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("$x", "'$x'")] {
            assert_eq!(quoted(word), shell);
        }
    }
}
