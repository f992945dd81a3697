//! The commands of an administrator against the daemon of this world: status, set, doctor, forget-host-key.

use crate::{
    cases,
    client::{read_reply, request},
    host::PASSWORD,
    model::{self, Random},
    sshd::{Sshd, free_port, make_key, public_key, wait_for},
    world::{ABSENT, World},
};
use nix::{
    mount::{MsFlags, mount, umount},
    sys::signal::Signal,
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        net::UnixListener,
    },
    path::Path,
    process::{Command, Output},
    thread,
    time::Duration,
};

cases![
    kills_in_the_middle_of_set_leave_the_old_or_the_new,
    status_tells_of_every_volume_and_of_one,
    status_of_an_empty_host_says_how_to_begin,
    status_without_the_driver_says_what_to_do,
    nobody_need_read_an_answer_to_the_end,
    set_counts_from_the_next_mount_on,
    set_leaves_a_mount_as_it_is,
    set_refuses_in_the_words_of_create,
    set_repairs_a_volume_that_a_policy_forbids,
    set_changes_no_definition_that_cannot_be_read,
    set_of_a_password_shows_it_nowhere,
    set_of_a_pinned_key_counts_from_the_next_mount_on,
    set_tells_what_it_changed_even_if_the_driver_then_falls_silent,
    set_of_another_directory_waits_until_nobody_has_the_volume,
    set_of_a_volume_that_is_being_mounted_waits_for_it,
    a_repeated_create_is_compared_with_what_was_set,
    doctor_and_metrics_make_nothing_on_a_host_without_a_driver,
    doctor_finds_what_is_wrong_with_volumes_and_settings,
    forgetting_a_host_is_told_as_json_too,
];

/// Its JSON, whatever the exit code.
fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

