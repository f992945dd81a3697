//! Passwords and keys get to ssh and nowhere else.

use crate::{
    cases,
    host::PASSWORD,
    world::{ABSENT, World, processes},
};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

cases![
    a_password_file_logs_in,
    a_password_option_logs_in_and_shows_nowhere,
    an_encrypted_key_is_opened_with_its_passphrase,
    a_passphrase_is_not_sent_as_a_password,
    a_jump_host_is_passed_and_does_not_get_the_password,
    an_ssh_in_a_proxy_command_does_not_get_the_password,
    a_password_in_the_wrong_place_is_refused_and_not_repeated,
    a_root_only_key_is_enough,
    a_changed_key_or_password_file_counts_at_the_next_mount,
    an_inline_key_is_refused_and_not_repeated,
    a_forbidden_password_is_refused,
];

fn a_password_file_logs_in() {
    let world = World::new();
    fs::write(world.path("password"), format!("{PASSWORD}\n")).unwrap();
    let file = world.path("password").to_string_lossy().into_owned();
    world.create_with("data", &[("identity_file", ABSENT), ("password_file", &file)]).ok();
    fs::write(world.mount("data", "x").join("file"), "x").unwrap();
}

fn a_password_option_logs_in_and_shows_nowhere() {
    let world = World::new();
    world.create_with("data", &[("identity_file", ABSENT), ("password", PASSWORD)]).ok();
    let advice = "Docker itself keeps the option 'password' and shows it in clear";
    assert!(
        world.daemon.log().contains(advice) && world.daemon.log().contains("with 'password_file' instead")
    );
    fs::write(world.mount("data", "x").join("file"), "x").unwrap();
    let told = [
        world.client().get("data").ok().to_string(),
        world.client().call("/VolumeDriver.List", "").ok().to_string(),
        world.create_with("data", &[("password", "other")]).err().to_owned(),
        world.daemon.log(),
    ];
    for text in told {
        assert!(!text.contains("battery"), "{text}");
    }
    for (pid, line) in processes() {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        assert!(
            !line.contains("battery") && !String::from_utf8_lossy(&environment).contains("battery"),
            "{line}"
        );
    }
    for (path, mode) in files_with(&world.path(""), "battery") {
        assert_eq!(mode & 0o077, 0, "{path} is readable by others");
    }
    world.client().unmount("data", "x").ok();
    world.client().remove("data").ok();
    assert!(files_with(&world.path("lib"), "battery").is_empty());
    assert!(files_with(&world.path("run"), "battery").is_empty());
}

fn an_encrypted_key_is_opened_with_its_passphrase() {
    let world = World::new();
    // Not the password of the other cases: ssh-keygen takes it on its command line.
    let passphrase = "tr0ub4dor & 3";
    crate::sshd::make_key(&world.path("locked"), passphrase);
    world.sshd.authorize(&world.path("locked"));
    fs::write(world.path("passphrase"), passphrase).unwrap();
    let [key, passphrase] =
        ["locked", "passphrase"].map(|name| world.path(name).to_string_lossy().into_owned());
    world.create_with("data", &[("identity_file", &key), ("password_file", &passphrase)]).ok();
    world.mount("data", "x");
}

fn a_passphrase_is_not_sent_as_a_password() {
    let world = World::new();
    crate::sshd::make_key(&world.path("refused"), "");
    fs::write(world.path("passphrase"), PASSWORD).unwrap();
    let [key, passphrase] =
        ["refused", "passphrase"].map(|name| world.path(name).to_string_lossy().into_owned());
    world.create_with("data", &[("identity_file", &key), ("password_file", &passphrase)]).ok();
    // It is alice's password, too: had it been sent, she would be in.
    assert!(world.client().mount("data", "x").err().contains("permission denied"));
}

fn a_jump_host_is_passed_and_does_not_get_the_password() {
    let world = World::new();
    let options = [("identity_file", ABSENT), ("password", PASSWORD), ("ProxyJump", "gate")];
    let gate = format!("Host gate\n    HostName 127.0.0.1\n    Port {}\n    User alice\n", world.sshd.port);
    let config = |lines: &str| fs::write(world.path("etc/ssh_config"), format!("{gate}{lines}")).unwrap();
    world.create_with("data", &options).ok();
    // The gate would let alice in with the volume's password; it must not be asked of the volume.
    config("");
    assert!(world.client().mount("data", "x").err().starts_with("cannot mount"));
    // With a key for the gate, the password is asked at the end of the way and answered.
    let key = world.path("id");
    std::os::unix::fs::chown(&key, Some(61_002), None).unwrap();
    config(&format!("    IdentityFile {}\n", key.display()));
    world.mount("data", "x");
}

