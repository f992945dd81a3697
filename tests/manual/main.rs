//! The manual: what the pages and the completions say about options and commands is generated from the code, and these
//! tests fail where it is not what is there. `make man` writes it anew.
//!
//! The generated files are kept, so that a package needs no further tools to be built.

mod commands;
mod completions;
mod mdoc;
mod options;

use clap::CommandFactory;
use sshfs_docker::{cli::Cli, volume::catalogue::CATALOGUE};
use std::{env, fs, path::Path};

/// Set by `make man`.
const UPDATE: &str = "SSHFS_DOCKER_UPDATE_MANUAL";

/// The text of a file of this repository.
fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Fails unless the file says `expected`, or writes that.
fn check(path: &str, expected: &str) {
    if env::var_os(UPDATE).is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(path), expected).unwrap();
        return;
    }
    let current = read(path);
    let differs = current.lines().zip(expected.lines()).find(|(current, expected)| current != expected);
    assert!(current == expected, "{path} is not what the code says, run `make man`: {differs:?}");
}

/// The command line without what only the program itself uses.
fn command_line() -> clap::Command {
    let full = Cli::command();
    let shown = full.get_subcommands().filter(|command| !command.is_hide_set()).map(|command| {
        let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set());
        let about = command.get_about().cloned().unwrap_or_default();
        // Names are static text where clap is built as small as here.
        clap::Command::new(&*command.get_name().to_owned().leak()).about(about).args(arguments)
    });
    clap::Command::new("sshfs-docker").version(env!("CARGO_PKG_VERSION")).subcommands(shown)
}

#[test]
fn the_page_of_the_program_has_all_its_commands() {
    let page = read("man/sshfs-docker.8");
    let mut program = command_line();
    program.build();
    let page = mdoc::replace(&page, "commands", &commands::commands(&program));
    let page = mdoc::replace(&page, "common options", &commands::common_options(&program));
    check("man/sshfs-docker.8", &page);
}

#[test]
fn the_page_of_the_volumes_has_all_their_options() {
    let mut page = read("man/docker-volume-sshfs.7");
    for (region, list) in options::lists() {
        page = mdoc::replace(&page, region, &list);
    }
    check("man/docker-volume-sshfs.7", &page);
    for entry in CATALOGUE {
        let items = page.lines().filter(|line| {
            line.strip_prefix(".It Cm ").and_then(|item| item.split(' ').next()) == Some(entry.name)
        });
        assert_eq!(items.count(), 1, "{}", entry.name);
    }
}

#[test]
fn completions_know_all_commands() {
    for (path, script) in completions::scripts(&mut command_line()) {
        check(path, &script);
    }
}
