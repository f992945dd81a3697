//! Definitions: what Create accepts, what survives, what Remove leaves alone.

use crate::{
    cases,
    sshd::Sshd,
    world::{ABSENT, World},
};
use nix::sys::signal::Signal;
use std::{fs, thread};

cases![
    odd_names_are_refused_and_found_nowhere,
    a_name_is_matched_exactly,
    bad_options_are_refused_with_a_reason,
    a_repeated_create_succeeds_and_another_one_names_the_difference,
    a_remote_is_told_whatever_the_spelling_of_its_option,
    concurrent_creates_make_one_volume,
    created_at_is_rfc3339_and_stays,
    volumes_survive_sigkill,
    remove_keeps_remote_files,
    removed_volumes_can_be_created_again,
    remove_of_an_unknown_volume_is_an_error,
];

fn odd_names_are_refused_and_found_nowhere() {
    let world = World::new();
    let long = "x".repeat(300);
    for name in [
        "", "../x", "a/b", "/etc", "..", ".", "sp ace", "ü", ".hid", "-dash", "a\n", "a\u{0}b", "certs/",
        &long,
    ] {
        let reply = world.create_with(name, &[]);
        assert!(reply.err().contains("volume name"), "{name:?}: {reply:?}");
        assert!(world.client().get(name).err().contains("not found"), "{name:?}");
        assert!(world.client().remove(name).err().contains("not found"), "{name:?}");
        assert!(world.client().mount(name, "x").err().contains("not found"), "{name:?}");
        world.client().unmount(name, "x").ok();
    }
    assert!(world.client().list().is_empty());
    assert_eq!(fs::read_dir(world.path("lib/volumes")).unwrap().count(), 0);
}

fn a_name_is_matched_exactly() {
    let world = World::new();
    world.create("Data");
    for other in ["data", "Dat", "Data2", "Data ", "DATA"] {
        assert!(world.client().get(other).err().contains("not found"), "{other}");
    }
    assert_eq!(world.client().get("Data").ok()["Volume"]["Name"], "Data");
}

fn bad_options_are_refused_with_a_reason() {
    let world = World::new();
    for (name, value, reason) in [
        ("sshcmd", ABSENT, "'sshcmd' is required"),
        ("sshcmd", "storage", "no ':'"),
        ("sshcmd", "-oProxyCommand=touch /x:/", "begins with '-'"),
        ("sshcmd", "-l@host:/", "begins with '-'"),
        ("sshcmd", "[-oProxyCommand=x]:/", "not the name or address"),
        ("sshcmd", "h:/a\nb", "control character"),
        ("sshcmd", "sftp://storage", "has no path"),
        ("port", "ssh", "1 to 65535"),
        ("vsock", "2:22", "sandbox"),
        ("identity_file", "/nonexistent/key", "/nonexistent/key does not exist"),
        ("identity_file", "no-such-credential", "no credential"),
        ("identity_file", "/etc", "not a file"),
        ("password_file", "/nonexistent/password", "/nonexistent/password does not exist"),
        ("recconect", "", "did you mean 'reconnect'?"),
        ("ProxyCommand", "touch /tmp/x", "runs a program"),
        ("ssh_command", "/bin/sh", "runs a program"),
        ("StrictHostKeyChecking", "no", "host keys are verified"),
        ("UserKnownHostsFile", "/dev/null", "always verified"),
        ("host_key", "SHA256:abc", "public key"),
        ("big_writes", "", "sshfs 3 no longer has it"),
        ("uid", "root", "whole number"),
    ] {
        let reply = world.create_with("data", &[(name, value)]);
        assert!(reply.err().contains(reason), "{name}={value}: {}", reply.err());
    }
    // A password in the wrong place is not repeated.
    for (name, value) in
        [("sshcmd", "hunter2"), ("sshcmd", "sftp://hunter2"), ("pass:hunter2", ""), ("pass hunter2", "x")]
    {
        let reply = world.create_with("data", &[(name, value)]);
        assert!(!reply.err().contains("hunter2"), "{name}={value}: {}", reply.err());
    }
    assert!(!world.daemon.log().contains("hunter2"));
    assert!(world.client().list().is_empty());
}