fn an_ssh_in_a_proxy_command_does_not_get_the_password() {
    let world = World::new();
    let proxy = format!(
        "ssh -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -p {} alice@localhost cat",
        world.sshd.port
    );
    // In a shell of its own and without: ssh itself would start it with exec.
    for command in [proxy.clone(), format!("{proxy}; true")] {
        let config = format!("Host 127.0.0.1\n    ProxyCommand {command}\n");
        fs::write(world.path("etc/ssh_config"), config).unwrap();
        world.create_with("data", &[("identity_file", ABSENT), ("password", PASSWORD)]).ok();
        assert!(world.client().mount("data", "x").err().starts_with("cannot mount"));
    }
    let log = fs::read_to_string(world.path("sshd/log")).unwrap();
    assert!(log.contains("alice") && !log.contains("Accepted password"), "{log}");
}

fn a_password_in_the_wrong_place_is_refused_and_not_repeated() {
    let world = World::new();
    let url = "sftp://alice:hunter2@storage/srv";
    for (name, value) in [("uid", "1000,password=hunter2"), ("sshcmd", url), ("password_file", "hunter2")] {
        let reply = world.create_with("data", &[(name, value)]);
        assert!(!reply.err().contains("hunter2"), "{}", reply.err());
    }
    assert!(files_with(&world.path("lib"), "hunter2").is_empty());
    assert!(!world.daemon.log().contains("hunter2"));
}

fn a_root_only_key_is_enough() {
    let world = World::new();
    fs::create_dir(world.path("private")).unwrap();
    fs::set_permissions(world.path("private"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::rename(world.path("id"), world.path("private/id")).unwrap();
    let key = world.path("private/id").to_string_lossy().into_owned();
    world.create_with("data", &[("IdentityFile", &key), ("identity_file", ABSENT)]).ok();
    world.mount("data", "x");
}

fn a_changed_key_or_password_file_counts_at_the_next_mount() {
    let world = World::new();
    let file = world.path("password").to_string_lossy().into_owned();
    fs::write(&file, PASSWORD).unwrap();
    world.create_with("by-password", &[("identity_file", ABSENT), ("password_file", &file)]).ok();
    world.create("by-key");
    let mount_and_unmount = |name: &str| {
        world.mount(name, "x");
        world.client().unmount(name, "x").ok();
    };
    ["by-password", "by-key"].into_iter().for_each(mount_and_unmount);
    fs::write(&file, "changed").unwrap();
    fs::rename(world.path("id"), world.path("old")).unwrap();
    crate::sshd::make_key(&world.path("id"), "");
    for name in ["by-password", "by-key"] {
        assert!(world.client().mount(name, "x").err().contains("permission denied"), "{name}");
    }
    fs::write(&file, PASSWORD).unwrap();
    world.sshd.authorize(&world.path("id"));
    ["by-password", "by-key"].into_iter().for_each(mount_and_unmount);
}

fn an_inline_key_is_refused_and_not_repeated() {
    let world = World::new();
    let key = fs::read_to_string(world.path("id")).unwrap();
    let secret = key.lines().nth(1).unwrap();
    for option in ["identity_file", "id_rsa", "password_file", "IdentityFile"] {
        let reply = world.create_with("data", &[("identity_file", ABSENT), (option, &key)]);
        assert!(!reply.err().contains(secret), "{option}: {}", reply.err());
    }
    assert!(!world.daemon.log().contains(secret));
}

fn a_forbidden_password_is_refused() {
    let world = World::with_config("[policy]\nallow_password = false");
    let reply = world.create_with("data", &[("password", "hunter2")]);
    assert!(
        reply.err().contains("use 'password_file'") && !reply.err().contains("hunter2"),
        "{}",
        reply.err()
    );
}

/// Files below `directory` that contain `text`, with their modes. Mounts are left out.
fn files_with(directory: &Path, text: &str) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() && entry.file_name() != "mnt" {
            found.extend(files_with(&entry.path(), text));
        } else if metadata.is_file()
            && String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).contains(text)
        {
            found.push((entry.path().display().to_string(), metadata.permissions().mode()));
        }
    }
    found
}
