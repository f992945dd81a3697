//! The same causes through sshfs as it is without a driver: in the background, as vieux/sshfs starts it, where all that a
//! user sees is what it says before it goes there.

use super::{Fault, catalogue};
use crate::{daemon::in_a_changed_mount_namespace, error_page};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    process::Stdio,
    sync::Mutex,
    thread,
};

/// How long plain sshfs may take: of a server that is silent it never tells.
const PATIENCE: &str = "10";

/// How many causes are provoked at once.
const AT_ONCE: usize = 4;

/// What comes of the driver's own ways: plain sshfs cannot meet it, or means something else by these options.
const OURS_ALONE: &[&str] = &[
    "agent-needs-systemd",
    "bad-options",
    "host-key-not-the-pinned-one",
    "known-hosts-unusable",
    "no-agent",
    "no-credential",
    "not-a-socket",
    "not-started",
    // Plain sshfs runs as root, who may read anything.
    "ssh-config-unreadable",
    "ssh-config-writable",
    "systemd-too-old",
];

/// What plain sshfs "says" of a server whose key it does not check.
const MOUNTED: &str = "(mounted)";

/// The same of one that does not answer.
const SILENT: &str = "(nothing)";

/// What both told of a cause.
struct Told {
    ours: String,
    plain: String,
}

pub fn each_cause_has_one_text_where_plain_sshfs_has_few() {
    let todo = Mutex::new(catalogue().filter(|(name, _)| !name.contains('/') && !OURS_ALONE.contains(name)));
    let told = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = todo.lock().unwrap().next();
                    let Some((name, provoke)) = next else { break };
                    let fault = provoke();
                    let ours = fault.told();
                    // What the driver refuses when a volume is created, or has made itself, plain sshfs cannot meet.
                    if let Some(plain) = plain(&fault) {
                        told.lock().unwrap().insert(*name, Told { ours, plain });
                    }
                }
            });
        }
    });
    let told = told.into_inner().unwrap();
    let mut by_text = BTreeMap::<&str, Vec<&str>>::new();
    for (name, told) in &told {
        by_text.entry(&told.plain).or_default().push(name);
    }
    println!("\nwhat plain sshfs says, and the causes:");
    for (text, names) in &by_text {
        println!("{:3}  {text:?}: {}", names.len(), names.join(", "));
    }
    let page = error_page::read();
    let identified = |name: &str, told: &Told| page.get(name).is_some_and(|entry| entry.message == told.ours);
    let (identified, others): (Vec<_>, Vec<_>) = told.iter().partition(|(name, told)| identified(name, told));
    for (name, told) in &others {
        println!("{name} is not told as the page says: {}", told.ours);
    }
    let ours: BTreeSet<_> = told.values().map(|told| &told.ours).collect();
    let mounted = by_text.remove(MOUNTED).unwrap_or_default();
    let silent = by_text.remove(SILENT).unwrap_or_default();
    println!(
        "fault-count: causes_provoked={} causes_identified={} plain_sshfs_texts={} plain_sshfs_mounted={} \
         plain_sshfs_silent={}",
        told.len(),
        identified.len(),
        by_text.len(),
        mounted.len(),
        silent.len()
    );
    assert!(error_page::head().contains(&format!("Of {} causes", told.len())), "the head of docs/errors.md");
    assert_eq!((identified.len(), ours.len()), (told.len(), told.len()), "one sentence for each cause");
}

/// What plain sshfs says with the options of the volume, and that it does not fail at all if it does not.
fn plain(fault: &Fault) -> Option<String> {
    if !fault.is_met_by_any_sshfs() {
        return None;
    }
    let mountpoint = fault.world.path("plain");
    fs::create_dir(&mountpoint).unwrap();
    let mut remote = String::new();
    let mut arguments = Vec::new();
    let mut password = None;
    let options = fault.options();
    if !options.iter().any(|(name, _)| name == "StrictHostKeyChecking") {
        arguments.push("-oStrictHostKeyChecking=no".to_owned());
    }
    for (name, value) in options {
        match name.as_str() {
            "sshcmd" => remote = value,
            "port" => arguments.extend(["-p".to_owned(), value]),
            "identity_file" => arguments.push(format!("-oIdentityFile={value}")),
            "password" => password = Some(value),
            "password_file" => password = fs::read_to_string(value).ok(),
            _ => arguments.push(format!("-o{name}={value}")),
        }
    }
    arguments.extend(password.iter().map(|_| "-opassword_stdin".to_owned()));
    if let Some(file) = fault.ssh_config() {
        arguments.extend(["-F".to_owned(), file]);
    }
    // No keys and no known hosts of whoever runs the tests.
    let changes = format!("{}\nmount -t tmpfs tmpfs /root", fault.world.daemon.changes().unwrap_or_default());
    let mut sshfs = in_a_changed_mount_namespace(&changes)
        .args(["timeout", PATIENCE, "sshfs"])
        .args(arguments)
        .arg(remote)
        .arg(&mountpoint)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    _ = writeln!(sshfs.stdin.take().unwrap(), "{}", password.unwrap_or_default());
    let output = sshfs.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().replace(&*mountpoint.to_string_lossy(), "/mnt");
    Some(match output.status.code() {
        Some(0) => MOUNTED.to_owned(),
        Some(124) => SILENT.to_owned(),
        _ => fault.in_general(&said),
    })
}
