//! The manual: what the man pages and the completions say about options and commands is generated from the code, and these
//! tests fail where it is not what is there. `make man` writes it anew. The documentation is looked through here, and gone
//! through by the lab.
//!
//! The generated files are kept, so that a package needs no further tools to be built.

mod commands;
mod completions;
mod mdoc;
mod options;
#[path = "../support/pages.rs"]
mod pages;

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
    for unit in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")).unwrap() {
        let name = unit.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".service") || name.ends_with(".socket") || name.ends_with(".timer") {
            assert!(units.contains(&name.replace("@.", "@NAME.")), "{name}");
        }
    }
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

#[test]
fn each_block_of_the_documentation_is_run_or_says_why_not() {
    for page in pages() {
        if let Err(error) = pages::steps(&read(&page)) {
            panic!("{page}: {error:#}");
        }
    }
    for block in ["```\nls\n```\n", "```sh\nls\n", "```sh notest\nls\n```\n", "```console\nls\n```\n"] {
        assert!(pages::steps(block).is_err(), "{block}");
    }
}

#[test]
fn an_answer_is_what_the_page_shows_but_for_what_it_leaves_out() {
    for (said, shown) in [("a b", "a\nb\n"), ("a x b", "a … b"), ("x\na: b y", "…a: b…"), ("anything", "")]
    {
        assert!(pages::says(said, shown), "{said:?} {shown:?}");
    }
    for (said, shown) in [("a b c", "a b"), ("a b", "b…"), ("a x b", "a … c … b"), ("", "a"), ("ab", "ab…b")]
    {
        assert!(!pages::says(said, shown), "{said:?} {shown:?}");
    }
}

#[test]
fn the_page_about_monitoring_has_all_events_metrics_and_states() {
    let page = read("docs/monitoring.md");
    let has = |name: &str| assert!(page.contains(&format!("`{name}`")), "{name}");
    let events = read("src/events.rs");
    events
        .lines()
        .filter(|line| line.starts_with("pub const "))
        .filter_map(|line| line.split('"').nth(1))
        .for_each(has);
    let metrics = sshfs_docker::metrics::exposition(&[]);
    metrics.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).for_each(has);
    let status = read("src/driver/status.rs");
    status.split("tell(\"").skip(1).filter_map(|rest| rest.split('"').next()).for_each(has);
}

#[test]
fn links_of_the_documentation_lead_to_a_file() {
    for page in pages() {
        let directory = Path::new(&page).parent().unwrap();
        let text = read(&page);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://") && !target.starts_with('#')) {
            let file = directory.join(target.split('#').next().unwrap());
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(&file).exists(), "{page}: {target}");
        }
    }
    let contents = read("docs/README.md");
    for page in
        pages().iter().filter_map(|page| page.strip_prefix("docs/")).filter(|page| *page != "README.md")
    {
        assert!(contents.contains(&format!("]({page})")), "docs/README.md does not name {page}");
    }
}

fn pages() -> Vec<String> {
    let docs = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).unwrap();
    let docs = docs.map(|entry| format!("docs/{}", entry.unwrap().file_name().to_str().unwrap()));
    ["README.md", "SECURITY.md"].map(str::to_owned).into_iter().chain(docs).collect()
}
