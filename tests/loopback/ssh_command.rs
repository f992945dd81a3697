//! A reference reader of ssh's command line, after ssh.c and readconf.c of OpenSSH 9 and ssh(1).

use std::collections::{BTreeMap, BTreeSet};

/// Letters of ssh's options, each that takes an argument with a colon behind it (the call of getopt in ssh.c).
const LETTERS: &str = "1246ab:c:e:fgi:kl:m:no:p:qstvxAB:CD:E:F:GI:J:KL:MNO:P:Q:R:S:TVw:W:XYy";

/// What a command line of ssh says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SshCommand {
    /// Where to.
    pub user: Option<String>,
    pub host: String,
    /// What to run there.
    pub command: Vec<String>,
    /// Options of one letter but `-o`, with their argument.
    pub flags: BTreeSet<String>,
    /// `-o name=value`, by the name in lower case.
    pub settings: BTreeMap<String, String>,
}

impl SshCommand {
    /// Reads the arguments behind the program's name. An error says what ssh would not take, or take in a way that nobody
    /// can have meant.
    pub fn read(arguments: &[String]) -> Result<Self, String> {
        let mut command = Self::default();
        let rest = command.read_options(arguments)?;
        let (terminated, rest) = match rest.split_first() {
            Some((dashes, rest)) if dashes == "--" => (true, rest),
            _ => (false, rest),
        };
        let (destination, mut rest) = rest.split_first().ok_or("no destination")?;
        let (user, host) = match destination.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, destination.as_str()),
        };
        if user == Some("") || host.is_empty() || destination.starts_with("ssh://") {
            return Err(format!("destination {destination:?}"));
        }
        (command.user, command.host) = (user.map(str::to_owned), host.to_owned());
        // Options may follow the destination.
        if !terminated {
            rest = command.read_options(rest)?;
            rest = rest.strip_prefix(&["--".to_owned()]).unwrap_or(rest);
        }
        command.command = rest.to_vec();
        Ok(command)
    }

    /// getopt(3): stops at `--` and at the first argument that is no option.
    fn read_options<'a>(&mut self, mut arguments: &'a [String]) -> Result<&'a [String], String> {
        while let [first, rest @ ..] = arguments {
            let Some(cluster) = first.strip_prefix('-').filter(|c| !c.is_empty() && *c != "-") else { break };
            arguments = rest;
            let mut letters = cluster.chars();
            while let Some(letter) = letters.next() {
                let at = LETTERS.find(letter).filter(|_| letter != ':').ok_or(format!("option {first:?}"))?;
                if !LETTERS[at + 1..].starts_with(':') {
                    self.add_flag(&letter.to_string())?;
                    continue;
                }
                let mut value = letters.as_str();
                if value.is_empty() {
                    let next;
                    (next, arguments) =
                        arguments.split_first().ok_or(format!("{first:?} without an argument"))?;
                    value = next;
                }
                match letter {
                    'o' => self.add_setting(value)?,
                    _ => self.add_flag(&format!("{letter}{value}"))?,
                }
                break;
            }
        }
        Ok(arguments)
    }

    fn add_flag(&mut self, flag: &str) -> Result<(), String> {
        if self.flags.insert(flag.to_owned()) { Ok(()) } else { Err(format!("-{flag} twice")) }
    }

    /// A line of ssh_config(5): the name ends at `=` or a blank, the value is split into words.
    fn add_setting(&mut self, line: &str) -> Result<(), String> {
        let end = line.find(|c: char| c == '=' || c == '"' || c.is_ascii_whitespace());
        let (name, value) = line.split_at(end.ok_or(format!("{line:?} without a value"))?);
        let value = value.trim_ascii_start();
        let value = value.strip_prefix('=').unwrap_or(value).trim_ascii();
        // What is quoted, escaped, expanded or cut off by argv_split() and its callers must not come from a volume.
        let words_as_they_are = !value.contains(|c: char| c.is_ascii_whitespace() || "\"'\\#%".contains(c));
        if value.is_empty() || !words_as_they_are {
            return Err(format!("value of {line:?}"));
        }
        match self.settings.insert(name.to_ascii_lowercase(), value.to_owned()) {
            Some(_) => Err(format!("{name} twice")),
            None => Ok(()),
        }
    }
}
