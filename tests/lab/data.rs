//! What containers write is what others read and what the server has.

use anyhow::{Result, ensure};

use crate::lab::Lab;
use crate::lab::docker::quote;
use crate::lab::network::SSH_SERVER;
use crate::lab::ssh_server::BOB;

crate::cases![
    a_100_mb_file_written_by_one_container_is_read_by_another,
    a_thousand_small_files_written_by_one_container_are_read_by_another,
    a_non_root_user_reads_and_writes_what_the_server_permits,
    a_read_only_volume_refuses_writes,
    a_read_only_container_cannot_write_while_another_can,
    a_password_file_logs_in,
    a_key_of_the_credential_store_logs_in,
    an_encrypted_key_of_the_credential_store_logs_in,
    removing_a_volume_leaves_every_remote_file,
    two_volumes_on_one_directory_are_independent,
    a_directory_and_a_key_with_odd_names_are_what_is_used,
];

/// Checksums of everything in the volume, in the format of `SshServer::checksums`.
const CHECKSUMS: &str = "cd /d; find . -type f -exec sha256sum {} + | sort -k 2";

/// Writes in one container; then what it wrote, another container's view and the server's must agree.
fn check_written_is_read(lab: &Lab, name: &str, script: &str, files: usize) -> Result<()> {
    let volume = lab.volume(name)?;
    let written = volume.run(&format!("{script}; {CHECKSUMS}"))?;
    // Between the two containers the volume was unmounted: the second sees nothing of a cache.
    volume.wait_until_unmounted()?;
    let read = volume.run(CHECKSUMS)?;
    let served = lab.server.checksums(&volume.directory)?;
    ensure!(written.lines().count() == files, "{files} files expected: {written}");
    ensure!(written == read, "another container reads something else:\n{read}\nfor\n{written}");
    ensure!(written == served, "the server has something else:\n{served}\nfor\n{written}");
    Ok(())
}

fn a_100_mb_file_written_by_one_container_is_read_by_another(lab: &Lab) -> Result<()> {
    let script =
        "head -c 100000000 /dev/urandom > /tmp/original; cp /tmp/original /d/big; cmp /tmp/original /d/big";
    check_written_is_read(lab, "big", script, 1)
}

fn a_thousand_small_files_written_by_one_container_are_read_by_another(lab: &Lab) -> Result<()> {
    let script = "i=0; while [ $i -lt 1000 ]; do mkdir -p /d/$((i % 10)); echo content $i > /d/$((i % 10))/$i; i=$((i + 1)); done";
    check_written_is_read(lab, "small", script, 1000)
}

fn a_non_root_user_reads_and_writes_what_the_server_permits(lab: &Lab) -> Result<()> {
    let volume = lab.volume("nonroot")?;
    lab.server
        .sh("cd /srv/nonroot; echo public > public; echo secret > secret; chmod 600 secret; mkdir closed")?;
    let user = |script: &str| volume.try_run_with("-u 1000 -v nonroot:/d", script);
    ensure!(user("cat /d/public; echo mine > /d/mine; cat /d/mine")?.success()? == "public\nmine");
    ensure!(
        lab.server.sh("stat -c %U /srv/nonroot/mine")? == "alice",
        "the server's account owns what it wrote"
    );
    user("cat /d/secret")?.failure()?;
    user("echo x > /d/closed/x")?.failure()?;
    Ok(())
}

fn a_read_only_volume_refuses_writes(lab: &Lab) -> Result<()> {
    let directory = lab.server.export("readonly", "alice")?;
    lab.server.sh("echo there > /srv/readonly/file")?;
    let volume = lab.volume_on("readonly", &directory, "-o ro")?;
    ensure!(volume.run("cat /d/file")? == "there");
    let refusal = volume.try_run("echo x > /d/x")?.failure()?;
    ensure!(refusal.contains("Read-only file system"), "refused for another reason: {refusal}");
    Ok(())
}

fn a_read_only_container_cannot_write_while_another_can(lab: &Lab) -> Result<()> {
    let volume = lab.volume("halfro")?;
    let writer = volume.hold("halfro-writer")?;
    let refusal = volume.try_run_with("-v halfro:/d:ro", "echo x > /d/x")?.failure()?;
    ensure!(refusal.contains("Read-only file system"), "refused for another reason: {refusal}");
    writer.exec("echo x > /d/x")?;
    Ok(())
}

