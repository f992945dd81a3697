//! Completions for shells: what clap_complete makes of the command line, and the names of volumes.

use clap::Command;
use clap_complete::{Shell, generate};

/// Lists the names of the volumes, for those who may read them.
const VOLUMES: &str = "command ls /var/lib/sshfs-docker/volumes 2>/dev/null | command sed -n 's/\\.json$//p'";

/// Files and what belongs into them.
pub fn scripts(program: &mut Command) -> [(&'static str, String); 3] {
    [
        ("completions/sshfs-docker.bash", bash(&script(Shell::Bash, program))),
        ("completions/_sshfs-docker", zsh(&script(Shell::Zsh, program))),
        ("completions/sshfs-docker.fish", fish(&script(Shell::Fish, program), program)),
    ]
}

fn script(shell: Shell, program: &mut Command) -> String {
    let mut script = Vec::new();
    generate(shell, program, "sshfs-docker", &mut script);
    String::from_utf8(script).expect("text")
}

/// The script offers the names of arguments, as "<HOST>", in the place of arguments: those of volumes become volumes, the
/// others nothing.
fn bash(script: &str) -> String {
    let mut lines = format!("_sshfs_docker_volumes() {{\n    {VOLUMES}\n}}\n\n");
    for line in script.lines() {
        let list =
            line.split_once("opts=\"").and_then(|(indent, rest)| Some((indent, rest.strip_suffix('"')?)));
        lines += &match list {
            Some((indent, list)) => {
                let words: Vec<_> = list.split(' ').filter_map(word).collect();
                format!("{indent}opts=\"{}\"\n", words.join(" "))
            }
            None => format!("{line}\n"),
        };
    }
    lines
}

fn word(word: &str) -> Option<&str> {
    match word {
        _ if word.contains("VOLUME") => Some("$(_sshfs_docker_volumes)"),
        _ if word.contains(['<', '[', '.']) => None,
        _ => Some(word),
    }
}

fn zsh(script: &str) -> String {
    let function = format!(
        "_sshfs_docker_volumes() {{\n    local -a volumes\n    volumes=(${{(f)\"$({VOLUMES})\"}})\n    compadd -a volumes\n}}\n\n"
    );
    let mut lines = String::new();
    for line in script.lines() {
        if line.starts_with("_sshfs-docker() {") {
            lines += &function;
        }
        if line.contains("volume -- ") || line.contains("volumes -- ") {
            lines += &format!("{}\n", line.replace(":_default'", ":_sshfs_docker_volumes'"));
        } else {
            lines += &format!("{line}\n");
        }
    }
    lines
}

fn fish(script: &str, program: &Command) -> String {
    let names_volumes = |command: &&Command| {
        command.get_positionals().any(|argument| argument.get_id().as_str().starts_with("volume"))
    };
    let commands: Vec<_> = program.get_subcommands().filter(names_volumes).map(Command::get_name).collect();
    format!(
        "{script}complete -c sshfs-docker -n \"__fish_seen_subcommand_from {}\" -f -a \"({VOLUMES})\"\n",
        commands.join(" ")
    )
}
