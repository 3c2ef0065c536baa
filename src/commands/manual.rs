//! `meshpcap man` and `meshpcap completions`: what clap knows, in other forms.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use meshpcap::cli::{Cli, ManArgs};

use super::{fail, print};

/// Prints a completion script.
pub fn completions(shell: clap_complete::Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "meshpcap", &mut script);
    print(&script)
}

/// Prints one page, or writes all of them into a folder.
pub fn manual(args: &ManArgs) -> ExitCode {
    // Built, so that subcommands know their full names; of `help` there is no page.
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    if let Some(folder) = &args.output_dir {
        return match write_pages(&command, folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("{}: the pages cannot be written: {error}", folder.display())),
        };
    }
    let wanted = args.subcommand.as_deref().and_then(|name| command.find_subcommand(name)).unwrap_or(&command);
    match page(wanted) {
        Ok(page) => print(&page),
        Err(error) => fail(&error.to_string()),
    }
}

fn write_pages(command: &Command, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for command in std::iter::once(command).chain(command.get_subcommands()) {
        std::fs::write(folder.join(format!("{}.1", full_name(command))), page(command)?)?;
    }
    Ok(())
}

/// `meshpcap`, or `meshpcap-merge`.
fn full_name(command: &Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

/// The page of one command. What stands below its options in `--help` becomes sections of their own, in which commands
/// keep their lines.
fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let man = Man::new(command.clone());
    // By hand: the date, which is empty so that one source gives one page, would be left out, and what follows move up.
    let (name, version) = (full_name(command).to_uppercase(), env!("CARGO_PKG_VERSION"));
    writeln!(page, r#".TH {name} 1 "" "meshpcap {version}" "User Commands""#)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut roff = Roff::new();
    if let Some(text) = command.get_after_long_help() {
        sections(&mut roff, &text.to_string());
    }
    if !command.has_subcommands() {
        roff.control("SH", ["SEE ALSO"]);
        roff.text([bold("meshpcap"), roman("(1)")]);
    }
    page.write_all(roff.to_roff().as_bytes())?;
    Ok(page)
}

/// The columns by which a command is set off from the line that introduces it.
const COMMAND: &str = "      ";

/// Turns the text below the options into sections: `Heading:` at the margin; then lines that introduce commands, the
/// commands, and `term  what it means`.
fn sections(roff: &mut Roff, text: &str) {
    let (mut in_command, mut below_heading) = (false, false);
    for line in text.lines() {
        let is_command = line.starts_with(COMMAND);
        if in_command && !is_command {
            roff.control("fi", []).control("RE", []);
        }
        if is_command && !in_command {
            roff.control("PP", []).control("RS", ["4"]).control("nf", []);
        }
        in_command = is_command;
        let content = line.trim_start();
        let heading = line.strip_suffix(':').filter(|heading| !heading.starts_with(' '));
        match (heading, content.split_once("  ")) {
            _ if is_command => roff.text([roman(line.strip_prefix(COMMAND).unwrap_or(content))]),
            (Some(heading), _) => roff.control("SH", [heading.to_uppercase().as_str()]),
            (_, Some((term, meaning))) => roff.control("TP", []).text([bold(term)]).text([roman(meaning.trim_start())]),
            _ if content.is_empty() => roff,
            _ if below_heading => roff.text([roman(content)]),
            _ => roff.control("PP", []).text([roman(content)]),
        };
        below_heading = heading.is_some();
    }
    if in_command {
        roff.control("fi", []).control("RE", []);
    }
}
