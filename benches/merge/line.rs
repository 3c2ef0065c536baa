//! A line of the table.

use crate::programs::Measured;

/// A line of the table.
pub struct Line {
    pub work: String,
    pub goal: String,
    pub measured: String,
    pub met: Met,
}

/// Whether a goal was met.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Met {
    Yes,
    No,
    /// There is no goal.
    Open,
    /// It was not measured, since a program is missing.
    Missing(&'static str),
}

impl From<bool> for Met {
    fn from(met: bool) -> Met {
        if met { Met::Yes } else { Met::No }
    }
}

impl Line {
    pub fn new(work: impl Into<String>, goal: &str, measured: String, met: impl Into<Met>) -> Line {
        Line { work: work.into(), goal: goal.to_owned(), measured, met: met.into() }
    }

    /// How many times as long as `base` something took, held against a goal.
    pub fn ratio(work: &str, goal: &str, it: &Measured, base: &Measured, met: impl Fn(f64) -> bool) -> Line {
        if let Some(missing) = it.missing.or(base.missing) {
            return Line::new(work, goal, format!("not measured: {missing} is not installed"), Met::Missing(missing));
        }
        let ratio = it.ratio(base).unwrap_or(f64::NAN);
        let measured = format!("{ratio:.2}x: {:.3} s, {} {:.3} s", it.median(), base.name.trim(), base.median());
        Line::new(work, goal, measured, met(ratio))
    }

    /// The same line without a goal.
    pub fn without_goal(self) -> Line {
        let met = if let Met::Missing(_) = self.met { self.met } else { Met::Open };
        Line { met, ..self }
    }

    /// The peak of a program's memory, held against a goal in MiB.
    pub fn peak(work: impl Into<String>, it: &Measured, most: u64) -> Line {
        let peak = it.peak as f64 / 1024.0;
        Line::new(work, &format!("{most} MiB"), format!("{peak:.1} MiB in {:.1} s", it.median()), peak <= most as f64)
    }
}
