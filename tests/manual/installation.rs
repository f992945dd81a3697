//! What `make install` does to a host that has the driver already.

use crate::repository;
use std::{fs, path::Path, process::Command};

#[test]
fn installing_again_keeps_what_the_administrator_has_changed() {
    let root = tempfile::tempdir().unwrap();
    let etc = root.path().join("etc/sshfs-docker");
    install(root.path(), None);
    let ours = fs::read(etc.join("config.toml")).unwrap();
    fs::write(etc.join("ssh_config"), "changed").unwrap();
    fs::remove_file(etc.join("config.toml")).unwrap();
    install(root.path(), None);
    assert_eq!(fs::read(etc.join("ssh_config")).unwrap(), b"changed");
    assert_eq!(fs::read(etc.join("config.toml")).unwrap(), ours, "what is missing is put there");

    // What a package is built from has what is in the source, whatever the host and an earlier build have.
    let tree = tempfile::tempdir().unwrap();
    let packed = tree.path().join(etc.strip_prefix("/").unwrap()).join("ssh_config");
    for _ in 0..2 {
        install(root.path(), Some(tree.path()));
        assert_eq!(fs::read(&packed).unwrap(), fs::read(repository().join("etc/ssh_config")).unwrap());
        fs::write(&packed, "stale").unwrap();
    }
}

#[test]
fn units_name_the_program_where_it_was_installed() {
    let root = tempfile::tempdir().unwrap();
    install(root.path(), None);
    let usr = root.path().join("usr");
    let units = usr.join("lib/systemd/system");
    let (program, data) = (usr.join("bin/sshfs-docker"), usr.join("share/sshfs-docker"));
    assert!(program.exists() && data.join("sshfs.spec").exists());
    let unit = |name| fs::read_to_string(units.join(name)).unwrap();
    assert!(unit("sshfs-docker.service").contains(&format!("ExecStart={} serve", program.display())));
    assert!(unit("sshfs-docker.socket").contains(&format!("{}/sshfs.spec", data.display())));
    for entry in fs::read_dir(&units).unwrap() {
        let path = entry.unwrap().path();
        let elsewhere =
            path.is_file() && fs::read_to_string(&path).unwrap().contains("=/usr/bin/sshfs-docker");
        assert!(!elsewhere, "{} names a program that is not there", path.display());
    }
}

#[test]
fn the_example_for_podman_is_where_its_page_looks() {
    let root = tempfile::tempdir().unwrap();
    install(root.path(), None);
    let example = "/usr/share/doc/sshfs-docker/examples/containers.conf";
    assert!(root.path().join(&example[1..]).exists());
    assert!(fs::read_to_string(repository().join("docs/podman.md")).unwrap().contains(example));
}

fn install(root: &Path, destination: Option<&Path>) {
    let output = Command::new("make")
        .current_dir(repository())
        .args(["--no-print-directory", "install", "BINARY=Cargo.toml"])
        .arg(format!("DESTDIR={}", destination.unwrap_or(Path::new("")).display()))
        .arg(format!("PREFIX={}", root.join("usr").display()))
        .arg(format!("SYSCONFDIR={}", root.join("etc").display()))
        .output()
        .expect("make");
    assert!(output.status.success(), "{output:?}");
}
