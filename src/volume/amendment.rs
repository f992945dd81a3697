//! A change of some options of a volume: what is given replaces what means the same in any spelling, the rest stays as the
//! user wrote it.

use super::{
    Secret, catalogue,
    options::{self, OptionError, Options},
};
use std::collections::BTreeSet;

/// What is to be changed.
#[derive(Clone, Debug, Default)]
pub struct Amendment {
    /// Options to set, without `password`.
    pub set: Options,
    /// Names of options to take away.
    pub unset: Vec<String>,
    /// What becomes of the password.
    pub password: PasswordChange,
}

/// What becomes of the password of a volume, which is not among its options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PasswordChange {
    /// It stays, or there is none.
    #[default]
    Keep,
    /// This one takes its place.
    Replace(Secret),
    /// It goes.
    Remove,
}

/// One difference between what a volume was and what it is, for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The option as it is written.
    pub option: String,
    /// None where it was not given.
    pub before: Option<String>,
    /// None where it is not given any more.
    pub after: Option<String>,
}

/// Shown in the place of a password.
pub const NOT_SHOWN: &str = "(not shown)";

impl Amendment {
    /// Reads what the user wants of a volume that has `old` and, perhaps, a password. Of `password` and `password_file`,
    /// which exclude each other, the one that is given takes the place of the other.
    pub fn apply(&mut self, old: &Options, has_password: bool) -> Result<Options, OptionError> {
        let given = options::names(&self.set)?;
        let mut concerned: BTreeSet<&str> = given.iter().copied().collect();
        let mut literally = BTreeSet::new();
        for name in &self.unset {
            if name.eq_ignore_ascii_case("password") {
                if self.password == PasswordChange::Keep && has_password {
                    self.password = PasswordChange::Remove;
                }
                continue;
            }
            // What this version does not know may be in a definition of another one.
            if old.contains_key(name) {
                literally.insert(name.clone());
            }
            match meant_by(name, "") {
                Ok(names) => concerned.extend(names),
                Err(_) if old.contains_key(name) => {}
                Err(e) => return Err(e),
            }
        }
        if matches!(self.password, PasswordChange::Replace(_)) && !given.contains(&"password_file") {
            concerned.insert("password_file");
        }
        if given.contains(&"password_file") && has_password && self.password == PasswordChange::Keep {
            self.password = PasswordChange::Remove;
        }
        let mut new = Options::new();
        for (key, value) in old.iter().filter(|(key, _)| !literally.contains(*key)) {
            new.extend(what_stays(key, value, &concerned));
        }
        // A spelling of its own that is already there, and cannot be read, is replaced by this, too.
        new.extend(self.set.clone());
        Ok(new)
    }
}

/// What is left of one option as it is written when those `concerned` go.
fn what_stays(key: &str, value: &str, concerned: &BTreeSet<&str>) -> Options {
    let whole = Options::from([(key.to_owned(), value.to_owned())]);
    let Ok(parts) = options::parts(&whole) else { return whole };
    if parts.keys().any(|name| concerned.contains(name)) {
        let left = parts.into_iter().filter(|(name, _)| !concerned.contains(name));
        return left.map(|(name, value)| (name.to_owned(), value)).collect();
    }
    whole
}

/// The names of the catalogue that one name stands for.
fn meant_by(name: &str, value: &str) -> Result<Vec<&'static str>, OptionError> {
    if catalogue::find(name).is_none() && !name.contains(',') {
        return Err(OptionError::Unknown { name: options::shown(name), nearest: catalogue::nearest(name) });
    }
    options::names(&Options::from([(name.to_owned(), value.to_owned())]))
}

