use super::*;

#[allow(dead_code)]
fn verdict(rules: &str, probe: &str, set: impl FnOnce(&mut Probe)) -> Verdict {
    let rules = Ruleset::read("rules", rules.as_bytes(), None).expect("the rules of the test");
    let mut probe: Probe = probe.parse().expect("the probe of the test");
    set(&mut probe);
    evaluate(&rules, &Host::of(&probe), &probe)
}