fn text_of(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

impl World {
    /// `set data …`, which must work.
    fn set(&self, arguments: &[&str]) -> Value {
        self.set_of("data", arguments)
    }

    /// The same of another volume: where it is removed, no world beside this one must have its name.
    fn set_of(&self, name: &str, arguments: &[&str]) -> Value {
        let output = self.admin(&[&["set", name, "--json"], arguments].concat());
        assert_eq!(code(&output), 0, "{output:?}");
        json_of(&output)
    }

    /// Mounts, looks, unmounts.
    fn while_mounted<T>(&self, look: impl FnOnce(&Path) -> T) -> T {
        self.while_mounted_of("data", look)
    }

    fn while_mounted_of<T>(&self, name: &str, look: impl FnOnce(&Path) -> T) -> T {
        let path = self.mount(name, "looking");
        let seen = look(&path);
        self.client().unmount(name, "looking").ok();
        seen
    }
}

fn status_tells_of_every_volume_and_of_one() {
    let world = World::new();
    world.create("idle");
    world.create_with("data", &[("uid", "1234"), ("password", "hunter2"), ("identity_file", ABSENT)]).ok();
    let reply = world.create_with("lost", &[("port", &free_port().to_string())]);
    reply.ok();
    world.create("used");
    world.mount("used", "x");
    let refused = world.client().mount("lost", "x");
    let why = refused.err().to_owned();

    let output = world.admin(&["status"]);
    assert_eq!(code(&output), 0, "{output:?}");
    let table = text_of(&output);
    let line =
        |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{table}"));
    assert!(line("used").contains(" mounted") && line("used").contains("alice@127.0.0.1:"), "{table}");
    assert!(line("idle").contains(" unmounted"), "{table}");
    assert!(line("lost").contains("ago)"), "the last error and its age: {table}");
    assert!(!table.contains('\u{1b}'), "colours only on a terminal: {table}");

    let all = json_of(&world.admin(&["status", "--json"]));
    let volumes = all["volumes"].as_array().unwrap();
    assert_eq!(volumes.len(), 4);
    let lost = volumes.iter().find(|volume| volume["volume"] == "lost").unwrap();
    assert!(why.contains(lost["last_error"].as_str().unwrap()), "{lost} {why}");

    let page = text_of(&world.admin(&["status", "used"]));
    for part in [
        "mounted",
        "sshfs-docker-mount-used.service",
        "SHA256:",
        "pid ",
        "options     identity_file=/",
        "journal",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let one = json_of(&world.admin(&["status", "data", "--json", "--lines", "0"]));
    assert_eq!(
        (&one["volume"], &one["state"], &one["options"]["uid"]),
        (&json!("data"), &json!("unmounted"), &json!("1234"))
    );
    assert!(!one.to_string().contains("hunter2"), "{one}");
    let none = world.admin(&["status", "nothing"]);
    assert!(code(&none) == 1 && text_of(&none).contains("volume \"nothing\" not found"), "{none:?}");
    assert_eq!(code(&world.admin(&["status", "-x"])), 2);

    // A definition that cannot be used is in the table, in the page and in the exit code.
    let mut world = world;
    world.daemon.end(Signal::SIGTERM);
    fs::write(world.path("lib/volumes/idle.json"), "{").unwrap();
    world.daemon.start_again();
    let output = world.admin(&["status"]);
    assert!(code(&output) == 1 && text_of(&output).contains("unusable"), "{output:?}");
    assert_eq!(code(&world.admin(&["status", "idle"])), 1);
    assert_eq!(code(&world.admin(&["status", "used"])), 0);
    world.client().unmount("used", "x").ok();
}

fn status_of_an_empty_host_says_how_to_begin() {
    let world = World::new();
    let output = world.admin(&["status"]);
    assert!(code(&output) == 0 && text_of(&output).contains("docker volume create -d sshfs"), "{output:?}");
    assert_eq!(json_of(&world.admin(&["status", "--json"])), json!({"volumes": []}));
}

fn status_without_the_driver_says_what_to_do() {
    let world = World::new();
    fs::remove_file(world.daemon.socket()).unwrap();
    for command in [&["status"][..], &["set", "data", "--unset", "ro"]] {
        let output = world.admin(command);
        assert_eq!(code(&output), 1);
        let socket = world.daemon.socket().display().to_string();
        let said = format!(
            "sshfs-docker: cannot reach the driver at {socket}: No such file or directory (os error 2); run: systemctl \
             enable --now sshfs-docker.socket\n"
        );
        assert_eq!(text_of(&output), said);
        let output = world.admin(&[command, &["--json"]].concat());
        let sentence = said.trim_start_matches("sshfs-docker: ").trim_end();
        assert_eq!((code(&output), json_of(&output)), (1, json!({"error": sentence})));
    }
}

fn nobody_need_read_an_answer_to_the_end() {
    let world = World::new();
    world.create("data");
    for (arguments, code) in [
        (&["status"][..], 0),
        (&["status", "data"], 0),
        (&["status", "data", "--json"], 0),
        (&["status", "nothing", "--json"], 1),
        (&["set", "data", "-o", "uid=1234"], 0),
    ] {
        let output = world.admin_unread(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((self::code(&output), said.contains("panic")), (code, false), "{arguments:?}: {said}");
    }
    world.while_mounted(|path| assert_eq!(path.metadata().unwrap().uid(), 1234));
}

fn set_counts_from_the_next_mount_on() {
    let world = World::new();
    world.create("data");
    fs::write(world.remote().join("file"), "x").unwrap();
    let report = world.set(&["-o", "uid=1234", "-o", "ro", "--unset", "gid"]);
    assert_eq!(
        report["changed"],
        json!([{"option": "ro", "before": null, "after": ""}, {"option": "uid", "before": null, "after": "1234"}])
    );
    assert_eq!((&report["mounted"], &report["restart"]), (&json!(false), &Value::Null));
    world.while_mounted(|path| {
        assert_eq!(path.join("file").metadata().unwrap().uid(), 1234);
        assert!(fs::write(path.join("other"), "x").is_err(), "it is read-only");
    });
    // Another spelling of the same, and of the opposite.
    world.set(&["-o", "UID=4321", "-o", "rw"]);
    world.while_mounted(|path| {
        assert_eq!(path.join("file").metadata().unwrap().uid(), 4321);
        fs::write(path.join("other"), "x").unwrap();
    });
    assert_eq!(world.set(&["-o", "UID=4321"])["changed"], json!([]));
    let shown = text_of(&world.admin(&["set", "data", "-o", "uid=5"]));
    assert!(
        shown.contains("- UID=4321") && shown.contains("+ uid=5") && shown.contains("next mount"),
        "{shown}"
    );
    // Another key: of the two, the server accepts the new one alone.
    make_key(&world.path("other-id"), "");
    world.sshd.authorize(&world.path("other-id"));
    assert!(world.client().mount("data", "x").err().contains("permission denied"));
    world.set(&["-o", &format!("IdentityFile={}", world.path("other-id").display())]);
    world.while_mounted(|path| assert!(path.join("file").exists()));
}

fn set_tells_what_it_changed_even_if_the_driver_then_falls_silent() {
    let world = World::new();
    // A driver that dies after its answer: another one listens in its place, for one call.
    fs::remove_file(world.daemon.socket()).unwrap();
    let listener = UnixListener::bind(world.daemon.socket()).unwrap();
    let answer = r#"{"Differences": [{"Option": "uid", "Before": null, "After": "5"}], "Mounted": true}"#;
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            drop(listener);
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len()).unwrap();
            _ = stream.read(&mut [0; 4096]);
        });
        let output = world.admin(&["set", "data", "-o", "uid=5"]);
        assert_eq!(code(&output), 0, "{output:?}");
        let shown = text_of(&output);
        assert!(shown.contains("+ uid=5") && shown.contains("restart data"), "{shown}");
        assert!(shown.contains("who uses it was not found out"), "{shown}");
    });
}

