//! From a volume of the plugin to the options of ours, with a word about each that is not the same. Pure.

use super::state::OldVolume;
use crate::{
    diagnosis,
    volume::{
        Remote, Secret,
        catalogue::{self, Effect, Value},
        options::{self, Options},
    },
};
use serde::Serialize;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Where the keys are that the plugin sees in /root/.ssh, its setting `sshkey.source`.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The directory on this host.
    pub directory: PathBuf,
    /// The names of the files in it.
    pub files: BTreeSet<String>,
    /// What the plugin sees as /mnt/volumes, where a fork keeps keys that were given as text.
    pub volumes: Option<PathBuf>,
}

/// What becomes of one option.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// As it was written, without a value.
    pub option: String,
    /// In words.
    pub becomes: String,
}

/// A volume of ours.
#[derive(Debug, Default)]
pub struct Translated {
    /// Its options, as `docker volume create` would take them.
    pub options: Options,
    /// The password, which is not among them.
    pub password: Option<Secret>,
    /// A word about each.
    pub notes: Vec<Note>,
}

/// The keys that ssh tries where none is named (`IdentityFile` in ssh_config(5)), in its order. The driver offers no key that
/// a volume does not name.
const DEFAULT_KEYS: &[&str] =
    &["id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "id_xmss", "id_dsa"];

/// Translates a volume.
#[must_use]
pub fn translate(old: &OldVolume, keys: &Keys) -> Translated {
    let mut new = Translated { password: old.password.clone(), ..Translated::default() };
    new.add_remote(&old.sshcmd, keys);
    if !old.port.is_empty() {
        new.insert("port", old.port.clone());
    }
    if !old.identity_file.is_empty() {
        new.add_key("IdentityFile", &old.identity_file, keys);
    }
    for element in &old.options {
        new.add_list(element, keys);
    }
    if new.password.is_some() {
        new.note("password", "passed to the driver, which keeps it out of Docker's sight");
    } else if !new.has_a_way_to_log_in() {
        new.add_default_key(keys);
    }
    new
}

impl Translated {
    fn note(&mut self, option: &str, becomes: impl Into<String>) {
        self.notes.push(Note { option: options::shown(option), becomes: diagnosis::clean(&becomes.into()) });
    }

    fn drop(&mut self, option: &str, reason: &str) {
        self.note(option, format!("dropped: {reason}"));
    }

    /// Adds an option that is the same, unless another one says otherwise.
    fn insert(&mut self, name: &'static str, value: String) {
        match self.options.get(name) {
            None => {
                // Of other values only Docker's own tools show what may be a password in the wrong place.
                let remote = (name == "sshcmd").then(|| Remote::parse(&value).ok()).flatten();
                self.note(name, remote.map_or_else(|| "the same".to_owned(), |remote| remote.to_string()));
                self.options.insert(name.to_owned(), value);
            }
            Some(other) if *other == value => {}
            Some(_) => self.drop(name, "it is given twice; the first one counts"),
        }
    }

    /// Until version 1.1 a shell read `sshcmd`, and options of sshfs could be in it.
    fn add_remote(&mut self, sshcmd: &str, keys: &Keys) {
        let words: Vec<_> = sshcmd.split_ascii_whitespace().collect();
        let is_flag = |word: &str| {
            let port = word.strip_prefix("-p");
            port.is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
                || word.starts_with("-o")
                || word == "-C"
        };
        if !words.iter().any(|word| is_flag(word)) {
            self.insert("sshcmd", sshcmd.to_owned());
            return;
        }
        let (mut words, mut remote) = (words.into_iter(), Vec::new());
        let mut found = Vec::new();
        while let Some(word) = words.next() {
            match word.get(..2).filter(|_| is_flag(word)) {
                Some(flag @ ("-p" | "-o")) => {
                    let value = if word.len() > 2 { &word[2..] } else { words.next().unwrap_or_default() };
                    found.push((flag, value));
                }
                Some(_) => found.push(("-C", "")),
                None => remote.push(word),
            }
        }
        self.insert("sshcmd", remote.join(" "));
        for (flag, value) in found {
            match flag {
                "-p" => self.insert("port", value.to_owned()),
                "-o" => self.add_list(value, keys),
                _ => self.insert("Compression", "yes".to_owned()),
            }
        }
    }

    /// `name[=value][,name[=value]…]`, as sshfs takes it behind `-o`.
    fn add_list(&mut self, list: &str, keys: &Keys) {
        let mut rest = Some(list);
        while let Some(list) = rest {
            let end = list.find([',', '=']).unwrap_or(list.len());
            let (name, behind) = list.split_at(end);
            let entry = catalogue::find(name);
            let (value, further) = match behind.strip_prefix('=') {
                None => ("", behind.strip_prefix(',')),
                Some(value) => match value.split_once(',') {
                    Some((value, further)) if entry.is_none_or(catalogue::comma_separates) => {
                        (value, Some(further))
                    }
                    _ => (value, None),
                },
            };
            if !name.is_empty() {
                self.add(name, value, keys);
            }
            rest = further;
        }
    }

    fn add(&mut self, name: &str, value: &str, keys: &Keys) {
        let Some(entry) = catalogue::find(name) else {
            return self.drop(name, "neither sshfs nor ssh has an option of this name");
        };
        match (entry.name, entry.effect) {
            ("identity_file" | "IdentityFile", _) => self.add_key(name, value, keys),
            ("password", _) => {
                self.drop(name, "it is a secret, and not where the plugin reads one");
            }
            ("StrictHostKeyChecking", _) if !["yes", "accept-new"].contains(&value) => self.drop(
                name,
                "host keys are verified; the first one that the server shows is stored, unless \
                 /etc/sshfs-docker/known_hosts has it",
            ),
            (known, _) if catalogue::weakens_host_keys(known) => {
                self.drop(name, "the driver keeps host keys itself; put those you know into /etc/sshfs-docker/known_hosts");
            }
            ("workaround", Effect::Sshfs(form)) => self.add_workarounds(value, form),
            (_, Effect::Impossible(reason)) => self.drop(name, reason.trim_end_matches("; leave it out")),
            (known, _) => self.insert(known, value.to_owned()),
        }
    }

    /// sshfs 3 ends with an error where it does not know one of them.
    fn add_workarounds(&mut self, list: &str, form: Value) {
        let (known, unknown): (Vec<_>, Vec<_>) = list.split(':').partition(|word| form.check(word).is_ok());
        if !unknown.is_empty() {
            self.drop("workaround", "of the list, what sshfs 3 does not have");
        }
        if !known.is_empty() {
            self.insert("workaround", known.join(":"));
        }
    }

    fn add_key(&mut self, option: &str, path: &str, keys: &Keys) {
        if path.contains("PRIVATE KEY") {
            return self.drop(option, "it is the key itself; put it into a file that only root can read");
        }
        let in_home = path.strip_prefix("~/").map(|rest| format!("/root/{rest}"));
        let path = in_home.as_deref().unwrap_or(path);
        let (file, remark) = if let Ok(rest) = Path::new(path).strip_prefix("/root/.ssh") {
            (keys.directory.join(rest), "")
        } else if let (Ok(rest), Some(volumes)) =
            (Path::new(path).strip_prefix("/mnt/volumes"), &keys.volumes)
        {
            (
                volumes.join(rest),
                "; copy it to another place before the plugin is removed, and create the volume with that",
            )
        } else {
            (PathBuf::from(path), "; the plugin has a file of its own there: check that it is the same")
        };
        let file = file.to_string_lossy().into_owned();
        if self.options.contains_key("identity_file") {
            return self.drop(option, "there is a key already; a volume has one");
        }
        self.note(option, format!("identity_file={file}{remark}"));
        self.options.insert("identity_file".to_owned(), file);
    }

    fn has_a_way_to_log_in(&self) -> bool {
        ["identity_file", "password_file", "IdentityAgent"]
            .iter()
            .any(|name| self.options.contains_key(*name))
    }

    fn add_default_key(&mut self, keys: &Keys) {
        let mut there = DEFAULT_KEYS.iter().copied().filter(|name| keys.files.contains(*name));
        let Some(first) = there.next() else {
            let reason =
                format!("it names no key, and {} has none that ssh would try", keys.directory.display());
            return self.note("identity_file", reason);
        };
        let others: Vec<_> = there.collect();
        let file = keys.directory.join(first).to_string_lossy().into_owned();
        let remark = if others.is_empty() {
            String::new()
        } else {
            format!("; the plugin would also try {}", others.join(", "))
        };
        self.note("identity_file", format!("{file}, which ssh tried because no key was named{remark}"));
        self.options.insert("identity_file".to_owned(), file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::{Policy, Spec};
    use proptest::prelude::*;

    fn keys(files: &[&str]) -> Keys {
        Keys {
            directory: "/home/alice/.ssh".into(),
            files: files.iter().map(|name| (*name).to_owned()).collect(),
            volumes: Some("/var/lib/docker/plugins/0123/propagated-mount".into()),
        }
    }

    fn with_options(options: &[&str]) -> Translated {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let old = OldVolume { sshcmd: "alice@storage:/srv/data".to_owned(), options, ..OldVolume::default() };
        translate(&old, &keys(&["id_ed25519"]))
    }

    fn pairs(new: &Translated) -> Vec<(&str, &str)> {
        new.options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    fn dropped(new: &Translated) -> Vec<&str> {
        let dropped = new.notes.iter().filter(|note| note.becomes.starts_with("dropped: "));
        dropped.map(|note| note.option.as_str()).collect()
    }

    const REMOTE: (&str, &str) = ("sshcmd", "alice@storage:/srv/data");
    const DEFAULT_KEY: (&str, &str) = ("identity_file", "/home/alice/.ssh/id_ed25519");

    #[test]
    fn what_sshfs_3_does_not_have_is_dropped_and_the_rest_kept() {
        let new = with_options(&[
            "big_writes",
            "nonempty",
            "auto_cache,reconnect",
            "uid=1000,gid=1000",
            "workaround=nonodelay:rename",
            "Ciphers=aes128-ctr,aes256-ctr",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "no_such_option=hunter2",
        ]);
        assert_eq!(
            pairs(&new),
            [
                ("Ciphers", "aes128-ctr,aes256-ctr"),
                ("auto_cache", ""),
                ("gid", "1000"),
                DEFAULT_KEY,
                ("reconnect", ""),
                REMOTE,
                ("uid", "1000"),
                ("workaround", "rename"),
            ]
        );
        assert_eq!(
            dropped(&new),
            [
                "big_writes",
                "nonempty",
                "workaround",
                "StrictHostKeyChecking",
                "UserKnownHostsFile",
                "no_such_option"
            ]
        );
        assert!(!format!("{:?}", new.notes).contains("hunter2"));
        Spec::parse(&new.options, false, &Policy::default()).unwrap();
    }

    #[test]
    fn keys_are_where_the_plugin_has_them_from() {
        for (path, file) in [
            ("/root/.ssh/backup", "/home/alice/.ssh/backup"),
            ("~/.ssh/backup", "/home/alice/.ssh/backup"),
            ("/mnt/volumes/data_id_rsa", "/var/lib/docker/plugins/0123/propagated-mount/data_id_rsa"),
            ("/etc/keys/backup", "/etc/keys/backup"),
        ] {
            let new = with_options(&[&format!("IdentityFile={path}")]);
            assert_eq!(new.options["identity_file"], file);
        }
        let old = OldVolume { sshcmd: "h:/x".to_owned(), ..OldVolume::default() };
        let none = translate(&old, &keys(&["known_hosts"]));
        assert!(!none.options.contains_key("identity_file") && none.notes.len() == 2, "{none:?}");
        let two = translate(&old, &keys(&["id_ed25519", "id_rsa"]));
        assert_eq!(two.options["identity_file"], "/home/alice/.ssh/id_rsa");
        assert!(two.notes[1].becomes.ends_with("would also try id_ed25519"), "{two:?}");
    }

    #[test]
    fn options_in_sshcmd_become_options() {
        let of = |sshcmd: &str| {
            translate(
                &OldVolume { sshcmd: sshcmd.to_owned(), ..OldVolume::default() },
                &keys(&["id_ed25519"]),
            )
        };
        let new = of("-p 2222 alice@storage:/srv/data -oreconnect,uid=1 -C");
        let expected =
            [("Compression", "yes"), DEFAULT_KEY, ("port", "2222"), ("reconnect", ""), REMOTE, ("uid", "1")];
        assert_eq!(pairs(&new), expected);
        let blanks = of("alice@storage:/srv/my data - old");
        assert_eq!(blanks.options["sshcmd"], "alice@storage:/srv/my data - old");
    }

    #[test]
    fn a_password_is_no_option_and_needs_no_key() {
        let old = OldVolume {
            sshcmd: "h:/x".to_owned(),
            password: Some(Secret::new("hunter2".to_owned())),
            options: vec!["Password=hunter2".to_owned()],
            ..OldVolume::default()
        };
        let new = translate(&old, &keys(&["id_ed25519"]));
        assert_eq!(pairs(&new), [("sshcmd", "h:/x")]);
        assert!(!format!("{new:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn every_option_has_a_word_and_none_appears_from_nowhere(
            options in proptest::collection::vec("[a-zA-Z_]{1,14}(=[a-z0-9/,:=]{0,12})?(,[a-z_]{1,9})?", 0..6)
        ) {
            let texts: Vec<_> = options.iter().map(String::as_str).collect();
            let new = with_options(&texts);
            for name in new.options.keys() {
                prop_assert!(new.notes.iter().any(|note| note.option == *name || name == "identity_file"), "{}", name);
                let entry = catalogue::find(name).unwrap();
                prop_assert!(!matches!(entry.effect, Effect::Impossible(_)));
            }
        }
    }
}
