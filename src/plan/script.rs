//! A plan as a script for sh.
//!
//! `collect.sh` captures in the network namespace that it is in, or that `$enter` leads to. With `nsenter` and without
//! anything it is the whole script; through kubectl, `kubectl.sh` sends it to a container, and takes a tar archive back.

use std::fmt::Write;

use super::text::{SNAPSHOTS, quoted};
use super::{Plan, PodName, Settings, Via};

const COLLECT: &str = include_str!("collect.sh");
const KUBECTL: &str = include_str!("kubectl.sh");

/// Ends the part that is sent to the container; no line of it is equal to this.
const END: &str = "END_OF_COLLECT";

/// A new folder.
const NEW: &str = "meshpcap-$(date +%Y%m%d-%H%M%S)-$$";

/// The script.
pub fn script(plan: &Plan) -> String {
    let settings = &plan.settings;
    let mut out = String::from("#!/bin/sh\n");
    let what: Vec<&str> = plan.legs.iter().map(|leg| leg.name()).collect();
    let _ = writeln!(
        out,
        "# Captures {}, for {} s, with all that helps to repair the capture.",
        what.join(", "),
        settings.duration
    );
    let _ = writeln!(out, "# Written by `meshpcap plan --script`. It stops by itself; ^C ends it earlier.");
    for note in &plan.notes {
        let _ = writeln!(out, "# {note}");
    }
    match &settings.via {
        Some(Via::Exec(pod)) => through_kubectl(plan, pod, None, &mut out),
        Some(Via::Debug(pod, image)) => through_kubectl(plan, pod, Some(image), &mut out),
        Some(Via::Nsenter(pid)) => {
            let _ = writeln!(out, "pid={pid}\nenter=\"nsenter -n -t $pid\"");
            body(plan, &format!("/proc/{pid}/root"), &folder(settings, NEW), &mut out);
        }
        None => {
            out.push_str("pid=\nenter=\n");
            body(plan, "", &folder(settings, NEW), &mut out);
        }
    }
    out
}

/// The folder that all is written to, for sh; `new` if it has no name.
fn folder(settings: &Settings, new: &str) -> String {
    settings.folder.as_deref().map_or(new.to_owned(), quoted)
}

/// The paths of the proxy's logs below a root, as settings of the script.
fn logs(settings: &Settings, root: &str, out: &mut String) {
    let path = |path: &Option<String>| path.as_ref().map_or("''".to_owned(), |path| quoted(&format!("{root}{path}")));
    let _ = writeln!(out, "access_log={}\nkeys={}", path(&settings.access_log), path(&settings.keys));
}

/// Settings and code that captures. Without a folder, the code writes an archive to standard output.
fn body(plan: &Plan, root: &str, folder: &str, out: &mut String) {
    let settings = &plan.settings;
    let Settings { duration, buffer, snaplen, files, file_size, .. } = settings;
    let _ = writeln!(out, "duration={duration}");
    let _ = writeln!(out, "folder={folder}");
    logs(settings, root, out);
    let _ = writeln!(out, "options='-n -U -s {snaplen} -B {buffer} -C {file_size} -W {files}'");
    let _ = writeln!(out, "merge_options={}", quoted(&plan.merge_options));
    let (before, after) = COLLECT.split_once("# CAPTURES\n").unwrap_or((COLLECT, ""));
    out.push_str(before);
    for capture in &plan.captures {
        let _ = writeln!(out, "capture {} {}", quoted(&capture.interface), quoted(&capture.filter));
    }
    let (middle, end) = after.split_once("# SNAPSHOTS\n").unwrap_or((after, ""));
    out.push_str(middle);
    for (command, file, _) in SNAPSHOTS {
        let _ = writeln!(out, "snapshot {file} {command}");
    }
    out.push_str(end);
}

fn through_kubectl(plan: &Plan, pod: &PodName, image: Option<&str>, out: &mut String) {
    let settings = &plan.settings;
    let PodName { namespace, pod, container } = pod;
    let _ = writeln!(out, "namespace={}\npod={}\nproxy={}", quoted(namespace), quoted(pod), quoted(container));
    let _ = writeln!(out, "image={}", quoted(image.unwrap_or_default()));
    logs(settings, "", out);
    let _ = writeln!(out, "folder={}", folder(settings, "meshpcap-$pod-$(date +%Y%m%d-%H%M%S)"));
    let _ = writeln!(out, "life={}", settings.duration + settings.duration / 20 + 120);
    let _ = writeln!(out, "merge_options={}", quoted(&plan.merge_options));
    let (before, after) = KUBECTL.split_once("# COLLECT\n").unwrap_or((KUBECTL, ""));
    out.push_str(before);
    let _ = writeln!(out, "collect() {{\n    cat <<'{END}'\npid=\nenter=");
    let inside = Plan { settings: Settings { access_log: None, keys: None, ..settings.clone() }, ..plan.clone() };
    body(&inside, "", "", out);
    let _ = writeln!(out, "{END}\n}}");
    out.push_str(after);
}