fn set_leaves_a_mount_as_it_is() {
    let mut world = World::new();
    world.create("kept");
    fs::write(world.remote().join("file"), "x").unwrap();
    let path = world.mount("kept", "x");
    let before = path.join("file").metadata().unwrap();
    let report = world.set_of("kept", &["-o", "uid=1234"]);
    assert_eq!((&report["mounted"], &report["restart"]), (&json!(true), &json!("sshfs-docker restart kept")));
    let shown = text_of(&world.admin(&["set", "kept", "-o", "gid=1234"]));
    assert!(shown.contains("run: sshfs-docker restart kept"), "{shown}");
    let after = path.join("file").metadata().unwrap();
    assert_eq!((before.uid(), before.dev()), (after.uid(), after.dev()), "it is the same mount");
    // A second caller shares it, and the first one's Unmount counts as before, also after a restart of the daemon.
    world.mount("kept", "y");
    world.daemon.end(Signal::SIGKILL);
    world.daemon.start_again();
    world.client().unmount("kept", "x").ok();
    assert!(world.is_mounted("kept"));
    world.client().unmount("kept", "y").ok();
    assert!(!world.is_mounted("kept"));
    world.while_mounted_of("kept", |path| assert_eq!(path.join("file").metadata().unwrap().uid(), 1234));
    world.client().remove("kept").ok();
    world.assert_empty();
}

