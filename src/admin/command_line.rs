//! Command lines that a user pastes into a shell. Pure.

use crate::volume::{VolumeName, options::Options};

/// `docker volume create …` for a volume with these options.
#[must_use]
pub fn create_volume(name: &VolumeName, options: &Options) -> String {
    let options = options.iter().map(|(key, value)| format!("-o {} ", quoted(&format!("{key}={value}"))));
    format!("docker volume create -d sshfs {}{name}", options.collect::<String>())
}

/// `text` as one word for sh(1).
#[must_use]
pub fn quoted(text: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&b);
    if !text.is_empty() && text.bytes().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    #[test]
    fn options_that_need_no_quotes_have_none() {
        let options = [("sshcmd", "alice@storage:/srv/my data"), ("ro", "")];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(
            create_volume(&VolumeName::new("data").unwrap(), &options),
            "docker volume create -d sshfs -o ro= -o 'sshcmd=alice@storage:/srv/my data' data"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_shell_reads_what_was_quoted(text in "[^\0]{0,40}") {
            let output = Command::new("sh").args(["-c", &format!("printf %s {}", quoted(&text))]).output();
            prop_assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), text);
        }
    }
}