/// What is different, by the names as they are written; of passwords only that they are.
#[must_use]
pub fn differences(old: &Options, new: &Options) -> Vec<Difference> {
    let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let differ = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    differ
        .map(|name| Difference {
            option: name.clone(),
            before: old.get(name).cloned(),
            after: new.get(name).cloned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn amend(old: &[(&str, &str)], set: &[(&str, &str)], unset: &[&str]) -> Result<Options, OptionError> {
        let unset = unset.iter().map(|name| (*name).to_owned()).collect();
        Amendment { set: options(set), unset, ..Amendment::default() }.apply(&options(old), false)
    }

    #[test]
    fn what_is_not_named_stays_as_it_is_written() {
        let old = [("sshcmd", "h:/x"), ("Port", "22"), ("auto_cache,reconnect", "")];
        let new = amend(&old, &[("uid", "1000")], &[]).unwrap();
        assert_eq!(
            new,
            options(&[("Port", "22"), ("auto_cache,reconnect", ""), ("sshcmd", "h:/x"), ("uid", "1000")])
        );
    }

    #[test]
    fn another_spelling_of_the_same_is_replaced() {
        for (old, set) in [
            (("IdentityFile", "/a"), ("identity_file", "/b")),
            (("PORT", "22"), ("port", "23")),
            (("ro", ""), ("rw", "")),
            (("auto_cache", ""), ("noauto_cache", "")),
        ] {
            assert_eq!(amend(&[old], &[set], &[]).unwrap(), options(&[set]), "{old:?}");
            assert_eq!(amend(&[old], &[], &[set.0]).unwrap(), Options::new(), "{old:?}");
        }
    }

    #[test]
    fn of_a_list_the_rest_stays() {
        assert_eq!(
            amend(&[("uid", "1000,gid=1001,umask=022")], &[("gid", "5")], &["umask"]).unwrap(),
            options(&[("uid", "1000"), ("gid", "5")])
        );
        assert_eq!(
            amend(&[("auto_cache,reconnect", "")], &[], &["auto_cache"]).unwrap(),
            options(&[("reconnect", "")])
        );
    }

    #[test]
    fn an_unknown_name_can_be_taken_away_where_it_is_and_is_a_mistake_elsewhere() {
        let old = [("sshcmd", "h:/x"), ("of_a_later_version", "1")];
        assert_eq!(amend(&old, &[], &["of_a_later_version"]).unwrap(), options(&[("sshcmd", "h:/x")]));
        assert_eq!(amend(&old, &[("uid", "1")], &[]).unwrap().len(), 3, "it is judged with the rest");
        let mistake = amend(&old, &[], &["prt"]).unwrap_err().to_string();
        assert_eq!(mistake, "unknown option 'prt'; did you mean 'port'?");
    }

    #[test]
    fn a_password_and_its_file_take_each_others_place() {
        let file = options(&[("password_file", "/p"), ("sshcmd", "h:/x")]);
        let secret = PasswordChange::Replace(Secret::new("hunter2".to_owned()));
        let mut to_password = Amendment { password: secret.clone(), ..Amendment::default() };
        assert_eq!(to_password.apply(&file, false).unwrap(), options(&[("sshcmd", "h:/x")]));
        let mut to_file = Amendment { set: options(&[("password_file", "/p")]), ..Amendment::default() };
        assert_eq!(to_file.apply(&options(&[("sshcmd", "h:/x")]), true).unwrap(), file);
        assert_eq!(to_file.password, PasswordChange::Remove);
        // Both at once is what Create refuses, too.
        let set = options(&[("password_file", "/q")]);
        let mut both = Amendment { set, password: secret.clone(), ..Amendment::default() };
        assert!(both.apply(&file, false).unwrap().contains_key("password_file"));
        assert_eq!(both.password, secret);
        for (had, becomes) in [(true, PasswordChange::Remove), (false, PasswordChange::Keep)] {
            let mut unset = Amendment { unset: vec!["password".to_owned()], ..Amendment::default() };
            unset.apply(&file, had).unwrap();
            assert_eq!(unset.password, becomes);
        }
    }

    #[test]
    fn differences_are_told_with_both_values() {
        let told = differences(&options(&[("a", "1"), ("b", "2")]), &options(&[("b", "3"), ("c", "")]));
        let tell = |d: &Difference| format!("{} {:?} {:?}", d.option, d.before, d.after);
        assert_eq!(
            told.iter().map(tell).collect::<Vec<_>>(),
            ["a Some(\"1\") None", "b Some(\"2\") Some(\"3\")", "c None Some(\"\")"]
        );
    }
}
