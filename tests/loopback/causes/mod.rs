//! The catalogue of what can go wrong: each cause is provoked for real, and what the user reads is what docs/errors.md says,
//! word for word.

mod fault;
mod host;
mod host_keys;
mod login;
mod network;
mod plain_sshfs;
mod remote;
mod state;

use crate::error_page::{self, ON_BOOTED_HOSTS};
use fault::Fault;
use libtest_mimic::Trial;
use sshfs_docker::kind;
use std::collections::BTreeSet;

/// The name that docs/errors.md has for it, and how it comes about. Behind a `/`, another way to the same answer.
type Cause = (&'static str, fn() -> Fault);

/// Kinds that the page does not have.
const NOT_PROVOKED: &[&str] = &[
    // Nobody is there to read it.
    "caller-gone",
    // `a_disk_mounted_over_the_state_hides_a_mount_and_is_used`, `an_agent_needs_systemd_as_pid_1`
    "mount-hidden",
    "name-too-long",
    // A kernel without processes or memory, without /proc, with a mount that does not go, and a bus that hangs.
    "no-process",
    "no-proc",
    "not-unmounted",
    "systemd-hangs",
    // Of Set alone: `set_of_another_directory_waits_until_nobody_has_the_volume`
    "other-directory",
];

fn catalogue() -> impl Iterator<Item = &'static Cause> {
    [network::CAUSES, host_keys::CAUSES, login::CAUSES, remote::CAUSES, host::CAUSES, state::CAUSES]
        .into_iter()
        .flatten()
}

/// A trial for each cause, and those about all of them.
pub fn trials() -> Vec<Trial> {
    let each = catalogue().map(|(name, provoke)| {
        Trial::test(format!("cause::{name}"), move || {
            is_told_as_the_page_says(name, &provoke());
            Ok(())
        })
    });
    let all = [
        (
            "every_cause_is_on_the_page_and_none_is_made_up",
            every_cause_is_on_the_page_and_none_is_made_up as fn(),
        ),
        (
            "each_cause_has_one_text_where_plain_sshfs_has_few",
            plain_sshfs::each_cause_has_one_text_where_plain_sshfs_has_few,
        ),
    ];
    let all = all.map(|(name, case)| {
        Trial::test(name, move || {
            case();
            Ok(())
        })
    });
    each.chain(all).map(|trial| trial.with_kind("causes")).collect()
}

fn heading(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

fn is_told_as_the_page_says(name: &str, fault: &Fault) {
    let told = fault.told();
    println!("{name}: {told}");
    assert!(
        !told.contains('\n') && !told.contains("exit status") && !told.contains("reset by peer"),
        "{told}"
    );
    let page = error_page::read();
    let entry = page.get(heading(name)).unwrap_or_else(|| panic!("docs/errors.md lacks {name}:\n> {told}"));
    assert_eq!(told, entry.message, "docs/errors.md, {name}");
    fault.assert_kind(&entry.kind);
}

fn every_cause_is_on_the_page_and_none_is_made_up() {
    let provoked = catalogue().map(|(name, _)| heading(name)).chain(ON_BOOTED_HOSTS.iter().copied());
    let provoked: BTreeSet<_> = provoked.map(str::to_owned).collect();
    let page = error_page::read();
    assert_eq!(page.keys().cloned().collect::<BTreeSet<_>>(), provoked, "headings of docs/errors.md");
    let told: BTreeSet<_> = page.values().map(|entry| entry.kind.as_str()).collect();
    let kinds = kind::ALL.iter().copied().filter(|kind| !NOT_PROVOKED.contains(kind));
    assert_eq!(told, kinds.collect(), "kinds of docs/errors.md");
    let messages: BTreeSet<_> = page.values().map(|entry| &entry.message).collect();
    assert_eq!(messages.len(), page.len(), "two causes, one sentence");
}