fn a_password_file_logs_in(lab: &Lab) -> Result<()> {
    let directory = lab.server.export("password", BOB)?;
    lab.host.put("/root/bobs-password", format!("{}\n", lab.server.password()).as_bytes())?;
    let address = format!("{BOB}@{SSH_SERVER}:{directory}");
    let volume =
        lab.volume_with("password", &format!("-o sshcmd={address} -o password_file=/root/bobs-password"))?;
    volume.run("echo by password > /d/file")?;
    ensure!(lab.server.sh("cat /srv/password/file")? == "by password");
    Ok(())
}

/// Uses the key that `script` has put into systemd's credential store as `NAME`.
fn check_credential(lab: &Lab, name: &str, script: &str) -> Result<()> {
    lab.host.sh(script)?;
    let directory = lab.server.export(name, "alice")?;
    let options = format!("-o sshcmd=alice@{SSH_SERVER}:{directory} -o identity_file={name}");
    lab.volume_with(name, &options)?.run("echo by credential > /d/file")?;
    ensure!(lab.server.sh(&format!("cat {directory}/file"))? == "by credential");
    Ok(())
}

fn a_key_of_the_credential_store_logs_in(lab: &Lab) -> Result<()> {
    let script = "install -D -m 600 /root/.ssh/id_ed25519 /etc/credstore/plain-key";
    check_credential(lab, "plain-key", script)
}

fn an_encrypted_key_of_the_credential_store_logs_in(lab: &Lab) -> Result<()> {
    let script = "mkdir -p -m 700 /etc/credstore.encrypted
         systemd-creds encrypt --with-key=host --name=sealed-key /root/.ssh/id_ed25519 \
             /etc/credstore.encrypted/sealed-key 2>&1";
    check_credential(lab, "sealed-key", script)
}

fn removing_a_volume_leaves_every_remote_file(lab: &Lab) -> Result<()> {
    let volume = lab.volume("removed")?;
    volume.run("mkdir -p /d/a/b; echo 1 > /d/one; echo 2 > /d/a/two; echo 3 > /d/a/b/.hidden")?;
    let before = lab.server.checksums(&volume.directory)?;
    volume.remove()?.success()?;
    ensure!(!lab.docker("volume ls --quiet")?.lines().any(|name| name == "removed"), "still listed");
    ensure!(lab.server.checksums(&volume.directory)? == before, "the server lost something");
    ensure!(before.lines().count() == 3, "the test wrote too little: {before}");
    Ok(())
}

fn two_volumes_on_one_directory_are_independent(lab: &Lab) -> Result<()> {
    let first = lab.volume("twin-a")?;
    let second = lab.volume_on("twin-b", &first.directory, "")?;
    let (user_of_first, user_of_second) = (first.hold("user-a")?, second.hold("user-b")?);
    user_of_first.exec("echo from a > /d/file")?;
    first.remove()?.failure()?;
    user_of_first.remove()?;
    first.wait_until_unmounted()?;
    first.remove()?.success()?;
    ensure!(user_of_second.exec("cat /d/file; echo from b > /d/other")? == "from a");
    ensure!(lab.server.sh(&format!("cat {}/other", first.directory))? == "from b");
    Ok(())
}

/// Their way leads through D-Bus and systemd, which expands `%` and `$` in what it reads from files.
fn a_directory_and_a_key_with_odd_names_are_what_is_used(lab: &Lab) -> Result<()> {
    const ODD: &str = r#"o,d%h%%$HOME${PATH}"q"'r'~é;#-oProxyCommand=x"#;
    let (directory, key) = (format!(r"/srv/{ODD} \x \054 y"), format!("/root/{ODD}"));
    lab.server.sh(&format!("install -d -o alice -g alice {}", quote(&directory)))?;
    lab.host.sh(&format!("cp /root/.ssh/id_ed25519 {}", quote(&key)))?;
    let [address, key_option] =
        [format!("sshcmd=alice@{SSH_SERVER}:{directory}"), format!("identity_file={key}")].map(|o| quote(&o));
    let volume = lab.volume_with("odd", &format!("-o {address} -o {key_option}"))?;
    volume.run("echo odd > /d/file")?;
    lab.host.sh(&format!("rm {}", quote(&key)))?;
    let served = lab.server.sh(&format!("cat {}/file", quote(&directory)))?;
    ensure!(served == "odd", "the server has {served:?}");
    Ok(())
}
