//! `sshfs-docker check`: a mount before there is a volume, and nothing of it afterwards.

use crate::{
    cases,
    host::PASSWORD,
    model::Snapshot,
    sshd::{Sshd, Tarpit, free_port, make_key, wait_for},
    world::{ABSENT, World},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

cases![
    each_step_of_a_good_mount_is_told_and_measured,
    each_way_to_log_in_is_told,
    a_failure_shows_its_step_and_the_sentence_of_a_mount,
    options_are_judged_as_create_judges_them,
    a_changed_host_key_is_told_with_the_command_that_accepts_it,
    no_host_key_is_learnt,
    whatever_is_in_place_of_the_learnt_host_keys_is_not_copied,
    a_jump_host_is_part_of_the_connection,
    the_command_that_is_printed_creates_the_volume,
    the_name_in_that_command_is_free,
    a_directory_that_cannot_be_written_is_left_alone,
    a_password_on_the_command_line_is_refused,
    a_server_that_does_not_answer_ends_it_in_time,
    what_a_server_says_in_between_changes_nothing,
    a_server_that_falls_silent_while_it_is_measured_ends_it_in_time,
    whoever_interrupts_it_finds_nothing_left,
    nobody_need_read_it_to_the_end,
    what_a_killed_one_left_is_cleared_by_the_next,
];

/// `sshfs-docker check` with the options of the world's volumes, replaced or completed by these.
fn command(world: &World, options: &[(&str, &str)], flags: &[&str]) -> Command {
    let own = world.options();
    let mut all: Vec<_> = own.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    all.retain(|(name, _)| !options.iter().any(|(other, _)| other == name));
    all.extend(options.iter().filter(|(_, value)| *value != ABSENT));
    let mut command = Command::new(crate::program());
    command.arg("check").arg("--configuration").arg(world.path("etc")).arg("--state").arg(world.path("lib"));
    command.arg("--runtime").arg(world.path("run")).args(flags);
    for (name, value) in all {
        match name {
            "sshcmd" => command.arg(value),
            _ => command.args(["-o", &format!("{name}={value}")]),
        };
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What it says as JSON. Nothing of it is left.
fn check(world: &World, options: &[(&str, &str)], flags: &[&str]) -> Value {
    let output = command(world, options, &[flags, &["--json"]].concat()).output().unwrap();
    assert_nothing_left(world);
    let answer: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(output.status.code(), Some(i32::from(!answer["ok"].as_bool().unwrap())), "{answer:#}");
    answer
}

fn assert_nothing_left(world: &World) {
    assert_eq!(world.site().snapshot(""), Snapshot::default());
    let place = Command::new("find").arg(world.path("run/checks")).output().unwrap().stdout;
    assert_eq!(String::from_utf8_lossy(&place), "", "a place is left");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let checks = world.path("run/checks");
    assert!(!mounts.contains(&*checks.to_string_lossy()), "a mount is left: {mounts}");
    let on_server: Vec<_> = fs::read_dir(world.remote()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(on_server.iter().all(|name| !name.to_string_lossy().contains("check")), "{on_server:?}");
    wait_for(|| world.processes_of_mounts().is_empty(), "no sshfs is left");
}

fn step<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let steps = answer["steps"].as_array().unwrap();
    steps.iter().find(|step| step["step"] == name).unwrap()
}

fn detail<'a>(answer: &'a Value, name: &str) -> &'a str {
    step(answer, name)["detail"].as_str().unwrap()
}

/// The step that failed and its sentence. Of what comes later, nothing was done.
fn failure(answer: &Value) -> (String, String) {
    let steps = answer["steps"].as_array().unwrap();
    let at = steps.iter().position(|step| step["state"] == "failed").unwrap_or_else(|| panic!("{answer:#}"));
    assert!(steps[at + 1..].iter().all(|step| step["state"] == "not_run"), "{answer:#}");
    assert_eq!((&answer["ok"], &answer["create"]), (&Value::Bool(false), &Value::Null));
    let text = |field: &str| steps[at][field].as_str().unwrap().to_owned();
    (text("step"), text("detail"))
}

fn each_step_of_a_good_mount_is_told_and_measured() {
    let world = World::new();
    fs::write(world.remote().join("mine"), "mine").unwrap();
    let answer = check(&world, &[], &[]);
    for (name, words) in [
        ("options", "identity_file"),
        ("sshfs", "without a sandbox"),
        ("name", "127.0.0.1"),
        ("connection", "127.0.0.1 port "),
        ("host_key", world.sshd.fingerprint().as_str()),
        ("host_key", "ssh-keygen -lf"),
        ("login", "key ED25519 SHA256:"),
        ("directory", "/remote"),
        ("round_trip", " ms"),
        ("write", "MB/s"),
        ("read", "MB/s"),
    ] {
        assert!(detail(&answer, name).contains(words), "{name}: {answer:#}");
        let state = if name == "host_key" { "attention" } else { "ok" };
        assert_eq!(step(&answer, name)["state"], state, "{name}: {answer:#}");
    }
    for figure in ["round_trip_microseconds", "write_bytes_per_second", "read_bytes_per_second"] {
        assert!(answer[figure].as_u64().unwrap() > 0, "{answer:#}");
    }
    assert_eq!(fs::read(world.remote().join("mine")).unwrap(), b"mine");
    assert_eq!(fs::read_dir(world.remote()).unwrap().count(), 1, "its file is left");
    assert_eq!(world.client().list(), [""; 0]);
}

fn each_way_to_log_in_is_told() {
    let world = World::new();
    let file = |name: &str, content: &str| {
        fs::write(world.path(name), content).unwrap();
        world.path(name).to_string_lossy().into_owned()
    };
    let password = file("password", PASSWORD);
    let answer = check(&world, &[("identity_file", ABSENT), ("password_file", &password)], &["--no-write"]);
    assert_eq!(detail(&answer, "login"), "password", "{answer:#}");

    make_key(&world.path("locked"), "tr0ub4dor & 3");
    fs::copy(world.path("locked.pub"), world.path("sshd/authorized_keys")).unwrap();
    let (key, passphrase) = (world.path("locked"), file("passphrase", "tr0ub4dor & 3"));
    let options = [("identity_file", &*key.to_string_lossy()), ("password_file", passphrase.as_str())];
    let answer = check(&world, &options, &["--no-write"]);
    assert!(detail(&answer, "login").starts_with("key ED25519 SHA256:"), "{answer:#}");

    let mut check = command(&world, &[("identity_file", ABSENT)], &["--password-stdin", "--no-write"]);
    let mut check = check.stdin(Stdio::piped()).spawn().unwrap();
    check.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.contains("-o password_file="), "{said}");
    assert!(!said.contains("battery"), "{said}");
    assert_nothing_left(&world);
}