fn a_remote_is_told_whatever_the_spelling_of_its_option() {
    let world = World::new();
    let sshcmd = Sshd::sshcmd(&world.remote());
    for (name, option) in [("capitals", "SSHCMD"), ("in-a-list", "auto_cache,sshcmd")] {
        world.create_with(name, &[("sshcmd", ABSENT), (option, &sshcmd)]).ok();
        assert_eq!(world.client().get(name).ok()["Volume"]["Status"]["remote"], sshcmd.as_str());
    }
}

fn a_repeated_create_succeeds_and_another_one_names_the_difference() {
    let world = World::new();
    world.create("data");
    world.create("data");
    let reply = world.create_with("data", &[("port", "2"), ("ro", "")]);
    assert!(reply.err().contains("(port, ro)"), "{}", reply.err());
    let reply = world.create_with("data", &[("password", "hunter2")]);
    assert!(reply.err().contains("(password)") && !reply.err().contains("hunter2"), "{}", reply.err());
}

fn concurrent_creates_make_one_volume() {
    let world = World::new();
    let creates: Vec<_> = (0..20)
        .map(|i| {
            let client = world.client();
            thread::spawn(move || client.create("data", &[("sshcmd", &format!("h:/{}", i % 2))]).status)
        })
        .collect();
    let successes = creates.into_iter().map(|c| c.join().unwrap()).filter(|s| *s == Some(200)).count();
    assert_eq!(successes, 10, "those with the options of the first");
    assert_eq!(world.client().list(), ["data"]);
}

fn created_at_is_rfc3339_and_stays() {
    let mut world = World::new();
    world.create("data");
    let created_at =
        |world: &World| world.client().get("data").ok()["Volume"]["CreatedAt"].as_str().unwrap().to_owned();
    let before = created_at(&world);
    let age = humantime::parse_rfc3339(&before).unwrap().elapsed().unwrap();
    assert!(age.as_secs() < 60);
    world.daemon.end(Signal::SIGKILL);
    world.daemon.start_again();
    assert_eq!(created_at(&world), before);
}

fn volumes_survive_sigkill() {
    let mut world = World::new();
    for round in 0..10 {
        world.create(&format!("volume{round}"));
        world.daemon.end(Signal::SIGKILL);
        world.daemon.start_again();
    }
    assert_eq!(world.client().list().len(), 10);
    world.client().remove("volume3").ok();
    world.daemon.end(Signal::SIGKILL);
    world.daemon.start_again();
    assert_eq!(world.client().list().len(), 9);
}

fn remove_keeps_remote_files() {
    let world = World::new();
    Sshd::make_directory(&world.remote().join("sub"));
    for file in ["a", "sub/b"] {
        fs::write(world.remote().join(file), file).unwrap();
    }
    world.create("one");
    world.create("two");
    let path = world.mount("one", "x");
    assert_eq!(fs::read_to_string(path.join("sub/b")).unwrap(), "sub/b");
    // Another volume on the same directory, a mounted one with a lost Unmount, and one after its Unmount.
    world.client().remove("two").ok();
    world.client().remove("one").ok();
    assert!(!world.is_mounted("one"));
    for file in ["a", "sub/b"] {
        assert_eq!(fs::read_to_string(world.remote().join(file)).unwrap(), file);
    }
}

fn removed_volumes_can_be_created_again() {
    let world = World::new();
    for _ in 0..3 {
        world.create("data");
        world.mount("data", "x");
        world.client().unmount("data", "x").ok();
        world.client().remove("data").ok();
        assert!(world.client().list().is_empty());
        assert!(world.client().get("data").err().contains("not found"));
    }
    for directory in ["lib/volumes", "lib/secrets", "lib/mountpoints", "run/references", "run/credentials"] {
        assert_eq!(fs::read_dir(world.path(directory)).unwrap().count(), 0, "{directory}");
    }
}

fn remove_of_an_unknown_volume_is_an_error() {
    let world = World::new();
    assert!(world.client().remove("nothing").err().contains("not found"));
}