fn set_refuses_in_the_words_of_create() {
    let world = World::with_config("[policy]\ndeny_options = ['Compression']\nallow_password = false");
    world.create("data");
    let before = fs::read(world.path("lib/volumes/data.json")).unwrap();
    for (name, value) in [
        ("uidd", "1"),
        ("uid", "many"),
        ("port", "99999"),
        ("ProxyCommand", "nc %h %p"),
        ("Compression", "yes"),
        ("StrictHostKeyChecking", "no"),
        ("identity_file", "/no/such/file"),
        ("identity_file", "relative/path"),
        ("sshcmd", "-oProxyCommand=x:/"),
        ("host_key", "nonsense"),
    ] {
        let refusal = world.create_with("other", &[(name, value)]);
        let expected = refusal.err().replace("volume other", "volume data");
        let output = world.admin(&["set", "data", "-o", &format!("{name}={value}")]);
        assert_eq!(code(&output), 1);
        assert_eq!(text_of(&output), format!("sshfs-docker: {expected}\n"), "{name}={value}");
    }
    let output = world.admin_with_input(&["set", "data", "--password-stdin"], "hunter2\n");
    assert!(
        text_of(&output).contains("'password' is refused") && !text_of(&output).contains("hunter2"),
        "{output:?}"
    );
    let output = world.admin(&["set", "data", "--unset", "sshcmd"]);
    assert!(text_of(&output).contains("the option 'sshcmd' is required"), "{output:?}");
    let output = world.admin(&["set", "data", "--unset", "uidd"]);
    assert!(text_of(&output).contains("unknown option 'uidd'; did you mean 'uid'?"), "{output:?}");
    let output = world.admin(&["set", "nothing", "-o", "uid=1"]);
    assert!(text_of(&output).contains("not found"), "{output:?}");
    let output = world.admin(&["set", "data", "-o", "password=hunter2"]);
    assert!(
        text_of(&output).contains("--password-stdin") && !text_of(&output).contains("hunter2"),
        "{output:?}"
    );
    assert_eq!(code(&world.admin(&["set", "data"])), 2);
    assert_eq!(code(&world.admin(&["set", "../data", "-o", "uid=1"])), 2);
    assert_eq!(fs::read(world.path("lib/volumes/data.json")).unwrap(), before);
    assert_eq!(fs::read_dir(world.path("lib/secrets")).unwrap().count(), 0);
}

fn set_repairs_a_volume_that_a_policy_forbids() {
    let mut world = World::new();
    world.create_with("data", &[("Compression", "yes")]).ok();
    world.daemon.end(Signal::SIGTERM);
    fs::write(world.path("etc/config.toml"), "[policy]\ndeny_options = ['Compression']").unwrap();
    world.daemon.start_again();
    assert_eq!(code(&world.admin(&["status", "data"])), 1);
    // What is wrong is still wrong.
    assert_eq!(code(&world.admin(&["set", "data", "-o", "uid=1"])), 1);
    world.set(&["--unset", "compression"]);
    assert_eq!(code(&world.admin(&["status", "data"])), 0);
    world.while_mounted(|path| assert!(path.is_dir()));
}

