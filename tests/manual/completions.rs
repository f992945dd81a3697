//! Completions for shells: what clap_complete makes of the command line, and the names of volumes.

use clap::{Arg, Command};
use clap_complete::{Shell, generate};
use std::{collections::BTreeSet, fmt::Write};

/// Lists the names of the volumes, for those who may read them.
const VOLUMES: &str = "command ls /var/lib/sshfs-docker/volumes 2>/dev/null | command sed -n 's/\\.json$//p'";

/// Files and what belongs into them.
pub fn scripts(program: &mut Command) -> [(&'static str, String); 3] {
    [
        ("completions/sshfs-docker.bash", bash(program)),
        ("completions/_sshfs-docker", zsh(&script(Shell::Zsh, program))),
        ("completions/sshfs-docker.fish", fish(&script(Shell::Fish, program), program)),
    ]
}

fn script(shell: Shell, program: &mut Command) -> String {
    let mut script = Vec::new();
    generate(shell, program, "sshfs-docker", &mut script);
    String::from_utf8(script).expect("text")
}

/// Written here: what clap_complete 4.6 makes for bash has no way from a program with a '-' in its name to its commands.
fn bash(program: &Command) -> String {
    let mut commands = String::new();
    let mut with_value = BTreeSet::new();
    for command in program.get_subcommands() {
        let options: Vec<_> = command.get_arguments().filter(|argument| !argument.is_positional()).collect();
        let mut words: Vec<_> = options.iter().flat_map(|option| names(option)).collect();
        words.push("--help".to_owned());
        if takes_volumes(command) {
            words.push("$(_sshfs_docker_volumes)".to_owned());
        }
        let _ = writeln!(commands, "        {}) words=\"{}\" ;;", command.get_name(), words.join(" "));
        let valued = options.iter().filter(|option| option.get_action().takes_values());
        with_value.extend(valued.flat_map(|option| names(option)));
    }
    let names: Vec<_> = program.get_subcommands().map(Command::get_name).collect();
    format!(
        "_sshfs_docker_volumes() {{
    {VOLUMES}
}}

_sshfs_docker() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} command=${{COMP_WORDS[1]}} words=
    # The value of an option: a file, as bash itself completes it.
    case ${{COMP_WORDS[COMP_CWORD - 1]}} in
        {}) return ;;
    esac
    [[ $COMP_CWORD -gt 1 ]] || command=
    case $command in
        '') words=\"{} --help --version\" ;;
{commands}    esac
    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))
}}

complete -F _sshfs_docker -o bashdefault -o default sshfs-docker
",
        with_value.into_iter().collect::<Vec<_>>().join(" | "),
        names.join(" ")
    )
}

fn names(option: &Arg) -> Vec<String> {
    let short = option.get_short().map(|letter| format!("-{letter}"));
    short.into_iter().chain(option.get_long().map(|name| format!("--{name}"))).collect()
}

fn takes_volumes(command: &Command) -> bool {
    command.get_positionals().any(|argument| argument.get_id().as_str().starts_with("volume"))
}

fn zsh(script: &str) -> String {
    let function = format!(
        "_sshfs_docker_volumes() {{
    local -a volumes
    volumes=(${{(f)\"$({VOLUMES})\"}})
    compadd -a volumes
}}

"
    );
    let begins = "_sshfs-docker() {";
    let script = script.replacen(begins, &format!("{function}{begins}"), 1);
    let names_volumes = |line: &str| line.contains("volume -- ") || line.contains("volumes -- ");
    let line = |line: &str| match line {
        _ if names_volumes(line) => line.replace(":_default'", ":_sshfs_docker_volumes'") + "\n",
        _ => line.to_owned() + "\n",
    };
    script.lines().map(line).collect()
}

fn fish(script: &str, program: &Command) -> String {
    let commands: Vec<_> =
        program.get_subcommands().filter(|command| takes_volumes(command)).map(Command::get_name).collect();
    format!(
        "function __sshfs_docker_volumes\n    {VOLUMES}\nend\n\n{script}complete -c sshfs-docker \
         -n \"__fish_seen_subcommand_from {}\" -f -a \"(__sshfs_docker_volumes)\"\n",
        commands.join(" ")
    )
}
