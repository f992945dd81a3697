//! Causes that only a booted host can have: what `docker run` then says is what docs/errors.md says, word for word.

use anyhow::{Context, Result, ensure};

use crate::error_page::{self, ON_BOOTED_HOSTS};
use crate::lab::network::SSH_SERVER;
use crate::lab::volume::KEY_OPTION;
use crate::lab::{Lab, Release};

crate::cases![
    each_cause_is_told_as_the_page_says,
    a_server_that_shuts_this_host_out_is_told,
    a_server_that_greets_before_sftp_is_mounted
];

/// Something that is wrong.
struct Cause {
    /// The heading in docs/errors.md; behind a `/`, another way to the same answer.
    name: &'static str,
    /// Where these lines of a shell make it come about, and take it back.
    on: Host,
    breaks: &'static str,
    mends: &'static str,
    /// Options of the volume.
    options: &'static str,
}

#[derive(PartialEq)]
enum Host {
    Docker,
    Server,
}
use Host::{Docker, Server};

const CAUSES: &[Cause] = &[
    Cause {
        name: "no-systemd",
        on: Docker,
        breaks: "systemctl stop dbus.socket dbus.service",
        mends: "systemctl start dbus.socket dbus.service",
        options: KEY_OPTION,
    },
    Cause {
        name: "unit-refused",
        on: Docker,
        breaks: "systemctl mask --runtime sshfs-docker-mount-data.service",
        mends: "systemctl unmask --runtime sshfs-docker-mount-data.service",
        options: KEY_OPTION,
    },
    Cause {
        name: "unit-failed",
        on: Docker,
        breaks: "install -d /run/systemd/system/sshfs-docker-mount-.service.d
                 printf '[Service]\\nReadWritePaths=/no/such/place\\n' >/run/systemd/system/sshfs-docker-mount-.service.d/90.conf
                 systemctl daemon-reload",
        mends: "rm -r /run/systemd/system/sshfs-docker-mount-.service.d; systemctl daemon-reload",
        options: KEY_OPTION,
    },
    Cause {
        name: "no-user",
        on: Docker,
        breaks: "sed -i.aside s/^sshfs-docker:/sshfs-gone:/ /etc/passwd",
        mends: "mv /etc/passwd.aside /etc/passwd",
        options: KEY_OPTION,
    },
    Cause {
        name: "credential-unreadable",
        on: Docker,
        breaks: ":",
        mends: "rm /root/large",
        options: "-o identity_file=/root/large",
    },
    Cause {
        name: "password-sealed",
        on: Docker,
        breaks: "mv /var/lib/systemd/credential.secret /root/aside",
        mends: "mv /root/aside /var/lib/systemd/credential.secret",
        options: "-o password=secret",
    },
    Cause {
        name: "agent-unusable",
        on: Docker,
        breaks: ":",
        mends: "rm /root/dead-agent",
        options: "-o IdentityAgent=/root/dead-agent",
    },
    Cause {
        name: "not-sftp/no-login-shell",
        on: Server,
        breaks: "usermod --shell /usr/sbin/nologin alice",
        mends: "usermod --shell /bin/sh alice",
        options: KEY_OPTION,
    },
    Cause {
        name: "login-ended",
        on: Server,
        breaks: "usermod --expiredate 1 alice",
        mends: "usermod --expiredate '' alice",
        options: KEY_OPTION,
    },
    Cause {
        name: "key-refused/account-locked",
        on: Server,
        breaks: "cp -a ~alice/.ssh/authorized_keys /root/aside; : >~alice/.ssh/authorized_keys; usermod --lock alice",
        mends: "mv /root/aside ~alice/.ssh/authorized_keys; usermod --unlock alice || :",
        options: KEY_OPTION,
    },
    Cause {
        name: "login-ended-for-all",
        on: Server,
        breaks: "echo maintenance >/etc/nologin",
        mends: "rm /etc/nologin",
        options: KEY_OPTION,
    },
];

fn each_cause_is_told_as_the_page_says(lab: &Lab) -> Result<()> {
    let page = error_page::read();
    // What must be there when the volumes are created.
    lab.host.sh("truncate --size 2M /root/large
         ssh-agent -D -a /root/dead-agent >/dev/null & agent=$!
         until [ -S /root/dead-agent ]; do sleep 0.1; done; kill -KILL $agent")?;
    let mut wrong = Vec::new();
    for cause in CAUSES {
        let told = told(lab, cause).with_context(|| cause.name)?;
        let heading = cause.name.split('/').next().unwrap_or(cause.name);
        let expected = page.get(heading).map(|entry| entry.message.as_str()).unwrap_or_default();
        if told != expected {
            wrong.push(format!("{}:\n> {told}\nbut docs/errors.md has\n> {expected}", cause.name));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let provoked: Vec<_> = CAUSES.iter().map(|cause| cause.name).filter(|name| !name.contains('/')).collect();
    ensure!(provoked == ON_BOOTED_HOSTS, "the loopback tier counts on these: {provoked:?}");
    Ok(())
}

fn told(lab: &Lab, cause: &Cause) -> Result<String> {
    let host = if cause.on == Docker { &lab.host } else { &*lab.server };
    let directory = lab.server.export("data", "alice")?;
    let volume =
        lab.volume_with("data", &format!("-o sshcmd=alice@{SSH_SERVER}:{directory} {}", cause.options))?;
    host.sh(cause.breaks)?;
    let run = volume.try_run("true");
    host.sh(cause.mends)?;
    let said = run?.failure()?;
    volume.wait_until_unmounted()?;
    let line = said.lines().find(|line| line.contains("cannot mount volume")).context(said.clone())?;
    let (_, sentence) = line.split_once("VolumeDriver.Mount: ").context("not as Docker tells it")?;
    println!("{}: {sentence}", cause.name);
    let sentence = sentence.trim_end_matches('.').replace(SSH_SERVER, "storage");
    Ok(error_page::in_general(&sentence))
}

/// As OpenSSH does by itself since 9.8, after some logins that failed.
fn a_server_that_shuts_this_host_out_is_told(lab: &Lab) -> Result<()> {
    if lab.server.release() != Release::Trixie {
        return Ok(());
    }
    let shut_out = Cause {
        name: "connection-closed/shut-out",
        on: Server,
        // The server itself is the neighbour whose logins fail.
        breaks: "printf 'PerSourcePenalties authfail:60s min:1s\\nPerSourceNetBlockSize 24:64\\n' \\
                     >/etc/ssh/sshd_config.d/00-penalties.conf
                 systemctl restart ssh.service
                 for attempt in 1 2 3; do
                     ssh -o BatchMode=yes -o StrictHostKeyChecking=no nobody@10.78.0.3 true || :
                 done",
        mends: "rm /etc/ssh/sshd_config.d/00-penalties.conf; systemctl restart ssh.service",
        options: KEY_OPTION,
    };
    let expected = &error_page::read()["connection-closed"].message;
    let told = told(lab, &shut_out)?;
    ensure!(told == *expected, "{told}");
    Ok(())
}

/// sshfs passes over it (sshfs.c, `sftp_find_init_reply`), where sftp(1) gives up.
fn a_server_that_greets_before_sftp_is_mounted(lab: &Lab) -> Result<()> {
    lab.server.sh("usermod --shell /bin/bash alice
         printf 'echo Welcome to the storage, \\$USER\\necho all is watched\\n' >~alice/.bashrc")?;
    let volume = lab.volume("greeted");
    let run = volume.and_then(|volume| volume.run("echo hello > /d/file"));
    lab.server.sh("usermod --shell /bin/sh alice; rm ~alice/.bashrc")?;
    run.map(drop)
}
