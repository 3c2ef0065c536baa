//! `meshpcap plan`: from what was typed to a plan, and in which form it is printed.

use std::process::ExitCode;

use meshpcap::cli::PlanArgs;
use meshpcap::plan::{self, check};

use super::{DAMAGED, fail, print};

/// Plans, or checks a filter.
pub fn run(args: &PlanArgs) -> ExitCode {
    let planned = args.target().and_then(|target| {
        let legs = args.legs(&target)?;
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
