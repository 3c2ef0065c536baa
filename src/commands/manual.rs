//! `meshpcap man` and `meshpcap completions`: what clap knows, in other forms.

use std::process::ExitCode;

use clap::CommandFactory;

use meshpcap::cli::Cli;

use super::{fail, print};

/// Prints a completion script.
pub fn completions(shell: clap_complete::Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "meshpcap", &mut script);
    print(&script)
}

/// Prints one page for the command and its subcommands.
pub fn manual() -> ExitCode {
    let mut page = Vec::new();
    let command = Cli::command();
    let rendered = clap_mangen::Man::new(command.clone()).render(&mut page).and_then(|()| {
        let merge = command.find_subcommand("merge").cloned().unwrap_or_default();
        let merge = clap_mangen::Man::new(merge.name("meshpcap merge"));
        merge.render_description_section(&mut page)?;
        merge.render_options_section(&mut page)?;
        merge.render_extra_section(&mut page)
    });
    match rendered {
        Ok(()) => print(&page),
        Err(error) => fail(&error.to_string()),
    }
}
