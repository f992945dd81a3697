//! Servers are who they were: unknown, known, pinned and changed host keys.

use crate::{
    cases,
    sshd::{Sshd, make_key, public_key, wait_for},
    world::World,
};
use nix::{sys::stat::Mode, unistd::mkfifo};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

cases![
    a_changed_host_key_is_refused_with_both_fingerprints_and_the_way_out,
    a_changed_host_key_is_refused_at_reconnect_too,
    a_key_of_another_kind_counts_as_changed,
    the_way_out_of_a_changed_pin_and_of_the_administrators_file_is_another,
    the_administrators_known_hosts_count_and_not_what_was_learnt,
    a_learnt_key_does_not_replace_that_of_the_administrator,
    an_authority_that_the_administrator_names_binds,
    a_revoked_key_is_told_as_what_it_is,
    keys_that_cannot_be_read_end_the_mount,
    keys_that_cannot_be_read_end_a_reconnect,
    a_first_key_that_cannot_be_stored_ends_the_mount,
    a_banner_cannot_make_us_read_files_or_give_advice,
    an_unknown_host_key_is_refused_where_yes_is_asked,
    yes_for_all_volumes_cannot_be_weakened_by_one,
    a_pinned_host_key_is_the_only_one_accepted,
    a_volume_cannot_have_a_key_learnt_for_another_server,
    an_unknown_jump_host_is_refused_where_yes_is_asked,
    a_jump_host_of_a_pinned_server_is_checked_as_any_other,
    the_settings_of_a_jump_host_cannot_weaken_the_check,
    a_jump_host_is_checked_without_an_ssh_config_too,
    forgetting_a_host_that_is_not_known_is_an_error,
    forgetting_says_whose_the_file_is,
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
    let (shown, command) = (world.sshd.fingerprint(), format!("forget-host-key '{}'", world.known_as()));
    wait_for(
        || {
            // The first one may still go to the connection that was cut, and only the next one to another.
            fs::write(&file, "for the wrong server").unwrap_err();
            [&known, &shown, &command].iter().all(|part| world.daemon.log().contains(*part))
        },
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
    // To take the line away would be to accept whatever key comes next.
    let remedy = format!("replace the key in line 1 of {} with the new one", vouched_for.display());
    assert!(refusal.err().contains(&remedy), "{}", refusal.err());
    fs::write(&vouched_for, format!("{} {}\n", world.known_as(), world.sshd.host_key())).unwrap();
    world.mount("data", "x");
}

fn the_administrators_known_hosts_count_and_not_what_was_learnt() {
    let (world, _) = World::with_changed_key("ed25519");
    let line = format!("{} {}\n", world.known_as(), world.sshd.host_key());
    fs::write(world.path("etc/known_hosts"), line).unwrap();
    world.mount("data", "x");
}

fn a_learnt_key_does_not_replace_that_of_the_administrator() {
    let world = World::new();
    world.create("data");
    world.mount("data", "x");
    world.client().unmount("data", "x").ok();
    make_key(&world.path("other"), "");
    let vouched_for = world.path("etc/known_hosts");
    fs::write(&vouched_for, format!("{} {}\n", world.known_as(), public_key(&world.path("other")))).unwrap();
    // With the names hashed, too (HashKnownHosts).
    for hashed in [false, true] {
        if hashed {
            let status = Command::new("ssh-keygen").arg("-Hf").arg(&vouched_for).status().unwrap();
            assert!(status.success());
        }
        world.create_with("strict", &[("StrictHostKeyChecking", "yes")]).ok();
        for name in ["data", "strict"] {
            let refusal = world.client().mount(name, "x");
            assert!(refusal.err().contains("host key has changed"), "{}", refusal.err());
        }
    }
}

fn an_authority_that_the_administrator_names_binds() {
    let world = World::new();
    make_key(&world.path("authority"), "");
    let line = format!("@cert-authority [127.0.0.*]:* {}\n", public_key(&world.path("authority")));
    fs::write(world.path("etc/known_hosts"), line).unwrap();
    world.create("data");
    let refusal = world.client().mount("data", "x");
    assert!(refusal.err().contains("host key of the server is not known"), "{}", refusal.err());
}

fn a_revoked_key_is_told_as_what_it_is() {
    let world = World::new();
    let line = |name: &str| format!("@revoked {name} {}\n", world.sshd.host_key());
    fs::write(world.path("etc/known_hosts"), line(&world.known_as())).unwrap();
    world.create("data");
    let refusal = world.client().mount("data", "x");
    assert!(refusal.err().contains("has been revoked"), "{}", refusal.err());
    assert!(!refusal.err().contains("add it"), "{}", refusal.err());
    // That another one is revoked says nothing about this one.
    make_key(&world.path("other"), "");
    let other = format!("@revoked {} {}\n", world.known_as(), public_key(&world.path("other")));
    fs::write(world.path("etc/known_hosts"), other).unwrap();
    world.mount("data", "x");
}

/// ssh would take the file for one that is not there, and any key for the first.
fn keys_that_cannot_be_read_end_the_mount() {
    let (world, _) = World::with_changed_key("ed25519");
    let learnt = world.path("lib/home/known_hosts");
    let before = fs::read_to_string(&learnt).unwrap();
    give_to_root(&learnt, 0o600);
    let refusal = world.client().mount("data", "x");
    let sentence =
        format!("the known host keys in {} cannot be read by the user sshfs-docker", learnt.display());
    let command = format!("chown sshfs-docker: '{0}' && chmod u+rwX '{0}'", learnt.display());
    for part in [&sentence, "Permission denied", &command] {
        assert!(refusal.err().contains(part), "expected {part}: {}", refusal.err());
    }
    assert_eq!(fs::read_to_string(&learnt).unwrap(), before);
    // What it says to do brings back the refusal of the key.
    assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    assert!(world.client().mount("data", "x").err().contains("host key has changed"));
    fs::remove_file(&learnt).unwrap();
    let vouched_for = world.path("etc/known_hosts");
    make_key(&world.path("other"), "");
    fs::write(&vouched_for, format!("{} {}\n", world.known_as(), public_key(&world.path("other")))).unwrap();
    give_to_root(&vouched_for, 0o600);
    let refusal = world.client().mount("data", "x");
    let command = format!("run: chmod a+r '{}'", vouched_for.display());
    assert!(refusal.err().contains(&command), "{}", refusal.err());
    assert!(!learnt.exists());
}

fn keys_that_cannot_be_read_end_a_reconnect() {
    let mut world = World::new();
    // Tries for ever, but not this.
    world.create_with("data", &[("hard", "")]).ok();
    let file = world.mount("data", "x").join("file");
    fs::write(&file, "x").unwrap();
    give_to_root(&world.path("lib/home/known_hosts"), 0o600);
    world.sshd.be_replaced_by_another("ed25519");
    world.cut_connections();
    wait_for(
        || {
            fs::write(&file, "for the wrong server").unwrap_err();
            world.daemon.log().contains("cannot be read by the user sshfs-docker")
        },
        "the sentence",
    );
    assert_eq!(fs::read_to_string(world.remote().join("file")).unwrap(), "x");
}

fn a_first_key_that_cannot_be_stored_ends_the_mount() {
    let world = World::new();
    world.create("data");
    let home = world.path("lib/home");
    give_to_root(&home, 0o755);
    let refusal = world.client().mount("data", "x");
    let sentence = format!("{} cannot be written by the user sshfs-docker", home.display());
    assert!(refusal.err().contains(&sentence), "{}", refusal.err());
    fs::write(home.join("known_hosts"), "").unwrap();
    let refusal = world.client().mount("data", "x");
    assert!(refusal.err().contains("known_hosts cannot be written"), "{}", refusal.err());
    // Where nothing is to be stored, reading is enough.
    world.create_with("strict", &[("StrictHostKeyChecking", "yes")]).ok();
    assert!(world.client().mount("strict", "x").err().contains("host key of the server is not known and"));
    fs::write(home.join("known_hosts"), format!("{} {}\n", world.known_as(), world.sshd.host_key())).unwrap();
    world.mount("data", "x");
}

fn give_to_root(path: &Path, mode: u32) {
    chown(path, Some(0), Some(0)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A server whose key is good says what ssh says of a bad one, and names files and hosts.
fn a_banner_cannot_make_us_read_files_or_give_advice() {
    let world = World::new();
    let pipe = world.path("pipe");
    mkfifo(&pipe, Mode::from_bits_truncate(0o666)).unwrap();
    let canary = world.path("canary");
    fs::write(&canary, format!("storage {}\n", world.sshd.host_key())).unwrap();
    make_key(&world.path("wrong"), "");
    let wrong = world.path("wrong").to_string_lossy().into_owned();
    let known = world.sshd.fingerprint();
    for (number, place) in
        ["/dev/zero", &pipe.to_string_lossy(), &canary.to_string_lossy()].iter().enumerate()
    {
        let banner = world.path("banner");
        let text = format!(
            "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nOffending RSA key in {place}:1\n\
             Host key for bank has changed and you have requested strict checking.\n\
             \u{1}our own words\n"
        );
        fs::write(&banner, text).unwrap();
        let directory = world.path(&format!("forger-{number}"));
        let forger = Sshd::start_with(&directory, &format!("Banner {}", banner.display()));
        forger.authorize(&world.path("id"));
        let name = format!("data{number}");
        let options = [("port", &*forger.port.to_string()), ("identity_file", &wrong)];
        world.create_with(&name, &options).ok();
        let started = Instant::now();
        let refusal = world.client().mount(&name, "x");
        // That its own volume gets a wrong reason is all that it achieves.
        assert!(refusal.err().contains("run: sshfs-docker forget-host-key 'HOST'"), "{}", refusal.err());
        for part in [place, "bank", "our own words", &*known] {
            assert!(!refusal.err().contains(part), "{part}: {}", refusal.err());
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{place}: {:?}", started.elapsed());
    }
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

fn a_volume_cannot_have_a_key_learnt_for_another_server() {
    let world = World::new();
    let alias = [("HostKeyAlias", "storage")];
    world.create_with("data", &alias).ok();
    let refusal = world.client().mount("data", "x");
    assert!(refusal.err().contains("host key of the server is not known"), "{}", refusal.err());
    assert_eq!(world.learnt(), "");
    fs::write(world.path("etc/known_hosts"), format!("storage {}\n", world.sshd.host_key())).unwrap();
    world.mount("data", "x");
    fs::remove_file(world.path("etc/known_hosts")).unwrap();
    world.create_with("pinned", &[alias[0], ("host_key", &world.sshd.host_key())]).ok();
    world.mount("pinned", "x");
}

impl World {
    /// Another server, on the way to that of the volumes, known to ssh_config as "gate" with these lines.
    fn gate(&self, lines: &str) -> Sshd {
        let gate = Sshd::start(&self.path("gate"));
        let key = self.path("id");
        gate.authorize(&key);
        chown(&key, Some(61_002), None).unwrap();
        let entry = format!(
            "Host gate\n    HostName 127.0.0.1\n    Port {}\n    User alice\n    IdentityFile {}\n{lines}",
            gate.port,
            key.display()
        );
        fs::write(self.path("etc/ssh_config"), entry).unwrap();
        gate
    }

    /// What is known of the servers that were met.
    fn learnt(&self) -> String {
        fs::read_to_string(self.path("lib/home/known_hosts")).unwrap_or_default()
    }
}

fn an_unknown_jump_host_is_refused_where_yes_is_asked() {
    let world = World::with_config("[ssh]\nhost_keys = 'yes'");
    // As the file was shipped once.
    let learnt = world.path("lib/home/known_hosts");
    let lines =
        format!("    UserKnownHostsFile {}\n    StrictHostKeyChecking accept-new\n", learnt.display());
    let gate = world.gate(&lines);
    let vouched_for = world.path("etc/known_hosts");
    let of_server = format!("{} {}\n", world.known_as(), world.sshd.host_key());
    fs::write(&vouched_for, &of_server).unwrap();
    world.create_with("data", &[("ProxyJump", "gate")]).ok();
    let refusal = world.client().mount("data", "x");
    assert!(refusal.err().contains("host key of the server is not known"), "{}", refusal.err());
    assert_eq!(world.learnt(), "");
    let of_gate = format!("[127.0.0.1]:{} {}\n", gate.port, gate.host_key());
    fs::write(&vouched_for, of_server + &of_gate).unwrap();
    world.mount("data", "x");
}

fn a_jump_host_of_a_pinned_server_is_checked_as_any_other() {
    let world = World::new();
    let mut gate = world.gate("");
    let options = [("ProxyJump", "gate"), ("host_key", &*world.sshd.host_key())];
    world.create_with("data", &options).ok();
    world.mount("data", "x");
    world.client().unmount("data", "x").ok();
    let of_gate = format!("[127.0.0.1]:{}", gate.port);
    assert!(world.learnt().contains(&of_gate) && !world.learnt().contains(&world.known_as()));
    let known = gate.fingerprint();
    gate.be_replaced_by_another("ed25519");
    let refusal = world.client().mount("data", "x");
    let command = format!("sshfs-docker forget-host-key '{of_gate}'");
    for part in [&known, &gate.fingerprint(), &command] {
        assert!(refusal.err().contains(part), "expected {part}: {}", refusal.err());
    }
    // Of the volume's own files, ssh reads none here; those of the jump host count nevertheless.
    give_to_root(&world.path("lib/home/known_hosts"), 0o600);
    let refusal = world.client().mount("data", "x");
    assert!(refusal.err().contains("cannot be read by the user sshfs-docker"), "{}", refusal.err());
}

fn the_settings_of_a_jump_host_cannot_weaken_the_check() {
    let world = World::with_config("[ssh]\nhost_keys = 'yes'");
    let _gate = world.gate("    StrictHostKeyChecking no\n    UserKnownHostsFile /dev/null\n");
    let of_server = format!("{} {}\n", world.known_as(), world.sshd.host_key());
    fs::write(world.path("etc/known_hosts"), of_server).unwrap();
    world.create_with("data", &[("ProxyJump", "gate")]).ok();
    let refusal = world.client().mount("data", "x");
    assert!(refusal.err().contains("host key of the server is not known"), "{}", refusal.err());
}

fn a_jump_host_is_checked_without_an_ssh_config_too() {
    let world = World::new();
    let gate = world.gate("");
    fs::remove_file(world.path("etc/ssh_config")).unwrap();
    let jump = format!("alice@localhost:{}", gate.port);
    world.create_with("data", &[("ProxyJump", &*jump), ("StrictHostKeyChecking", "yes")]).ok();
    let refusal = world.client().mount("data", "x");
    assert!(refusal.err().contains("host key of the server is not known"), "{}", refusal.err());
    world.create("direct");
    world.mount("direct", "x");
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

fn forgetting_says_whose_the_file_is() {
    let world = World::new();
    world.create("data");
    world.mount("data", "x");
    let learnt = world.path("lib/home/known_hosts");
    give_to_root(&learnt, 0o600);
    let output = world.admin(&["forget-host-key", &world.known_as()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && !said.contains("has been learnt"), "{said}");
    let command = format!("chown sshfs-docker: '{}'", learnt.display());
    assert!(said.contains("Permission denied") && said.contains(&command), "{said}");
    assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    assert!(world.admin(&["forget-host-key", &world.known_as()]).status.success());
}
