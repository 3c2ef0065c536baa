//! `meshpcap plan`: from what was typed to a plan, and in which form it is printed.

use std::process::ExitCode;

use meshpcap::cli::{PlanArgs, PortsArg};
use meshpcap::plan::{self, Leg, Pod, Target, check};

use super::{DAMAGED, fail, given, print};

/// The mesh whose rules are taken if nothing is said of them.
const USUAL: &str = "istio-dns";

/// Plans, or checks a filter.
pub fn run(args: &PlanArgs) -> ExitCode {
    let planned = target(args).and_then(|target| {
        let legs = legs(args, &target)?;
        Ok(plan::plan(&target, &legs, args.settings()))
    });
    let plan = match planned {
        Ok(plan) if plan.captures.is_empty() => return fail("none of these legs is there under these rules"),
        Ok(plan) => plan,
        Err(message) => return fail(&message),
    };
    if let Some(filter) = &args.check {
        return match check::check(&plan, filter) {
            Err(error) => fail(&error.to_string()),
            Ok(check) => {
                let printed = print(check.to_string().as_bytes());
                if check.loses() { ExitCode::from(DAMAGED) } else { printed }
            }
        };
    }
    let text = if args.script {
        plan::script(&plan)
    } else if args.json {
        format!("{:#}\n", plan::json(&plan))
    } else {
        plan::text(&plan)
    };
    print(text.as_bytes())
}

/// What to plan for.
fn target(args: &PlanArgs) -> Result<Target, String> {
    if let Some(gateway) = args.gateway.gateway(&args.pods, &args.ports) {
        if args.pods.is_empty() && !args.ports.is_empty() {
            return Err("--port tells a gateway's legs only with its address: add --pod".to_owned());
        }
        return Ok(Target::Gateway(gateway));
    }
    let mesh = args.rules.is_empty().then(|| args.mesh.as_deref().unwrap_or(USUAL));
    let mut pod = Pod::new(&args.pods, &args.interface, &given::ruleset(mesh, &args.rules)?, mesh);
    pod.ports = PortsArg::numbers(&args.ports);
    pod.local_ports = args.local_ports.map(|range| (range.first, range.last));
    // Without a word on the mesh, it may capture no DNS.
    pod.dns_outbound |= args.rules.is_empty() && args.mesh.is_none();
    if pod.model.listeners.is_empty() {
        return Err(
            "the rules redirect nothing that the pod sends: are they those of this pod, and read as root?".to_owned()
        );
    }
    Ok(Target::Sidecar(pod))
}

/// The legs asked for; an error if the target has none of a name.
fn legs(args: &PlanArgs, target: &Target) -> Result<Vec<Leg>, String> {
    let leg = |name: &String| {
        let leg = Leg::named(name).filter(|leg| target.legs().contains(leg));
        leg.ok_or_else(|| {
            let has: Vec<&str> = target.legs().iter().map(|leg| leg.name()).collect();
            format!("--leg: there is no {name} here, but {}", has.join(", "))
        })
    };
    args.legs.iter().map(leg).collect()
}
