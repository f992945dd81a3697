//! What the administrator decides in config.toml holds for new volumes and for those that are there already.

use crate::{
    cases,
    client::Reply,
    world::{ABSENT, World},
};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::Signal,
};
use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

cases![
    a_volume_on_a_host_that_is_not_allowed_is_refused_at_create,
    a_jump_or_host_name_option_does_not_get_around_the_hosts,
    an_address_is_denied_in_every_spelling_and_with_a_zone,
    a_volume_from_before_a_policy_is_judged_again_at_mount,
    a_policy_counts_without_a_restart,
    a_policy_counts_for_who_waits_for_the_volume,
    a_config_file_that_is_saved_in_place_is_never_taken_for_no_policy,
    a_forced_option_holds_whatever_the_volume_says,
    an_option_that_runs_a_program_needs_the_administrator,
    a_denied_option_is_refused_in_every_spelling,
    an_unverified_host_key_needs_the_administrator_and_shows,
    a_pinned_key_is_no_unverified_one,
    a_long_way_of_hosts_holds_up_nobody,
    a_volume_from_before_a_limit_is_listed_with_the_reason,
];

impl World {
    fn rewrite_config(&self, lines: &str) {
        fs::write(self.path("etc/config.toml"), lines).unwrap();
    }

    fn status(&self, name: &str) -> serde_json::Value {
        self.client().get(name).ok()["Volume"]["Status"].clone()
    }
}

fn a_volume_on_a_host_that_is_not_allowed_is_refused_at_create() {
    let world =
        World::with_config("[policy]\nallow_hosts = ['127.0.0.*', '*.example.net']\ndeny_hosts = ['bad.*']");
    world.create("data");
    for (host, why) in
        [("storage", "allow_hosts"), ("bad.example.net", "deny_hosts"), ("BAD.example.NET.", "deny_hosts")]
    {
        let reply = world.create_with("other", &[("sshcmd", &format!("{host}:/srv"))]);
        assert!(reply.err().contains(host) && reply.err().contains(why), "{}", reply.err());
    }
    assert_eq!(fs::read_dir(world.path("lib/volumes")).unwrap().count(), 1);
}

fn a_jump_or_host_name_option_does_not_get_around_the_hosts() {
    let world = World::with_config("[policy]\nallow_hosts = ['127.0.0.*']\ndeny_hosts = ['127.0.0.66']");
    for (option, value) in [
        ("HostName", "127.0.0.66"),
        ("HostName", "127.0.66"),
        ("HostName", "0x7f000042"),
        ("HostName", "::ffff:127.0.0.66"),
        ("ProxyJump", "127.0.0.1,gate@127.0.0.66:22"),
        ("ProxyJump", "[::ffff:7f00:42]:22"),
    ] {
        let reply = world.create_with("data", &[(option, value)]);
        assert!(reply.err().contains("host"), "{option}={value}: {}", reply.err());
    }
    world.create_with("data", &[("HostName", "127.0.0.1")]).ok();
    world.mount("data", "x");
}

fn an_address_is_denied_in_every_spelling_and_with_a_zone() {
    let world =
        World::with_config("[policy]\ndeny_hosts = ['fd00::5', 'fd00:0:0::9', '10.0.0.1', 'storage.']");
    for sshcmd in [
        "a@[fd00::5]:",
        "a@[fd00::5%1]:",
        "a@[FD00:0::5%1]:",
        "a@[fd00::9]:",
        "a@[::ffff:10.0.0.1]:",
        "a@[::ffff:10.0.0.1%1]:",
        "sftp://[::ffff:a00:1%1]/",
        "storage:",
        "STORAGE.:",
    ] {
        let reply = world.create_with("data", &[("sshcmd", sshcmd), ("port", ABSENT)]);
        assert!(reply.err().contains("deny_hosts"), "{sshcmd}: {}", reply.err());
    }
    for (option, value) in [
        ("HostName", "fd00::5%1"),
        ("HostName", "fd00::9"),
        ("HostName", "::ffff:10.0.0.1%1"),
        ("ProxyJump", "gate,[fd00::5%1]:22"),
        ("ProxyJump", "a@[fd00:0::9]"),
    ] {
        let reply = world.create_with("data", &[(option, value)]);
        assert_eq!(reply.status, Some(500), "{option}={value}: {reply:?}");
    }
    world.create_with("data", &[("sshcmd", "a@[fd00::6%1]:")]).ok();
}