fn set_changes_no_definition_that_cannot_be_read() {
    let mut world = World::new();
    world.create("data");
    let file = world.path("lib/volumes/data.json");
    let is_refused = |world: &World, content: &str| {
        let output = world.admin(&["set", "data", "-o", "uid=1"]);
        assert!(code(&output) == 1 && text_of(&output).contains("cannot be read"), "{output:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), content);
    };
    // While the daemon knows it from before, and when it does not.
    for content in ["{", r#"{"schema":2,"created_at":"2026-11-21T12:00:00Z","options":{}}"#] {
        fs::write(&file, content).unwrap();
        is_refused(&world, content);
        world.daemon.end(Signal::SIGTERM);
        world.daemon.start_again();
        is_refused(&world, content);
    }
}

fn set_of_a_password_shows_it_nowhere() {
    let world = World::new();
    world.create_with("data", &[("password", "wrong-hunter2"), ("identity_file", ABSENT)]).ok();
    assert!(world.client().mount("data", "x").err().contains("permission denied"));
    let output =
        world.admin_with_input(&["set", "data", "--json", "--password-stdin"], &format!("{PASSWORD}\n"));
    let changed = &json_of(&output)["changed"];
    assert_eq!(changed, &json!([{"option": "password", "before": "(not shown)", "after": "(not shown)"}]));
    world.while_mounted(|path| assert!(path.is_dir()));
    let again = world.admin_with_input(&["set", "data", "--json", "--password-stdin"], PASSWORD);
    assert_eq!(json_of(&again)["changed"], json!([]), "the same is no change");
    // From there to a file, and to a key, and back.
    let file = world.path("password");
    fs::write(&file, PASSWORD).unwrap();
    let changed = world.set(&["-o", &format!("password_file={}", file.display())])["changed"].clone();
    assert_eq!(changed[1], json!({"option": "password", "before": "(not shown)", "after": null}));
    assert_eq!(fs::read_dir(world.path("lib/secrets")).unwrap().count(), 0);
    world.while_mounted(|path| assert!(path.is_dir()));
    world.set(&["--unset", "password_file", "-o", &format!("identity_file={}", world.path("id").display())]);
    world.while_mounted(|path| assert!(path.is_dir()));
    let output =
        world.admin_with_input(&["set", "data", "--unset", "identity_file", "--password-stdin"], PASSWORD);
    assert_eq!(code(&output), 0, "{output:?}");
    world.while_mounted(|path| assert!(path.is_dir()));
    assert_eq!(world.path("lib/secrets/data").metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    world.set(&["--unset", "password", "-o", &format!("identity_file={}", world.path("id").display())]);
    assert_eq!(fs::read_dir(world.path("lib/secrets")).unwrap().count(), 0);
    for text in [text_of(&output), text_of(&again), world.daemon.log()] {
        assert!(!text.contains(PASSWORD) && !text.contains("wrong-hunter2"), "{text}");
    }
}

fn set_of_a_pinned_key_counts_from_the_next_mount_on() {
    let world = World::new();
    world.create("pinned");
    let path = world.mount("pinned", "x");
    make_key(&world.path("foreign"), "");
    world.set_of("pinned", &["-o", &format!("host_key={}", public_key(&world.path("foreign")))]);
    fs::write(path.join("file"), "x").unwrap();
    world.client().unmount("pinned", "x").ok();
    assert!(world.client().mount("pinned", "x").err().contains("host key"));
    world.set_of("pinned", &["-o", &format!("host_key={}", world.sshd.host_key())]);
    world.while_mounted_of("pinned", |path| assert!(path.join("file").exists()));
    world.set_of("pinned", &["--unset", "host_key"]);
    world.while_mounted_of("pinned", |path| assert!(path.join("file").exists()));
    world.client().remove("pinned").ok();
    world.assert_empty();
}

fn set_of_another_directory_waits_until_nobody_has_the_volume() {
    let world = World::new();
    world.create("moved");
    let other = world.path("other");
    Sshd::make_directory(&other);
    fs::write(other.join("here"), "x").unwrap();
    let elsewhere = format!("sshcmd={}", Sshd::sshcmd(&other));
    world.mount("moved", "x");
    let output = world.admin(&["set", "moved", "-o", &elsewhere]);
    assert!(
        code(&output) == 1 && text_of(&output).contains("would be given another directory"),
        "{output:?}"
    );
    world.client().unmount("moved", "x").ok();
    world.set_of("moved", &["-o", &elsewhere]);
    world.while_mounted_of("moved", |path| assert!(path.join("here").exists()));
}

fn set_of_a_volume_that_is_being_mounted_waits_for_it() {
    let world = World::with_config("[mount]\ntimeout = 5");
    let (hanging, connection) = world.mount_that_hangs("data");
    world.create("other");
    // Nobody else waits.
    let output = world.admin(&["set", "other", "-o", "uid=1"]);
    assert!(code(&output) == 0 && !hanging.is_finished(), "{output:?}");
    drop(connection);
    world.set(&["-o", "uid=1"]);
    assert!(hanging.join().unwrap().status != Some(200));
}

fn a_repeated_create_is_compared_with_what_was_set() {
    let mut world = World::new();
    world.create("data");
    world.set(&["-o", "uid=1234"]);
    for _ in 0..2 {
        world.create_with("data", &[("uid", "1234")]).ok();
        let reply = world.create_with("data", &[]);
        assert!(reply.err().contains("exists already with other options (uid)"), "{reply:?}");
        world.daemon.end(Signal::SIGTERM);
        world.daemon.start_again();
    }
}

/// Kills in the middle of a Set that changes an option and the password.
const KILLS: u64 = 100;

fn kills_in_the_middle_of_set_leave_the_old_or_the_new() {
    let seed = Random::seed();
    let mut random = Random::new(seed);
    let mut world = World::new();
    world.create_with("killed", &[("password", "0"), ("uid", "0"), ("identity_file", ABSENT)]).ok();
    let (mut last, mut answered, mut changed_without_answer) = (0, 0, 0);
    for next in 1..=KILLS {
        let body = json!({"Name": "killed", "Opts": {"uid": next.to_string(), "password": next.to_string()}})
            .to_string();
        let mut stream = world.client().connect();
        stream.write_all(&request("/SshfsDocker.Set", &body)).unwrap();
        thread::sleep(Duration::from_micros(random.below(3000)));
        world.daemon.end(Signal::SIGKILL);
        // What this daemon had not accepted is the next one's.
        world.daemon.start_again();
        let told = read_reply(&mut stream).0 == Some(200);
        let definition: Value =
            serde_json::from_slice(&fs::read(world.path("lib/volumes/killed.json")).unwrap()).unwrap();
        let password = fs::read_to_string(world.path("lib/secrets/killed")).unwrap();
        assert_eq!(
            definition["options"]["uid"],
            password.as_str(),
            "seed {seed}, kill {next}: they came apart"
        );
        let is_new = password == next.to_string();
        assert!(is_new || password == last.to_string(), "seed {seed}, kill {next}: {password}");
        assert!(is_new || !told, "seed {seed}, kill {next}: an answer was given and lost");
        answered += u64::from(told);
        changed_without_answer += u64::from(is_new && !told);
        if is_new {
            last = next;
        }
        assert_eq!(fs::read_dir(world.path("lib/secrets")).unwrap().count(), 1, "seed {seed}, kill {next}");
        assert_eq!(fs::read_dir(world.path("lib/volumes")).unwrap().count(), 1, "seed {seed}, kill {next}");
        // The daemon agrees with the disk.
        let known = json_of(&world.admin(&["status", "killed", "--json", "--lines", "0"]));
        assert_eq!(known["options"]["uid"], password.as_str());
    }
    model::report(&format!(
        "case=kills_during_set kills={KILLS} answered={answered} new_without_answer={changed_without_answer} torn=0 seed={seed}"
    ));
    world.client().remove("killed").ok();
    world.assert_empty();
}

/// The findings of a check.
fn found(report: &Value, check: &str) -> Vec<(String, String)> {
    let findings = report["findings"].as_array().unwrap().iter().filter(|finding| finding["check"] == check);
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    findings.map(|finding| (text(finding, "state"), text(finding, "what"))).collect()
}

fn doctor_and_metrics_make_nothing_on_a_host_without_a_driver() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name).display().to_string();
    // A definition that was put back from a backup.
    fs::create_dir_all(path("lib/volumes")).unwrap();
    fs::write(path("lib/volumes/data.json"), "{").unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(crate::program());
        let layout = [("--configuration", "etc"), ("--state", "lib"), ("--runtime", "run")];
        command.args(arguments).args(layout.map(|(option, name)| [option.to_owned(), path(name)]).concat());
        command.output().expect("the program runs")
    };
    let report = json_of(&run(&["doctor", "--json", "--socket", &path("socket")]));
    let found = |check: &str, words: &str| {
        let found = found(&report, check);
        assert!(found.iter().any(|(_, what)| what.contains(words)), "{check}: {found:?}");
    };
    found("config.toml", "does not exist: the defaults hold");
    found("definitions", "volume data cannot be used");
    let metrics = text_of(&run(&["metrics"]));
    assert!(metrics.contains("sshfs_docker_volumes 1\n"), "{metrics}");
    for (directory, holds) in [("", "lib"), ("lib", "volumes"), ("lib/volumes", "data.json")] {
        let entries = fs::read_dir(path(directory)).unwrap();
        let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [holds], "below {directory:?}");
    }
}