fn a_failure_shows_its_step_and_the_sentence_of_a_mount() {
    let world = World::with_config("[mount]\ntimeout = 5");
    let bare = Sshd::start_with(&world.path("bare"), "Subsystem none");
    bare.authorize(&world.path("id"));
    make_key(&world.path("wrong"), "");
    fs::write(world.remote().join("file"), "").unwrap();
    let (wrong_key, closed_port) = (world.path("wrong"), free_port().to_string());
    let at = |path: &str| Sshd::sshcmd(&world.path(path));
    for (options, expected) in [
        (vec![("sshcmd", "alice@no-such-host.invalid:/x")], "name"),
        (vec![("port", closed_port.as_str())], "connection"),
        (vec![("identity_file", &*wrong_key.to_string_lossy())], "login"),
        (vec![("StrictHostKeyChecking", "yes")], "host_key"),
        (vec![("port", &*bare.port.to_string())], "sftp"),
        (vec![("sshcmd", &at("nothing"))], "directory"),
        (vec![("sshcmd", &at("remote/file"))], "directory"),
    ] {
        let (step, sentence) = failure(&check(&world, &options, &[]));
        assert_eq!(step, expected, "{sentence}");
        world.create_with("data", &options).ok();
        let reply = world.client().mount("data", "x");
        world.client().remove("data").ok();
        assert!(reply.err().ends_with(&format!(": {sentence}")), "{sentence} but {}", reply.err());
        assert!(!world.path("lib/home/known_hosts").exists() || expected != "name");
        _ = fs::remove_file(world.path("lib/home/known_hosts"));
    }
}