fn a_volume_from_before_a_policy_is_judged_again_at_mount() {
    let mut world = World::new();
    world.create("data");
    world.mount("data", "x");
    world.client().unmount("data", "x").ok();
    world.rewrite_config("[policy]\nallow_hosts = ['storage']");
    world.daemon.end(Signal::SIGTERM);
    world.daemon.start_again();
    let refusal = world.client().mount("data", "x");
    assert!(refusal.err().contains("allow_hosts"), "{}", refusal.err());
    assert!(!world.is_mounted("data"));
    // It is still listed, with its reason, and can be removed.
    assert_eq!(world.status("data")["state"], "unusable");
    world.client().remove("data").ok();
}

fn a_policy_counts_without_a_restart() {
    let world = World::new();
    world.create("data");
    world.rewrite_config("[policy]\ndeny_hosts = ['127.*']");
    assert!(world.client().mount("data", "x").err().contains("deny_hosts"));
    assert!(world.create_with("other", &[]).err().contains("deny_hosts"));
    world.rewrite_config("[policy]\ndeny_host = []");
    assert!(world.client().mount("data", "x").err().contains("config.toml is not valid"));
    world.rewrite_config("");
    world.mount("data", "x");
}

fn a_policy_counts_for_who_waits_for_the_volume() {
    let world = World::new();
    world.create("data");
    fs::create_dir_all(world.path("run/locks")).unwrap();
    for call in ["mount", "create"] {
        world.rewrite_config("");
        let name = if call == "mount" { "data" } else { "other" };
        // As the healing holds it.
        let file = fs::File::create(world.path("run/locks").join(name)).unwrap();
        let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| e).unwrap();
        let reply = thread::scope(|scope| {
            let waiting = scope.spawn(|| match call {
                "mount" => world.client().mount(name, "x"),
                _ => world.create_with(name, &[]),
            });
            thread::sleep(Duration::from_millis(500));
            assert!(!waiting.is_finished(), "{call} did not wait");
            world.rewrite_config("[policy]\ndeny_hosts = ['127.*']");
            drop(lock);
            waiting.join().unwrap()
        });
        assert!(reply.err().contains("deny_hosts"), "{call}: {reply:?}");
    }
    assert!(world.client().get("other").err().contains("not found"));
    assert!(!world.path("run/locks/other").exists(), "nothing is left of what was refused");
}

fn a_config_file_that_is_saved_in_place_is_never_taken_for_no_policy() {
    const POLICY: &str = "[policy]\ndeny_hosts = ['127.*']";
    let world = World::with_config(POLICY);
    // A host that is busy leaves the file empty for longer than a daemon waits: such a round says nothing.
    let (mut rounds, mut counted) = (0, 0);
    while counted < 15 && rounds < 60 {
        rounds += 1;
        let (emptied_for, replies) = save_in_place(&world, POLICY);
        if emptied_for < Duration::from_millis(80) && !replies.is_empty() {
            counted += 1;
            assert!(replies.iter().all(|reply| reply.err().contains("deny_hosts")), "{replies:?}");
        } else if replies.iter().any(|reply| reply.status == Some(200)) {
            world.client().remove("data").ok();
        }
    }
    println!("{counted} of {rounds} rounds counted");
    assert!(counted > 0, "the file was never empty for less than 80 ms");
}

/// Empties the file and writes it again while volumes are created. Returns how long it was empty, and the replies from
/// then until the driver has read it.
fn save_in_place(world: &World, policy: &str) -> (Duration, Vec<Reply>) {
    let saving = AtomicBool::new(true);
    thread::scope(|scope| {
        let saver = scope.spawn(|| {
            let emptied = Instant::now();
            world.rewrite_config("");
            thread::sleep(Duration::from_millis(5));
            world.rewrite_config(policy);
            let emptied_for = emptied.elapsed();
            thread::sleep(Duration::from_millis(150));
            saving.store(false, Ordering::Relaxed);
            emptied_for
        });
        let mut replies = Vec::new();
        while saving.load(Ordering::Relaxed) {
            replies.push(world.create_with("data", &[]));
        }
        (saver.join().expect("the saver ends"), replies)
    })
}

fn a_forced_option_holds_whatever_the_volume_says() {
    let world = World::new();
    world.create("before");
    world.rewrite_config("[options]\nnoexec = ''\n[forced_options]\nro = ''\nCompression = 'no'");
    let refusal = world.create_with("data", &[("Compression", "yes")]);
    assert!(refusal.err().contains("option 'Compression' is fixed to 'no'"), "{}", refusal.err());
    assert!(world.create_with("data", &[("rw", "")]).err().contains("option 'ro' is fixed"));
    // Whoever says the same, or nothing, is fine; also from before.
    world.create_with("data", &[("Compression", "no"), ("noexec", "false")]).ok();
    for name in ["before", "data"] {
        let error = fs::write(world.mount(name, "x").join("file"), "x").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    }
}

