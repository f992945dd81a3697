//! The manual: what the man pages and the completions say about options and commands is generated from the code, and these
//! tests fail where it is not what is there. `make man` writes it anew, and with it the licences that the packages carry. The
//! documentation is looked through here, and gone through by the lab.
//!
//! The generated files are kept, so that a package needs no further tools to be built.

mod commands;
mod completions;
mod documentation;
mod installation;
mod licences;
mod mdoc;
mod options;
#[path = "../support/pages.rs"]
mod pages;

use clap::CommandFactory;
use sshfs_docker::{cli::Cli, volume::catalogue::CATALOGUE};
use std::{env, fs, path::Path};

/// Set by `make man`.
const UPDATE: &str = "SSHFS_DOCKER_UPDATE_MANUAL";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names of the files in a directory of this repository.
fn names_in(directory: &str) -> Vec<String> {
    let entries =
        fs::read_dir(repository().join(directory)).unwrap_or_else(|error| panic!("{directory}: {error}"));
    let files = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    files.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The text of a file of this repository.
fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Fails unless the file says `expected`, or writes that.
fn check(path: &str, expected: &str) {
    if env::var_os(UPDATE).is_some() {
        fs::write(repository().join(path), expected).unwrap_or_else(|error| panic!("{path}: {error}"));
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
        // Names are static text where clap is built as small as here.
        let name: &'static str = command.get_name().to_owned().leak();
        let mut copy = clap::Command::new(name).args(arguments);
        copy = command.get_about().into_iter().fold(copy, |copy, about| copy.about(about.clone()));
        copy = command.get_long_about().into_iter().fold(copy, |copy, about| copy.long_about(about.clone()));
        command.get_after_help().into_iter().fold(copy, |copy, help| copy.after_help(help.clone()))
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
fn the_page_of_the_program_has_all_exit_codes_and_units() {
    let page = read("man/sshfs-docker.8");
    let (_, codes) = page.split_once(".Sh EXIT STATUS").unwrap();
    let own = read("src/admin/mod.rs");
    let own = own.lines().filter(|line| line.starts_with("pub const EXIT_"));
    let own = own.filter_map(|line| line.split_once("= ")?.1.strip_suffix(';'));
    // What std and clap end with.
    for code in own.chain(["0", "1", "2"]) {
        assert!(codes.contains(&format!(".It {code}\n")), "{code}");
    }
    let (_, units) = page.split_once(".Sh UNITS").unwrap();
    let is_unit = |name: &&String| [".service", ".socket", ".timer"].iter().any(|kind| name.ends_with(kind));
    for unit in names_in("systemd").iter().filter(is_unit) {
        assert!(units.contains(&unit.replace("@.", "@NAME.")), "{unit}");
    }
}

#[test]
fn the_page_of_the_volumes_has_all_their_options() {
    let mut page = read("man/docker-volume-sshfs.7");
    for (region, list) in options::lists() {
        page = mdoc::replace(&page, region, &list);
    }
    check("man/docker-volume-sshfs.7", &page);
    let items = page.lines().filter_map(|line| line.strip_prefix(".It Cm ")?.split(" Ns").next());
    let mut names: Vec<_> = items.flat_map(|item| item.split(" , ")).collect();
    let mut known: Vec<_> = CATALOGUE.iter().map(|entry| entry.name).collect();
    names.sort_unstable();
    known.sort_unstable();
    assert_eq!(names, known);
}

#[test]
fn completions_know_all_commands() {
    for (path, script) in completions::scripts(&mut command_line()) {
        check(path, &script);
    }
}
