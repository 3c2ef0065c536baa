//! `meshpcap ports`: rows of the table, and what a pod's sockets say.

use std::fmt::Write;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use meshpcap::cli::PortsArgs;
use meshpcap::ports::{self, Port, Socket, Sockets};

use super::{DAMAGED, complain, fail, print};

/// A list of sockets is not larger than this.
const LARGEST: u64 = 64 << 20;

/// Prints the rows asked for.
pub fn run(args: &PortsArgs) -> ExitCode {
    let sockets = match args.sockets.as_deref().map(read).transpose() {
        Ok(sockets) => sockets,
        Err(message) => return fail(&message),
    };
    let one_mesh = args.mesh.as_deref().or((args.port.is_none() && sockets.is_none()).then_some("istio"));
    let rows: Vec<&Port> = ports::find(one_mesh, args.port).collect();
    let lines = lines(&rows, args.port, sockets.as_ref());
    let told = match args.json {
        true => format!("{:#}\n", Value::Array(lines.iter().map(Line::json).collect())),
        false => text(&lines, one_mesh.is_none(), sockets.is_some()),
    };
    let printed = print(told.as_bytes());
    if lines.is_empty() {
        complain(&match args.port {
            Some(port) => format!("no mesh is known to use port {port}"),
            None => "no socket listens".to_owned(),
        });
        return ExitCode::from(DAMAGED);
    }
    printed
}

fn read(path: &Path) -> Result<Sockets, String> {
    let mut text = Vec::new();
    let read = match path.as_os_str() == "-" {
        true => std::io::stdin().lock().take(LARGEST).read_to_end(&mut text),
        false => std::fs::File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut text)),
    };
    let name = path.display();
    read.map_err(|error| format!("{name}: {error}"))?;
    let sockets = ports::listeners(&String::from_utf8_lossy(&text));
    match (sockets.by_port.is_empty(), sockets.not_understood) {
        (true, lines) => Err(format!(
            "{name}: lists no listening socket ({lines} lines are something else): give the output of ss -tanp"
        )),
        (false, 0) => Ok(sockets),
        (false, lines) => {
            complain(&format!("{name}: {lines} lines list no socket"));
            Ok(sockets)
        }
    }
}

/// A port, what it is for, and what listens there.
struct Line<'a> {
    number: u16,
    port: Option<&'a Port>,
    /// None: not known.
    sockets: Option<&'a [Socket]>,
}

/// The rows of the table; with sockets, those that something listens at, and the ports that no row has.
fn lines<'a>(rows: &[&'a Port], asked: Option<u16>, sockets: Option<&'a Sockets>) -> Vec<Line<'a>> {
    let Some(sockets) = sockets else {
        return rows.iter().map(|port| Line { number: port.number, port: Some(*port), sockets: None }).collect();
    };
    let open = sockets.by_port.iter().filter(|(number, _)| asked.is_none_or(|asked| asked == **number));
    let of_port = |(&number, open): (&u16, &'a Vec<Socket>)| {
        let mut known: Vec<Line> = rows
            .iter()
            .filter(|row| row.number == number)
            .map(|row| Line { number, port: Some(*row), sockets: Some(open) })
            .collect();
        if known.is_empty() {
            known.push(Line { number, port: None, sockets: Some(open) });
        }
        known
    };
    open.flat_map(of_port).collect()
}

impl Line<'_> {
    fn processes(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.sockets.into_iter().flatten().flat_map(|s| &s.processes).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn json(&self) -> Value {
        let addresses = |socket: &Socket| socket.address.map_or("*".to_owned(), |address| address.to_string());
        json!({
            "port": self.number,
            "mesh": self.port.map(|port| port.mesh),
            "protocol": self.port.map(|port| port.protocol),
            "component": self.port.map(|port| port.component),
            "purpose": self.port.map(|port| port.purpose),
            "reach": self.port.map(|port| port.reach.name()),
            "processes": self.sockets.map(|_| self.processes()),
            "addresses": self.sockets.map(|sockets| sockets.iter().map(addresses).collect::<Vec<_>>()),
        })
    }
}

fn text(lines: &[Line], with_mesh: bool, with_sockets: bool) -> String {
    let mut out = String::new();
    for line in lines {
        let mut words = vec![format!("{:5}", line.number)];
        if with_sockets {
            let names = line.processes();
            words.push(format!("{:16}", if names.is_empty() { "(not shown)".to_owned() } else { names.join(", ") }));
        }
        match line.port {
            Some(port) => {
                if with_mesh {
                    words.push(format!("{:13}", port.mesh));
                }
                let what = format!("{} ({})", port.purpose, port.protocol);
                words.push(format!("{:18} {what}; for {}", port.component, port.reach));
            }
            None => words.push("no port of the mesh".to_owned()),
        }
        let _ = writeln!(out, "{}", words.join("  "));
    }
    out
}