fn an_option_that_runs_a_program_needs_the_administrator() {
    let world = World::new();
    let proxy = [("ProxyCommand", "sh -c 'exec 3<>/dev/tcp/%h/%p'")];
    let refusal = world.create_with("data", &proxy);
    assert!(refusal.err().contains("it runs a program") && refusal.err().contains("allow_options"));
    world.rewrite_config("[policy]\nallow_options = ['ProxyCommand']");
    world.create_with("data", &proxy).ok();
    // What was allowed once is not allowed for ever.
    world.rewrite_config("");
    assert!(world.client().mount("data", "x").err().contains("it runs a program"));
}

fn a_denied_option_is_refused_in_every_spelling() {
    let world =
        World::with_config("[policy]\ndeny_options = ['identityfile', 'ProxyJump', 'password', 'uid']");
    for option in [("IdentityFile", "/x"), ("proxyjump", "gate"), ("password", "x"), ("auto_cache,uid", "0")]
    {
        let refusal = world.create_with("data", &[("identity_file", ABSENT), option]);
        assert!(refusal.err().contains("is denied by the administrator (deny_options"), "{}", refusal.err());
    }
    assert!(world.create_with("data", &[]).err().contains("'identity_file' is denied"));
    world.create_with("data", &[("identity_file", ABSENT)]).ok();
}

fn an_unverified_host_key_needs_the_administrator_and_shows() {
    let world = World::new();
    let unverified = [("StrictHostKeyChecking", "no")];
    let refusal = world.create_with("data", &unverified);
    assert!(refusal.err().contains("allow_unverified_hosts"), "{}", refusal.err());
    world.rewrite_config("[policy]\nallow_unverified_hosts = ['127.0.0.1']");
    let elsewhere = world.create_with("data", &[unverified[0], ("HostName", "localhost")]);
    assert!(elsewhere.err().contains("allow_unverified_hosts"), "{}", elsewhere.err());
    world.create_with("data", &unverified).ok();
    world.create("careful");
    world.mount("data", "x");
    let warning = "host key is not verified (StrictHostKeyChecking)";
    assert!(world.status("data")["warning"].as_str().unwrap().contains(warning));
    assert!(world.status("careful")["warning"].is_null());
    assert_eq!(world.daemon.log().matches(warning).count(), 2, "at create and at mount");
    // What was accepted unseen must not count as known for others.
    assert!(!world.path("lib/home/known_hosts").exists());
    world.client().unmount("data", "x").ok();
    world.rewrite_config("");
    assert!(world.client().mount("data", "x").err().contains("allow_unverified_hosts"));
}

fn a_pinned_key_is_no_unverified_one() {
    let world = World::new();
    let key = world.sshd.host_key();
    world.create_with("data", &[("StrictHostKeyChecking", "no"), ("host_key", &key)]).ok();
    world.mount("data", "x");
    assert!(world.status("data")["warning"].is_null(), "{}", world.status("data"));
    assert!(!world.daemon.log().contains("is not verified"), "{}", world.daemon.log());
}

fn a_long_way_of_hosts_holds_up_nobody() {
    let patterns: Vec<_> = (0..100).map(|i| format!("'*a*b*{i}'")).collect();
    let world = World::with_config(&format!("[policy]\ndeny_hosts = [{}]", patterns.join(", ")));
    world.create("other");
    for jump in ["a,".repeat(500_000) + "a", vec!["gate"; 17].join(",")] {
        let reply = world.create_with("data", &[("ProxyJump", &jump)]);
        assert!(reply.err().contains("ProxyJump") && reply.err().len() < 300, "{reply:?}");
        assert!(reply.took < Duration::from_secs(1), "{:?}", reply.took);
    }
    world.create_with("data", &[("ProxyJump", &vec!["gate"; 16].join(","))]).ok();
}

fn a_volume_from_before_a_limit_is_listed_with_the_reason() {
    let mut world = World::new();
    world.create("data");
    world.daemon.end(Signal::SIGTERM);
    let file = world.path("lib/volumes/data.json");
    let mut definition: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    definition["options"]["ProxyJump"] = vec!["gate"; 5000].join(",").into();
    fs::write(&file, definition.to_string()).unwrap();
    world.daemon.start_again();
    assert_eq!(world.client().list(), ["data"]);
    let status = world.status("data");
    assert_eq!(status["state"], "unusable");
    assert_eq!(status["error"], "option 'ProxyJump' is longer than 8192 bytes");
    assert!(world.client().mount("data", "x").err().contains("longer than"));
}
