//! The live test: one scenario recorded twice, and with one change each, in pods of real parts. See tests/rig/diffed.py.

use crate::common;

#[test]
fn live() {
    common::rig::judged("diffed.py", "the live test of diff", &[]);
}
