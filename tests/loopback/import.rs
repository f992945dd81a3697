//! `sshfs-docker import`: volumes of the plugin vieux/sshfs become ours, with their data, and nothing else changes.

use crate::{
    cases,
    host::PASSWORD,
    world::{World, processes},
};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

cases![
    a_dry_run_changes_nothing,
    volumes_of_both_formats_are_created_and_show_the_old_data,
    what_was_imported_is_not_imported_again,
    a_volume_with_other_options_is_left_alone,
    names_that_docker_does_not_take_are_refused_and_the_rest_is_created,
    a_password_gets_to_the_driver_and_nowhere_else,
    keys_are_found_by_the_settings_of_the_plugin,
    a_file_that_is_none_of_the_plugin_is_refused_without_its_content,
    what_remains_to_do_is_told_when_something_was_created,
    a_driver_that_nobody_can_reach_is_told_once,
];

/// A host on which the plugin was: Docker's directory of plugins, with the keys that the plugin was given.
struct Old {
    world: World,
}

impl Old {
    fn new() -> Self {
        let world = World::new();
        let old = Self { world };
        fs::create_dir_all(old.plugins().join("0123")).unwrap();
        fs::create_dir(old.world.path("keys")).unwrap();
        fs::rename(old.world.path("id"), old.world.path("keys/backup")).unwrap();
        let mount = |name: &str, source: PathBuf| json!({"Name": name, "Source": source, "Type": "bind"});
        let settings = json!({"plugin": {"Name": "vieux/sshfs:latest", "Id": "0123", "Enabled": true, "Settings":
            {"Mounts": [mount("state", old.plugins()), mount("sshkey", old.world.path("keys"))], "Env": ["DEBUG=0"]}}});
        fs::write(old.plugins().join("0123/config.json"), settings.to_string()).unwrap();
        fs::write(old.world.remote().join("old"), "old data").unwrap();
        old
    }

    fn plugins(&self) -> PathBuf {
        self.world.path("plugins")
    }

    fn state(&self) -> PathBuf {
        self.plugins().join("sshfs-state.json")
    }

    /// `alice@127.0.0.1:…/remote`, and the port.
    fn remote(&self) -> (String, String) {
        (crate::sshd::Sshd::sshcmd(&self.world.remote()), self.world.sshd.port.to_string())
    }

    /// As `json.Marshal` of the plugin writes it.
    fn write(&self, volumes: &Value) {
        fs::write(self.state(), volumes.to_string()).unwrap();
    }

    /// A volume as the plugin knows it since its version 1.2.
    fn volume(&self, options: &[&str]) -> Value {
        let (sshcmd, port) = self.remote();
        json!({"Password": "", "Sshcmd": sshcmd, "Port": port, "Options": options, "Mountpoint": "/mnt/volumes/e822988c"})
    }

    fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(crate::program());
        command.arg("import").args(flags).arg("--plugins").arg(self.plugins());
        command.arg("--configuration").arg(self.world.path("etc")).arg("--state").arg(self.world.path("lib"));
        command.arg("--runtime").arg(self.world.path("run")).arg("--socket").arg(self.world.daemon.socket());
        command
    }

    /// The exit code and all that it says, for people and as JSON.
    fn import(&self, flags: &[&str]) -> (i32, Value, String) {
        let output = self.command(&[flags, &["--json"]].concat()).output().unwrap();
        let said = String::from_utf8([&*output.stdout, &*output.stderr].concat()).unwrap();
        let answer = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code().unwrap(), answer, said)
    }

    fn states(&self, flags: &[&str]) -> (i32, Vec<(String, String)>) {
        let (code, answer, said) = self.import(flags);
        let volumes = answer["volumes"].as_array().unwrap_or_else(|| panic!("{said}"));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (code, volumes.iter().map(|volume| (text(&volume["name"]), text(&volume["state"]))).collect())
    }

    fn reads_old_data(&self, name: &str) {
        let path = self.world.mount(name, "x");
        assert_eq!(fs::read_to_string(path.join("old")).unwrap(), "old data");
        self.world.client().unmount(name, "x").ok();
    }
}

fn state(name: &str, state: &str) -> (String, String) {
    (name.to_owned(), state.to_owned())
}

/// All files below, with their content.
fn tree(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => files.extend(tree(&path)),
            path => files.push((path.clone(), fs::read(&path).unwrap_or_default())),
        }
    }
    files.sort();
    files
}