fn doctor_finds_what_is_wrong_with_volumes_and_settings() {
    let world = World::new();
    for name in ["data", "broken", "keyless"] {
        world.create(name);
    }
    let agent = world.path("agent");
    let listener = UnixListener::bind(&agent).unwrap();
    world.create_with("agentless", &[("IdentityAgent", &agent.display().to_string())]).ok();
    let path = world.mount("data", "x");
    let learnt = world.path("lib/home/known_hosts");
    let report = || json_of(&world.admin(&["doctor", "--json"]));
    let is = |report: &Value, check: &str, state: &str, words: &str| {
        let found = found(report, check);
        assert!(
            found.iter().any(|(s, what)| s == state && what.contains(words)),
            "{check} {state} {words}: {found:#?}"
        );
    };
    let healthy = report();
    for check in ["config.toml", "known_hosts", "definitions", "mountpoints", "disk", "answer"] {
        assert!(found(&healthy, check).iter().all(|(state, _)| state == "ok"), "{check}: {healthy:#}");
    }

    fs::write(world.path("etc/config.toml"), "[polcy]").unwrap();
    fs::write(world.path("etc/ssh_config"), "Nonsense yes\n").unwrap();
    fs::write(world.path("etc/known_hosts"), "").unwrap();
    fs::set_permissions(world.path("etc/known_hosts"), PermissionsExt::from_mode(0o600)).unwrap();
    chown(&learnt, Some(0), Some(0)).unwrap();
    fs::write(world.path("lib/volumes/broken.json"), "{").unwrap();
    fs::rename(world.path("id"), world.path("id-away")).unwrap();
    drop(listener);
    fs::remove_file(&agent).unwrap();
    fs::create_dir(world.path("lib/mountpoints/left")).unwrap();
    fs::write(world.path("lib/mountpoints/left/file"), "x").unwrap();
    let orphan = world.path("lib/mountpoints/orphan");
    fs::create_dir(&orphan).unwrap();
    let orphan = world.path("lib/mnt/orphan");
    mount(Some("none"), &orphan, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    // sshfs dies, and there is no systemd to heal it.
    for pid in world.processes("/dev/fd/0") {
        _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL);
    }
    wait_for(|| path.metadata().is_err(), "the mount is dead");

    let output = world.admin(&["doctor", "--json"]);
    assert_eq!(code(&output), 1);
    let ill = json_of(&output);
    is(&ill, "config.toml", "problem", "polcy");
    is(&ill, "ssh_config", "problem", "onsense");
    is(&ill, "known_hosts", "problem", "cannot read");
    is(&ill, "known_hosts", "problem", "does not belong to sshfs-docker");
    is(&ill, "definitions", "problem", "broken");
    is(&ill, "definitions", "problem", "volume keyless: identity_file: the file");
    is(&ill, "definitions", "problem", "volume agentless: IdentityAgent: the socket");
    is(&ill, "mountpoints", "warning", "left");
    is(&ill, "mounts", "problem", "not ours");
    is(&ill, "mounts", "problem", "is dead");
    // A remedy such as chown would be done to what it leads to.
    fs::remove_file(&learnt).unwrap();
    std::os::unix::fs::symlink(world.path("id-away"), &learnt).unwrap();
    is(&report(), "known_hosts", "problem", "is not a regular file");
    let shown = text_of(&world.admin(&["doctor"]));
    assert!(shown.contains("problem  config.toml") && !shown.contains('\u{1b}'), "{shown}");
    assert_eq!(fs::read_to_string(world.path("lib/volumes/broken.json")).unwrap(), "{", "it changes nothing");
    umount(&orphan).unwrap();
    world.client().unmount("data", "x").ok();
    model::report("case=doctor_in_loopback findings_provoked=10");
}

fn forgetting_a_host_is_told_as_json_too() {
    let world = World::new();
    world.create("data");
    world.while_mounted(|path| assert!(path.is_dir()));
    let host = format!("127.0.0.1:{}", world.sshd.port);
    let output = world.admin(&["forget-host-key", "--json", &host]);
    let forgotten = json_of(&output);
    assert_eq!(forgotten["host"], format!("[127.0.0.1]:{}", world.sshd.port));
    assert!(forgotten["forgotten"][0].as_str().unwrap().contains(&world.sshd.fingerprint()), "{forgotten}");
    assert_eq!(code(&world.admin(&["forget-host-key", "--json", &host])), 1);
}