fn options_are_judged_as_create_judges_them() {
    let world = World::with_config("[policy]\ndeny_hosts = ['*.example']");
    for options in [
        [("prot", "22")],
        [("identity_file", "/no/such/key")],
        [("sshcmd", "alice@storage.example:/x")],
        [("ProxyCommand", "touch /x")],
        [("password_file", "relative/path")],
    ] {
        let (step, sentence) = failure(&check(&world, &options, &[]));
        let reply = world.create_with("data", &options);
        assert_eq!((step.as_str(), format!("volume data: {sentence}").as_str()), ("options", reply.err()));
    }
}

fn a_changed_host_key_is_told_with_the_command_that_accepts_it() {
    let mut world = World::new();
    world.create("data");
    world.mount("data", "x");
    world.client().unmount("data", "x").ok();
    world.client().remove("data").ok();
    let known = world.sshd.fingerprint();
    world.sshd.be_replaced_by_another("ed25519");
    let (step, sentence) = failure(&check(&world, &[], &[]));
    assert_eq!(step, "host_key");
    let (file, shown) = (world.path("lib/home/known_hosts"), world.sshd.fingerprint());
    for part in ["forget-host-key", &known, &shown, &file.to_string_lossy()] {
        assert!(sentence.contains(part), "no {part} in: {sentence}");
    }
    assert!(!sentence.contains("/checks/"), "{sentence}");
}

fn no_host_key_is_learnt() {
    let world = World::new();
    let learnt = world.path("lib/home/known_hosts");
    for _ in 0..2 {
        let answer = check(&world, &[], &["--no-write"]);
        assert!(detail(&answer, "host_key").contains("NEW"), "{answer:#}");
        assert!(!learnt.exists());
    }
    world.create("data");
    world.mount("data", "x");
    world.client().unmount("data", "x").ok();
    world.client().remove("data").ok();
    let before = fs::read(&learnt).unwrap();
    let answer = check(&world, &[], &["--no-write"]);
    let known = format!("known ({}:1)", learnt.display());
    assert!(detail(&answer, "host_key").ends_with(&known), "{answer:#}");
    assert_eq!(fs::read(&learnt).unwrap(), before);

    let pin = world.sshd.host_key();
    let answer = check(&world, &[("host_key", &pin)], &["--no-write"]);
    assert!(detail(&answer, "host_key").ends_with("the pinned one"), "{answer:#}");
}

