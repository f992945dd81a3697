//! Servers are who they were: unknown, known, pinned and changed host keys.

use crate::{
    cases,
    sshd::{make_key, public_key, wait_for},
    world::World,
};
use std::{
    fs,
    process::{Command, Output},
};

cases![
    a_changed_host_key_is_refused_with_both_fingerprints_and_the_way_out,
    a_changed_host_key_is_refused_at_reconnect_too,
    a_key_of_another_kind_counts_as_changed,
    the_way_out_of_a_changed_pin_and_of_the_administrators_file_is_another,
    the_administrators_known_hosts_count_before_what_was_learnt,
    an_unknown_host_key_is_refused_where_yes_is_asked,
    yes_for_all_volumes_cannot_be_weakened_by_one,
    a_pinned_host_key_is_the_only_one_accepted,
    forgetting_a_host_that_is_not_known_is_an_error,
];

impl World {
    fn known_as(&self) -> String {
        format!("[127.0.0.1]:{}", self.sshd.port)
    }

    /// A volume whose server's key has been learnt, and is another one now.
    fn with_changed_key(kind: &str) -> (Self, String) {
        let mut world = Self::new();
        world.create("data");
        world.mount("data", "x");
        world.client().unmount("data", "x").ok();
        let known = world.sshd.fingerprint();
        world.sshd.be_replaced_by_another(kind);
        (world, known)
    }

    /// Runs the program as an administrator does, in the directories of this world.
    fn admin(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sshfs-docker"));
        command.args(arguments).arg("--state").arg(self.path("lib"));
        command.output().expect("the program runs")
    }
}

fn a_changed_host_key_is_refused_with_both_fingerprints_and_the_way_out() {
    let (world, known) = World::with_changed_key("ed25519");
    let reply = world.client().mount("data", "x");
    let known_hosts = world.path("lib/home/known_hosts");
    let command = format!("sshfs-docker forget-host-key '{}'", world.known_as());
    for part in [&known, &world.sshd.fingerprint(), &command, &format!("({}:1)", known_hosts.display())] {
        assert!(reply.err().contains(part), "expected {part}: {}", reply.err());
    }
    assert!(!world.is_mounted("data"));
    // The command that it names, in the words of a shell.
    let forgotten = world.admin(&["forget-host-key", &world.known_as()]);
    assert!(forgotten.status.success(), "{forgotten:?}");
    assert!(String::from_utf8_lossy(&forgotten.stdout).contains(&known), "{forgotten:?}");
    world.mount("data", "x");
    assert!(fs::read_to_string(known_hosts).unwrap().contains(&world.sshd.host_key()[..60]));
}

fn a_changed_host_key_is_refused_at_reconnect_too() {
    let mut world = World::new();
    world.create("data");
    let file = world.mount("data", "x").join("file");
    fs::write(&file, "x").unwrap();
    let known = world.sshd.fingerprint();
    world.sshd.be_replaced_by_another("ed25519");
    world.cut_connections();
    fs::write(file, "for the wrong server").unwrap_err();
    let (shown, command) = (world.sshd.fingerprint(), format!("forget-host-key '{}'", world.known_as()));
    wait_for(
        || [&known, &shown, &command].iter().all(|part| world.daemon.log().contains(*part)),
        "the sentence",
    );
    assert_eq!(fs::read_to_string(world.remote().join("file")).unwrap(), "x");
}

fn a_key_of_another_kind_counts_as_changed() {
    let (world, known) = World::with_changed_key("ecdsa");
    let reply = world.client().mount("data", "x");
    assert!(reply.err().contains("host key has changed") && reply.err().contains(&known), "{}", reply.err());
}

fn the_way_out_of_a_changed_pin_and_of_the_administrators_file_is_another() {
    let world = World::new();
    make_key(&world.path("other"), "");
    let other = public_key(&world.path("other"));
    world.create_with("pinned", &[("host_key", &other)]).ok();
    let refusal = world.client().mount("pinned", "x");
    assert!(refusal.err().contains("create it again with the new 'host_key'"), "{}", refusal.err());
    let vouched_for = world.path("etc/known_hosts");
    fs::write(&vouched_for, format!("{} {other}\n", world.known_as())).unwrap();
    world.create("data");
    let refusal = world.client().mount("data", "x");
    let command = format!("ssh-keygen -f '{}' -R '{}'", vouched_for.display(), world.known_as());
    assert!(refusal.err().contains(&command), "{}", refusal.err());
    assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    world.mount("data", "x");
}

fn the_administrators_known_hosts_count_before_what_was_learnt() {
    let (world, _) = World::with_changed_key("ed25519");
    let line = format!("{} {}\n", world.known_as(), world.sshd.host_key());
    fs::write(world.path("etc/known_hosts"), line).unwrap();
    world.mount("data", "x");
}

fn an_unknown_host_key_is_refused_where_yes_is_asked() {
    let world = World::new();
    world.create_with("other", &[("StrictHostKeyChecking", "yes")]).ok();
    let refusal = world.client().mount("other", "x");
    assert!(refusal.err().contains("host key of the server is not known"), "{}", refusal.err());
    let line = format!("[127.0.0.1]:{} {}", world.sshd.port, world.sshd.host_key());
    fs::write(world.path("etc/known_hosts"), line).unwrap();
    world.create_with("data", &[("StrictHostKeyChecking", "yes")]).ok();
    world.mount("data", "x");
}

fn yes_for_all_volumes_cannot_be_weakened_by_one() {
    let world = World::with_config("[ssh]\nhost_keys = 'yes'");
    world.create_with("data", &[("StrictHostKeyChecking", "accept-new")]).ok();
    let refusal = world.client().mount("data", "x");
    assert!(refusal.err().contains("host key of the server is not known"), "{}", refusal.err());
}

fn a_pinned_host_key_is_the_only_one_accepted() {
    let world = World::new();
    make_key(&world.path("other"), "");
    let other = public_key(&world.path("other"));
    world.create("learns");
    world.mount("learns", "x");
    world.create_with("other", &[("host_key", &other)]).ok();
    let refusal = world.client().mount("other", "x");
    assert!(refusal.err().contains("host key has changed"), "{}", refusal.err());
    world.create_with("data", &[("host_key", &world.sshd.host_key())]).ok();
    world.mount("data", "x");
}

fn forgetting_a_host_that_is_not_known_is_an_error() {
    let world = World::new();
    let output = world.admin(&["forget-host-key", "storage"]);
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("no key of storage has been learnt"),
        "{output:?}"
    );
}
