//! The commands of the program, from the definition of its command line.

use crate::mdoc;
use clap::{Arg, ArgAction, Command};
use std::{collections::BTreeSet, fmt::Write};

/// What each command is called with, and what it does. Options of several commands are described elsewhere.
pub fn commands(program: &Command) -> String {
    let mut lines = ".Bl -tag -width Ds\n".to_owned();
    for command in shown(program) {
        let special = options(command).filter(|option| count(program, option) < shown(program).count());
        let arguments: String =
            special.map(synopsis).chain(command.get_positionals().map(positional)).collect();
        let _ = writeln!(lines, ".It Cm {}{arguments}", command.get_name());
        lines += &mdoc::paragraphs(
            &command.get_long_about().or(command.get_about()).map(plain).unwrap_or_default(),
        );
        lines += &list(options(command).filter(|option| !is_common(program, option)));
        if let Some(more) = command.get_after_help() {
            lines += ".Pp\n";
            lines += &mdoc::paragraphs(&plain(more));
        }
    }
    lines + ".El\n"
}

/// The options that several commands share.
pub fn common_options(program: &Command) -> String {
    let mut seen = BTreeSet::new();
    // The first commands share all of them, in the order of their definition.
    let all = shown(program).flat_map(options).filter(|option| is_common(program, option));
    list(all.filter(|option| seen.insert(option.get_id().clone())))
}

fn shown(program: &Command) -> impl Iterator<Item = &Command> {
    program.get_subcommands().filter(|command| command.get_name() != "help")
}

fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    let own = |option: &&Arg| !option.is_positional() && option.get_id() != "help";
    command.get_arguments().filter(own)
}

/// How many commands have this option.
fn count(program: &Command, option: &Arg) -> usize {
    let has = |command: &&Command| options(command).any(|other| other.get_id() == option.get_id());
    shown(program).filter(has).count()
}

fn is_common(program: &Command, option: &Arg) -> bool {
    // What two have, such as options of volumes, each says in its own words.
    count(program, option) > 2
}

fn list<'a>(options: impl Iterator<Item = &'a Arg>) -> String {
    let mut lines = String::new();
    for option in options {
        let names = option.get_short().map(|letter| format!("Fl {letter}"));
        let names = names.into_iter().chain(option.get_long().map(|name| format!("Fl -{name}")));
        let _ = writeln!(lines, ".It {}{}", names.collect::<Vec<_>>().join(" , "), value(option));
        lines +=
            &mdoc::paragraphs(&option.get_long_help().or(option.get_help()).map(plain).unwrap_or_default());
        if let ([default], true) = (option.get_default_values(), option.get_action().takes_values()) {
            let _ = writeln!(lines, "Default:\n.Cm {}", mdoc::text(&default.to_string_lossy()));
        }
    }
    if lines.is_empty() { lines } else { format!(".Bl -tag -width Ds -compact\n{lines}.El\n") }
}

fn synopsis(option: &Arg) -> String {
    let long =
        || format!("-{}", option.get_long().unwrap_or_else(|| panic!("{} has no name", option.get_id())));
    let name = option.get_short().map_or_else(long, |letter| letter.to_string());
    let again = if matches!(option.get_action(), ArgAction::Append) { " ..." } else { "" };
    format!(" Oo Fl {name}{}{again} Oc", value(option))
}

fn value(option: &Arg) -> String {
    let names = option.get_action().takes_values().then(|| option.get_value_names()).flatten();
    names.map_or_else(String::new, |names| format!(" Ar {}", names.join(" ")))
}

fn positional(argument: &Arg) -> String {
    let name =
        argument.get_value_names().map_or_else(|| argument.get_id().to_string(), |names| names.join(" "));
    let many = argument.get_num_args().is_some_and(|number| number.max_values() > 1);
    let name = if many { format!("{name} ...") } else { name };
    if argument.is_required_set() { format!(" Ar {name}") } else { format!(" Oo Ar {name} Oc") }
}

fn plain(text: &clap::builder::StyledStr) -> String {
    text.to_string()
}