fn whatever_is_in_place_of_the_learnt_host_keys_is_not_copied() {
    let world = World::new();
    let (home, learnt) = (world.path("lib/home"), world.path("lib/home/known_hosts"));
    assert!(home.is_dir());
    let secret = world.path("etc/config.toml");
    let link = || std::os::unix::fs::symlink(&secret, &learnt).unwrap();
    let pipe = || nix::unistd::mkfifo(&learnt, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let large = || fs::File::create(&learnt).unwrap().set_len(2 * 1024 * 1024).unwrap();
    let plants: [&dyn Fn(); 3] = [&link, &pipe, &large];
    for plant in plants {
        plant();
        let output = command(&world, &[], &["--no-write"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let words = ["cannot copy the learnt host keys", "known_hosts: ", "nothing was left behind"];
        assert!(words.iter().all(|words| said.contains(words)), "{said}");
        fs::remove_file(&learnt).unwrap();
        assert_nothing_left(&world);
    }
}

fn a_jump_host_is_part_of_the_connection() {
    let world = World::new();
    let gate = Sshd::start(&world.path("gate"));
    gate.authorize(&world.path("id"));
    // The keys of jump hosts are the administrator's business.
    let settings = format!("Host *\n  IdentityFile {}\n", world.path("id").display());
    fs::write(world.path("etc/ssh_config"), settings).unwrap();
    fs::set_permissions(world.path("id"), fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(world.path("id"), Some(61_002), Some(61_002)).unwrap();
    let jump = format!("alice@127.0.0.1:{}", gate.port);
    let answer = check(&world, &[("ProxyJump", &jump)], &["--no-write"]);
    assert!(detail(&answer, "name").starts_with("jump host "), "{answer:#}");
    let connection = detail(&answer, "connection");
    assert!(connection.contains(&gate.fingerprint()) && connection.contains("NEW"), "{answer:#}");
    assert!(detail(&answer, "host_key").contains(&world.sshd.fingerprint()), "{answer:#}");
    drop(gate);
    let (step, _) = failure(&check(&world, &[("ProxyJump", &jump)], &["--no-write"]));
    assert_eq!(step, "connection");
}

fn the_command_that_is_printed_creates_the_volume() {
    let world = World::new();
    let odd = world.path("remote/it's \"odd\" $HOME");
    Sshd::make_directory(&odd);
    let answer = check(&world, &[("sshcmd", &Sshd::sshcmd(&odd)), ("umask", "022")], &[]);
    let line = answer["create"].as_str().unwrap();
    // What a shell makes of it, one argument a line.
    let script = format!("docker() {{ printf '%s\\n' \"$@\"; }}; {line}");
    let arguments = Command::new("sh").args(["-c", &script]).output().unwrap().stdout;
    let arguments: Vec<_> = std::str::from_utf8(&arguments).unwrap().lines().collect();
    let (name, rest) = arguments.split_last().unwrap();
    assert_eq!(rest[..4], ["volume", "create", "-d", "sshfs"]);
    let options = rest[4..].chunks(2).map(|pair| pair[1].split_once('=').unwrap());
    world.client().create(name, &options.collect::<Vec<_>>()).ok();
    fs::write(world.mount(name, "x").join("file"), "x").unwrap();
    assert!(odd.join("file").exists());
    world.client().unmount(name, "x").ok();
}

fn the_name_in_that_command_is_free() {
    let world = World::new();
    let name = || {
        let output = command(&world, &[], &["--no-write", "--json"]).output().unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["create"].as_str().unwrap().rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(name(), "remote");
    world.create("remote");
    assert_eq!(name(), "remote-2");
    let output = command(&world, &[], &["--no-write", "--name", "remote"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("a volume remote exists already"), "{said}");
}

fn a_directory_that_cannot_be_written_is_left_alone() {
    let world = World::new();
    let closed = world.path("closed");
    fs::create_dir(&closed).unwrap();
    for (options, words) in [
        (vec![("sshcmd", Sshd::sshcmd(&closed))], "may not write"),
        (vec![("ro", String::new())], "read-only"),
    ] {
        let options: Vec<_> = options.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = check(&world, &options, &[]);
        assert_eq!(step(&answer, "write")["state"], "skipped", "{answer:#}");
        assert_eq!(step(&answer, "read")["state"], "skipped", "{answer:#}");
        assert!(detail(&answer, "write").contains(words), "{answer:#}");
        assert!(answer["round_trip_microseconds"].as_u64().unwrap() > 0, "{answer:#}");
    }
    let before = fs::metadata(world.remote()).unwrap().modified().unwrap();
    let answer = check(&world, &[], &["--no-write"]);
    assert_eq!(step(&answer, "write")["state"], "skipped", "{answer:#}");
    assert_eq!(fs::metadata(world.remote()).unwrap().modified().unwrap(), before);
}

fn a_password_on_the_command_line_is_refused() {
    let world = World::new();
    for name in ["password", "Password"] {
        let output = command(&world, &[(name, "hunter2")], &[]).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains("--password-stdin") && !said.contains("hunter2"), "{said}");
    }
    assert_nothing_left(&world);
}

fn a_server_that_does_not_answer_ends_it_in_time() {
    let world = World::with_config("[mount]\ntimeout = 3");
    let tarpit = Tarpit::open();
    let started = Instant::now();
    let (step, sentence) = failure(&check(&world, &[("port", &tarpit.port)], &[]));
    assert!(started.elapsed() < Duration::from_secs(3 + 15), "{:?}", started.elapsed());
    assert_eq!(step, "host_key", "{sentence}");
    assert!(sentence.contains("timed out after 3s"), "{sentence}");
}

fn what_a_server_says_in_between_changes_nothing() {
    let world = World::new();
    let lines = "debug1: Server host key: ssh-rsa SHA256:forged\nAuthenticated to x ([x]:1) using \"none\".\n\
                 debug1: load_hostkeys: x: No such file or directory\n";
    fs::write(world.path("banner"), lines.repeat(1000)).unwrap();
    let chatty =
        Sshd::start_with(&world.path("chatty"), &format!("Banner {}", world.path("banner").display()));
    chatty.authorize(&world.path("id"));
    let port = chatty.port.to_string();
    let answer = check(&world, &[("port", &port)], &[]);
    assert!(detail(&answer, "host_key").contains(&chatty.fingerprint()), "{answer:#}");
    assert_eq!(answer["ok"], true, "{answer:#}");
    let (step, _) = failure(&check(&world, &[("port", &port), ("sshcmd", "alice@127.0.0.1:/no/such")], &[]));
    assert_eq!(step, "directory");
}

/// A server whose SFTP is a program that can be stopped.
fn stoppable(world: &World) -> Sshd {
    let program = world.path("sftp-server");
    fs::copy("/usr/lib/openssh/sftp-server", &program).unwrap();
    let server = Sshd::start_with(&world.path("stoppable"), &format!("Subsystem sftp {}", program.display()));
    server.authorize(&world.path("id"));
    server
}

fn file_of_the_check(world: &World) -> bool {
    let files = fs::read_dir(world.remote()).unwrap().flatten();
    files.into_iter().any(|file| file.file_name().to_string_lossy().starts_with(".sshfs-docker-check-"))
}

fn signal_all(pids: &[u32], signal: Signal) {
    for pid in pids {
        _ = kill(Pid::from_raw(i32::try_from(*pid).unwrap()), signal);
    }
}

fn a_server_that_falls_silent_while_it_is_measured_ends_it_in_time() {
    let world = World::with_config("[mount]\ntimeout = 3");
    let server = stoppable(&world);
    let port = server.port.to_string();
    let running = command(&world, &[("port", &port)], &[]).spawn().unwrap();
    wait_for(|| file_of_the_check(&world), "it writes");
    let servers = world.processes("/sftp-server");
    signal_all(&servers, Signal::SIGSTOP);
    let started = Instant::now();
    let output = running.wait_with_output().unwrap();
    assert!(started.elapsed() < Duration::from_secs(3 + 30), "{:?}", started.elapsed());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("may be left in the remote directory"), "{said}");
    signal_all(&servers, Signal::SIGKILL);
    for file in fs::read_dir(world.remote()).unwrap().flatten() {
        fs::remove_file(file.path()).unwrap();
    }
    assert_nothing_left(&world);
}

fn interrupted(mut running: Child, signal: Signal) -> Output {
    signal_all(&[running.id()], signal);
    let ended = running.try_wait().unwrap();
    assert!(ended.is_none(), "it was over before");
    running.wait_with_output().unwrap()
}

fn whoever_interrupts_it_finds_nothing_left() {
    let world = World::new();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let tarpit = Tarpit::open();
        let running = command(&world, &[("port", &tarpit.port)], &[]).spawn().unwrap();
        let _caught = tarpit.catch();
        let output = interrupted(running, signal);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("nothing was left behind"));
        assert_nothing_left(&world);

        let running = command(&world, &[], &[]).spawn().unwrap();
        wait_for(|| file_of_the_check(&world), "it writes");
        let output = interrupted(running, signal);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_nothing_left(&world);
    }
}

fn nobody_need_read_it_to_the_end() {
    let world = World::new();
    let mut running = command(&world, &[], &[]).spawn().unwrap();
    drop(running.stdout.take());
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_nothing_left(&world);
}

fn what_a_killed_one_left_is_cleared_by_the_next() {
    let world = World::new();
    let mut running = command(&world, &[], &[]).spawn().unwrap();
    wait_for(|| file_of_the_check(&world), "it writes");
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(world.path("run/checks").exists());
    // Without systemd the mount ends before the child that measures can remove its file.
    for file in fs::read_dir(world.remote()).unwrap().flatten() {
        fs::remove_file(file.path()).unwrap();
    }
    check(&world, &[], &["--no-write"]);
}
