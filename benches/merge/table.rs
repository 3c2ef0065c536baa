//! Everything that there is a goal for, as a table in Markdown.

use std::io;

use clap::ValueEnum;

use crate::Arguments;
use crate::line::Met;
use crate::rows::{self, Row};

/// Prints the table, each row when it was measured. Names what could not be.
pub fn table(arguments: &Arguments) -> io::Result<Vec<String>> {
    println!("Scale {}, {} rounds, seed {}.\n", arguments.scale, arguments.rounds, arguments.seed);
    println!("| work | goal | measured | met |");
    println!("|---|---|---|---|");
    let mut missing = Vec::new();
    let all = Row::value_variants();
    for &row in if arguments.rows.is_empty() { all } else { &arguments.rows } {
        for line in rows::measure(row, arguments)? {
            let met = match line.met {
                Met::Yes => "yes",
                Met::No => "**no**",
                Met::Open => "",
                Met::Missing(program) => {
                    missing.push(format!("{}: {} ({program})", line.work, line.goal));
                    "**unknown**"
                }
            };
            println!("| {} | {} | {} | {met} |", line.work, line.goal, line.measured);
        }
    }
    Ok(missing)
}
