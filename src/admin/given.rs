//! What `set` and `check` are given: options as for `docker volume create`, and a password on standard input.

use crate::volume::{
    Secret,
    options::{self, Options},
};
use anyhow::{Context, Result, bail, ensure};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::io::{self, BufRead, IsTerminal, Read, stdin};
use zeroize::Zeroizing;

/// More than a password may have ([`options::check_password`]), so that a longer one is refused and not cut.
const MOST_PASSWORD: u64 = 64 * 1024;

/// What Ctrl-C is on a terminal that makes no signal of it.
const CTRL_C: char = '\u{3}';

/// Adds `name=value`, as docker reads it: without `=` the value is empty.
pub fn add(options: &mut Options, given: &[String]) -> Result<()> {
    for option in given {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        if name.eq_ignore_ascii_case("password") {
            bail!(
                "a password on a command line can be seen by every user of this host (ps) and is kept in the history of \
                 the shell: use '-o password_file=FILE' or '--password-stdin'"
            );
        }
        ensure!(!name.is_empty(), "-o needs NAME=VALUE");
        if options.insert(name.to_owned(), value.to_owned()).is_some_and(|before| before != value) {
            bail!("the option '{}' is given twice with different values", options::shown(name));
        }
    }
    Ok(())
}

/// Reads the password; on a terminal one line, which is not shown.
pub fn password() -> Result<Secret> {
    let input = stdin();
    if !input.is_terminal() {
        return parse_password(input.lock());
    }
    let before = tcgetattr(&input).context("cannot ask the terminal")?;
    let mut silent = before.clone();
    // As getpass(3): a signal would leave the terminal without echo.
    silent.local_modes -= LocalModes::ECHO | LocalModes::ISIG;
    eprint!("password: ");
    tcsetattr(&input, OptionalActions::Flush, &silent).context("cannot silence the terminal")?;
    let mut line = Zeroizing::new(String::new());
    let read = input.lock().take(MOST_PASSWORD).read_line(&mut line);
    tcsetattr(&input, OptionalActions::Flush, &before).context("cannot give the terminal its echo back")?;
    eprintln!();
    read.context("cannot read the password")?;
    ensure!(!line.contains(CTRL_C), "interrupted");
    parse_password(line.as_bytes())
}

/// The line break that ends a line is none of it.
fn parse_password(input: impl Read) -> Result<Secret> {
    let mut text = Zeroizing::new(String::new());
    let read: io::Result<_> = input.take(MOST_PASSWORD).read_to_string(&mut text);
    read.context("cannot read the password from standard input")?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let password = line.strip_suffix('\r').unwrap_or(line);
    options::check_password(password)?;
    Ok(Secret::new(password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(words: &[&str]) -> Result<Options> {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        let mut options = Options::new();
        add(&mut options, &words).map(|()| options)
    }

    #[test]
    fn options_are_written_as_for_docker() {
        let options = given(&["uid=1000", "ro", "sshcmd=h:/a=b", "uid=1000"]).unwrap();
        let pairs: Vec<_> = options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("ro", ""), ("sshcmd", "h:/a=b"), ("uid", "1000")]);
        for bad in [&["=x"][..], &["uid=1", "uid=2"]] {
            assert!(given(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_password_on_the_command_line_is_refused_and_not_repeated() {
        for word in ["password=hunter2", "Password=hunter2", "password"] {
            let refusal = given(&[word]).unwrap_err().to_string();
            assert!(refusal.contains("--password-stdin") && !refusal.contains("hunter2"), "{refusal}");
        }
    }

    #[test]
    fn a_password_is_one_line() {
        let read = |text: &str| parse_password(text.as_bytes()).map(|secret| secret.expose().to_owned());
        for (text, expected) in [("hunter2\n", "hunter2"), ("hunter2", "hunter2"), ("a b \r\n", "a b ")] {
            assert_eq!(read(text).unwrap(), expected);
        }
        for bad in ["", "\n", "hunter2\nmore", "hunter2\n\n", &"x".repeat(3000)] {
            let refusal = read(bad).unwrap_err().to_string();
            assert!(!refusal.contains("hunter2"), "{refusal}");
        }
    }
}
