//! The commands of the program, from the definition of its command line.

use crate::mdoc;
use clap::{Arg, Command};
use std::fmt::Write;

/// What each command is called with, and what it does.
pub fn commands(program: &Command) -> String {
    let mut lines = ".Bl -tag -width Ds\n".to_owned();
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        let own: Vec<_> = options(command).filter(|option| !is_common(program, option)).collect();
        let short = |option: &&Arg| format!(" Op {}", name(option));
        let arguments: String =
            own.iter().map(short).chain(command.get_positionals().map(positional)).collect();
        let _ = writeln!(lines, ".It Cm {}{arguments}", command.get_name());
        let _ =
            writeln!(lines, "{}", mdoc::sentence(&help(command.get_long_about().or(command.get_about()))));
        lines += &list(&own);
    }
    lines + ".El\n"
}

/// The options that all commands share.
pub fn common_options(program: &Command) -> String {
    let first = program.get_subcommands().next().expect("a command");
    list(&options(first).filter(|option| is_common(program, option)).collect::<Vec<_>>())
}

fn list(options: &[&Arg]) -> String {
    if options.is_empty() {
        return String::new();
    }
    let mut lines = ".Bl -tag -width Ds -compact\n".to_owned();
    for option in options {
        let _ = writeln!(lines, ".It {}", name(option));
        let _ = writeln!(lines, "{}", mdoc::sentence(&help(option.get_long_help().or(option.get_help()))));
        if let [default] = option.get_default_values() {
            let _ = writeln!(lines, "Default:\n.Pa {}", mdoc::text(&default.to_string_lossy()));
        }
    }
    lines + ".El\n"
}

fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    let own = |option: &&Arg| !["help", "version"].contains(&option.get_id().as_str());
    command.get_arguments().filter(|argument| !argument.is_positional()).filter(own)
}

/// Whether all commands but a few have it.
fn is_common(program: &Command, option: &Arg) -> bool {
    let has = |command: &Command| options(command).any(|other| other.get_id() == option.get_id());
    let with = program.get_subcommands().filter(|command| has(command)).count();
    option.get_default_values().len() == 1 && with > 1
}

fn name(option: &Arg) -> String {
    let name = option.get_long().unwrap_or_else(|| panic!("{} has no name", option.get_id()));
    let value = option.get_action().takes_values().then(|| option.get_value_names()).flatten();
    value.map_or_else(|| format!("Fl -{name}"), |value| format!("Fl -{name} Ar {}", value.join(" ")))
}

fn positional(argument: &Arg) -> String {
    let name =
        argument.get_value_names().map_or_else(|| argument.get_id().to_string(), |names| names.join(" "));
    let many = argument.get_num_args().is_some_and(|number| number.max_values() > 1);
    let name = if many { format!("{name} ...") } else { name };
    if argument.is_required_set() { format!(" Ar {name}") } else { format!(" Op Ar {name}") }
}

fn help(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}
