//! A reference reader of sshfs's command line, after libfuse's fuse_opt.c and the options of sshfs.c 3.7: the tests
//! compare what it reads with what was meant.

/// What a command line of sshfs says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SshfsCommand {
    /// What is no option: the remote and the mountpoint.
    pub operands: Vec<String>,
    /// Options of one letter, those that take an argument with it.
    pub flags: Vec<String>,
    /// `-o name[=value]`, in order.
    pub settings: Vec<(String, Option<String>)>,
}

impl SshfsCommand {
    /// Reads the arguments behind the program's name (`process_one`).
    pub fn read(arguments: &[String]) -> Self {
        let mut command = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let Some(option) = argument.strip_prefix('-') else {
                command.operands.push(argument.clone());
                continue;
            };
            if option == "-" {
                command.operands.extend(rest.by_ref().cloned());
            } else if let Some(list) = option.strip_prefix('o') {
                let list = if list.is_empty() { rest.next().map_or("", String::as_str) } else { list };
                command.settings.extend(split(list).into_iter().map(setting));
            } else if ["F", "p"].contains(&option) {
                command.flags.push(format!("{option}{}", rest.next().map_or("", String::as_str)));
            } else {
                command.flags.push(option.to_owned());
            }
        }
        command
    }
}

fn setting(option: String) -> (String, Option<String>) {
    match option.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (option, None),
    }
}

/// Splits a list of options (`process_real_option_group`): a comma separates, a backslash takes the next character as it
/// is, or three octal digits as one byte.
fn split(list: &str) -> Vec<String> {
    let mut options = vec![Vec::new()];
    let mut bytes = list.as_bytes();
    while let [first, rest @ ..] = bytes {
        let (byte, rest) = match (first, rest) {
            (b',', _) => {
                options.push(Vec::new());
                bytes = rest;
                continue;
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..]) => {
                ((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'), rest)
            }
            (b'\\', [escaped, rest @ ..]) => (*escaped, rest),
            (byte, rest) => (*byte, rest),
        };
        if let Some(option) = options.last_mut() {
            option.push(byte);
        }
        bytes = rest;
    }
    // For C, a string ends at its first zero byte.
    let text = |option: Vec<u8>| {
        String::from_utf8_lossy(option.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
    };
    options.into_iter().map(text).collect()
}