fn a_dry_run_changes_nothing() {
    let old = Old::new();
    old.write(&json!({"data": old.volume(&["IdentityFile=/root/.ssh/backup", "big_writes", "StrictHostKeyChecking=no"])}));
    let trees = || ["lib", "plugins", "keys", "remote"].map(|name| tree(&old.world.path(name)));
    let before = trees();
    let output = old.command(&[]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    let key = old.world.path("keys/backup");
    for words in [
        "VOLUME",
        "vieux/sshfs:latest",
        &*key.to_string_lossy(),
        "dropped: sshfs 3 no longer has it",
        "host keys are verified",
        "Nothing has been changed",
        "Never use 'docker volume rm'",
        &*format!("  sshfs-docker import --plugins {} ", old.plugins().display()),
        " --apply\n",
    ] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    assert!(!said.contains("What remains"), "{said}");
    assert_eq!(trees(), before);
    assert_eq!(old.world.client().list(), [""; 0]);
}

fn volumes_of_both_formats_are_created_and_show_the_old_data() {
    let old = Old::new();
    let (sshcmd, port) = old.remote();
    let mut before_1_2 = old.volume(&[]);
    before_1_2.as_object_mut().unwrap().remove("Options");
    let fork = json!({"Name": "fork", "MountPoint": "/mnt/volumes/fork", "CreatedAt": "2024-05-01T10:00:00.1Z", "RefCount": 1,
        "Options": null, "SSHCmd": sshcmd, "IdentityFile": "/root/.ssh/backup", "Ephemeral": false, "Password": "", "Port": port});
    fs::copy(old.world.path("keys/backup"), old.world.path("keys/id_ed25519")).unwrap();
    old.write(&json!({
        "plain": before_1_2,
        "lists": old.volume(&["auto_cache,reconnect", "uid=1000,gid=1000", "nonempty", "IdentityFile=~/.ssh/backup"]),
        "flags": {"Password": "", "Sshcmd": format!("-p {port} {sshcmd} -o reconnect"), "Port": "", "Options": null, "Mountpoint": "/m"},
        "fork": fork,
    }));
    let names = ["flags", "fork", "lists", "plain"];
    assert_eq!(old.states(&[]), (0, names.map(|name| state(name, "new")).into()));
    assert_eq!(old.states(&["--apply"]), (0, names.map(|name| state(name, "created")).into()));
    let mut list = old.world.client().list();
    list.sort();
    assert_eq!(list, names);
    for name in names {
        old.reads_old_data(name);
    }
}

fn what_was_imported_is_not_imported_again() {
    let old = Old::new();
    let mut with_password = old.volume(&["reconnect"]);
    with_password["Password"] = PASSWORD.into();
    old.write(&json!({"key": old.volume(&["IdentityFile=/root/.ssh/backup"]), "password": with_password}));
    assert_eq!(old.states(&["--apply"]).0, 0);
    let before = tree(&old.world.path("lib/volumes"));
    let again = vec![state("key", "present"), state("password", "present")];
    assert_eq!(old.states(&["--apply"]), (0, again));
    let said = old.command(&["--apply"]).output().unwrap().stdout;
    assert!(String::from_utf8(said).unwrap().contains("Nothing to do."));
    assert_eq!(tree(&old.world.path("lib/volumes")), before);
}

fn a_volume_with_other_options_is_left_alone() {
    let old = Old::new();
    let key = old.world.path("keys/backup").to_string_lossy().into_owned();
    old.world.create_with("data", &[("identity_file", &key), ("ro", "")]).ok();
    let before = tree(&old.world.path("lib/volumes"));
    old.write(&json!({"data": old.volume(&["IdentityFile=/root/.ssh/backup"]), "other": old.volume(&["IdentityFile=/root/.ssh/backup"])}));
    let (code, answer, _) = old.import(&["--apply"]);
    assert_eq!((code, &answer["volumes"][0]["state"]), (1, &Value::from("conflict")));
    assert_eq!(answer["volumes"][0]["reason"], "ro");
    assert_eq!(answer["volumes"][1]["state"], "created");
    assert_eq!(tree(&old.world.path("lib/volumes"))[0], before[0]);
}

fn what_remains_to_do_is_told_when_something_was_created() {
    let old = Old::new();
    let text = |flags: &[&str]| {
        let output = old.command(flags).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    old.write(&json!({"bad": old.volume(&["IdentityFile=/root/.ssh/no-such-key"])}));
    let said = text(&["--apply"]);
    assert!(said.contains("Nothing has been created.") && !said.contains("Nothing to do"), "{said}");
    old.write(&json!({"data": old.volume(&["IdentityFile=/root/.ssh/backup"])}));
    let said = text(&["--apply"]);
    let parts = ["Never use 'docker volume rm'", "What remains", "docker volume create -d sshfs data"];
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
}

fn a_driver_that_nobody_can_reach_is_told_once() {
    let old = Old::new();
    let volume = || old.volume(&["IdentityFile=/root/.ssh/backup"]);
    old.write(&json!({"one": volume(), "two": volume()}));
    fs::remove_file(old.world.daemon.socket()).unwrap();
    let (code, answer, said) = old.import(&["--apply"]);
    let sentence = answer["error"].as_str().unwrap_or_else(|| panic!("{said}"));
    assert!(code == 1 && sentence.starts_with("cannot reach the driver at "), "{said}");
    assert_eq!(said.matches("cannot reach the driver").count(), 2, "once as JSON, once as text: {said}");
}

fn names_that_docker_does_not_take_are_refused_and_the_rest_is_created() {
    let old = Old::new();
    let volume = || old.volume(&["IdentityFile=/root/.ssh/backup"]);
    let mut unreachable = volume();
    unreachable["Options"] = json!(["IdentityFile=/root/.ssh/no-such-key"]);
    let mut program = volume();
    program["Options"] = json!(["ProxyCommand=nc gate 22"]);
    old.write(&json!({"": volume(), "/certs": volume(), "../../evil": volume(), "good": volume(),
        "no-key": unreachable, "program": program, "broken": {"Sshcmd": 7}}));
    let (code, answer, _) = old.import(&["--apply"]);
    let states: Vec<_> = answer["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|volume| (volume["name"].as_str().unwrap(), volume["state"].as_str().unwrap()))
        .collect();
    let refused = |name| (name, "refused");
    let expected = [
        refused(""),
        refused("../../evil"),
        refused("/certs"),
        refused("broken"),
        ("good", "created"),
        refused("no-key"),
        refused("program"),
    ];
    assert_eq!((code, states.as_slice()), (1, expected.as_slice()));
    let reason = |at: usize| answer["volumes"][at]["reason"].as_str().unwrap();
    assert!(reason(1).contains("docker volume create -d sshfs") && reason(5).contains("no-such-key"));
    assert!(reason(6).contains("allow_options"), "{}", reason(6));
    assert_eq!(old.world.client().list(), ["good"]);
}

fn a_password_gets_to_the_driver_and_nowhere_else() {
    let old = Old::new();
    let mut volume = old.volume(&[]);
    volume["Password"] = PASSWORD.into();
    old.write(&json!({"data": volume}));
    let mut said = Vec::new();
    for flags in [&[][..], &["--json"], &["--apply"], &["--apply", "--json"]] {
        let output = old.command(flags).output().unwrap();
        assert!(output.status.success());
        said.extend([output.stdout, output.stderr].concat());
    }
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("has passwords in clear") && !said.contains("battery"), "{said}");
    assert!(!old.world.client().get("data").ok().to_string().contains("battery"));
    assert!(!old.world.daemon.log().contains("battery"));
    for (file, content) in tree(&old.world.path("lib")) {
        let mode = file.metadata().unwrap().permissions().mode();
        // Without systemd-creds it is in a file that only root can read.
        let hidden = file.starts_with(old.world.path("lib/secrets")) && mode & 0o777 == 0o600;
        assert!(hidden || !String::from_utf8_lossy(&content).contains("battery"), "{}", file.display());
    }
    assert!(processes().iter().all(|(_, line)| !line.contains("battery")));
    old.reads_old_data("data");
}

fn keys_are_found_by_the_settings_of_the_plugin() {
    let old = Old::new();
    old.write(&json!({"data": old.volume(&["IdentityFile=/root/.ssh/backup"])}));
    let (_, answer, _) = old.import(&[]);
    assert_eq!(answer["source"]["keys"].as_str(), old.world.path("keys").to_str());
    assert_eq!(answer["source"]["plugin"], "vieux/sshfs:latest");
    // Where the plugin is gone, somebody must say.
    fs::remove_file(old.plugins().join("0123/config.json")).unwrap();
    let (code, answer, _) = old.import(&[]);
    let reason = answer["volumes"][0]["reason"].as_str().unwrap();
    assert!(code == 1 && reason.contains("/root/.ssh/backup does not exist"), "{answer:#}");
    let keys = old.world.path("keys").to_string_lossy().into_owned();
    let file = old.state().to_string_lossy().into_owned();
    assert_eq!(old.states(&[&file, "--keys", &keys]), (0, vec![state("data", "new")]));
}

fn a_file_that_is_none_of_the_plugin_is_refused_without_its_content() {
    let old = Old::new();
    for content in ["", "hunter2", "[\"hunter2\"]", "{\"data\": {\"Password\": \"hunter2\"", "\u{7f}ELF"] {
        fs::write(old.state(), content).unwrap();
        let (code, _, said) = old.import(&["--apply"]);
        assert!(code == 1 && said.contains("is not the state of a plugin"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    fs::remove_file(old.state()).unwrap();
    let (code, _, said) = old.import(&[]);
    assert!(code == 1 && said.contains("cannot read"), "{said}");
}
