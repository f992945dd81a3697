//! An ssh agent of the host, of root or of another user, is all a volume needs to log in; nothing but its own mount
//! reaches it, and nobody can do more with it than log in.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::driver::{SERVICE, SOCKET, SOON};
use crate::lab::network::SSH_SERVER;
use crate::lab::{Lab, Volume, poll};

crate::cases![
    an_agent_of_root_logs_in,
    an_agent_in_a_directory_of_its_user_logs_in,
    a_public_key_chooses_one_key_of_the_agent,
    an_agent_can_be_asked_only_to_list_and_to_sign,
    a_key_restricted_to_the_server_is_of_use,
    another_mount_cannot_reach_the_agent,
    ssh_connects_again_while_the_daemon_is_away,
    a_mount_that_follows_at_once_has_its_agent,
    containers_are_healed_with_an_agent,
    an_agent_that_is_gone_is_named,
    a_link_to_the_agent_of_somebody_else_is_of_no_use,
];

/// What the mount's ssh talks to.
const INSIDE: &str = "/run/sshfs-docker/agent/socket";

/// As the user whom mounts run as.
const AS_MOUNT: &str = "setpriv --reuid sshfs-docker --regid sshfs-docker --clear-groups";

/// An agent that runs on the host, until it is dropped.
struct Agent<'a> {
    lab: &'a Lab,
    user: &'static str,
    directory: String,
}

impl<'a> Agent<'a> {
    /// An agent of `user`, who is made where there is none, in a directory that nobody else may enter. It has the key
    /// that alice's account on the server accepts.
    fn start(lab: &'a Lab, user: &'static str, directory: &str) -> Result<Self> {
        lab.host.sh(&format!(
            "id {user} >/dev/null 2>&1 || useradd --create-home --shell /bin/sh {user}
             install -d -o {user} -g {user} -m 700 {directory}
             setpriv --reuid {user} --regid {user} --clear-groups ssh-agent -a {directory}/agent >/dev/null"
        ))?;
        let agent = Self { lab, user, directory: directory.to_owned() };
        agent.add("/root/.ssh/id_ed25519")?;
        Ok(agent)
    }

    fn socket(&self) -> String {
        format!("{}/agent", self.directory)
    }

    fn add(&self, key: &str) -> Result<()> {
        self.lab.host.sh(&format!("SSH_AUTH_SOCK={} ssh-add -q {key}", self.socket())).map(drop)
    }

    /// Its keys, one line each.
    fn keys(&self) -> Result<String> {
        self.lab.host.sh(&format!("SSH_AUTH_SOCK={} ssh-add -L || :", self.socket()))
    }

    /// A volume that has no key but those of the agent, and further options.
    fn volume(&self, name: &str, options: &str) -> Result<Volume<'a>> {
        let directory = self.lab.server.export(name, "alice")?;
        let mut volume = self.lab.volume_with(
            name,
            &format!("-o sshcmd=alice@{SSH_SERVER}:{directory} -o IdentityAgent={} {options}", self.socket()),
        )?;
        volume.directory = directory;
        Ok(volume)
    }

    fn stop(&self) -> Result<()> {
        let Self { user, directory, .. } = self;
        self.lab
            .host
            .sh(&format!("pkill -KILL -u {user} -x ssh-agent || :; rm -f {directory}/agent"))
            .map(drop)
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("an agent is left: {error:#}");
        }
    }
}

fn relay(volume: &Volume) -> String {
    format!("sshfs-docker-agent@{}", volume.name)
}

/// Data goes through, and nothing of the way to the agent is left afterwards.
fn works_and_goes(lab: &Lab, volume: &Volume) -> Result<()> {
    let container = volume.hold(&format!("{}-user", volume.name))?;
    container.exec("echo hello > /d/file")?;
    ensure!(lab.server.sh(&format!("cat {}/file", volume.directory))? == "hello");
    let socket = format!("{}.socket", relay(volume));
    ensure!(lab.state(&socket)? == "active", "{socket} does not listen");
    container.remove()?;
    volume.wait_until_unmounted()?;
    poll::until_true("the way to the agent to be gone", SOON, || {
        let units =
            lab.host.sh(&format!("systemctl list-units --all --plain --no-legend '{}*'", relay(volume)))?;
        ensure!(units.is_empty(), "there are still {units}");
        let socket = format!("/run/sshfs-docker/agents/{}/socket", volume.name);
        Ok(!lab.host.try_sh(&format!("ls {socket}"))?.ok())
    })
}

/// It is the user whose agent it is.
fn relay_is_unprivileged(lab: &Lab, volume: &Volume, user: &str) -> Result<()> {
    let processes = lab.processes(&format!("{}.service", relay(volume)))?;
    ensure!(!processes.is_empty(), "there is no relay");
    for process in processes {
        let capable = !process.capabilities.trim_start_matches('0').is_empty();
        ensure!(process.user == user && !capable, "{process:?}");
    }
    Ok(())
}

fn an_agent_of_root_logs_in(lab: &Lab) -> Result<()> {
    let agent = Agent::start(lab, "root", "/root/agents")?;
    let volume = agent.volume("agent-of-root", "")?;
    {
        let _container = volume.hold("agent-of-root-holder")?;
        relay_is_unprivileged(lab, &volume, "root")?;
    }
    volume.wait_until_unmounted()?;
    works_and_goes(lab, &volume)
}

fn an_agent_in_a_directory_of_its_user_logs_in(lab: &Lab) -> Result<()> {
    for (name, directory) in [
        ("agent-in-run", "/run/user/2001"),
        ("agent-in-home", "/home/carol/agent"),
        ("agent-in-tmp", "/tmp/ssh-XyZ"),
    ] {
        let agent = Agent::start(lab, "carol", directory)?;
        let volume = agent.volume(name, "").with_context(|| directory.to_owned())?;
        works_and_goes(lab, &volume).with_context(|| directory.to_owned())?;
    }
    Ok(())
}

fn a_public_key_chooses_one_key_of_the_agent(lab: &Lab) -> Result<()> {
    let agent = Agent::start(lab, "carol", "/run/user/2001")?;
    // More than the server lets anybody try (MaxAuthTries), and tried before the right one, which is added again.
    lab.host.sh(&format!(
        "export SSH_AUTH_SOCK={}; ssh-add -q -D; rm -f /root/other*
         for i in 1 2 3 4 5 6 7 8; do ssh-keygen -q -t ed25519 -N '' -f /root/other$i; ssh-add -q /root/other$i; done",
        agent.socket()
    ))?;
    agent.add("/root/.ssh/id_ed25519")?;
    let many = agent.volume("agent-many", "")?;
    let sentence = many.try_run("true")?.failure()?;
    ensure!(sentence.contains("too many") && sentence.contains(&agent.socket()), "{sentence}");
    let chosen = agent.volume("agent-chosen", "-o identity_file=/root/.ssh/id_ed25519.pub")?;
    works_and_goes(lab, &chosen)?;
    let wrong = agent.volume("agent-wrong", "-o identity_file=/root/other1.pub")?;
    let sentence = wrong.try_run("true")?.failure()?;
    ensure!(sentence.contains("permission denied") && sentence.contains(&agent.socket()), "{sentence}");
    Ok(())
}

/// Runs a script in the unit of a mount, as its user.
fn inside(lab: &Lab, volume: &Volume, script: &str) -> Result<crate::lab::Output> {
    let pid = lab.main_pid(&volume.unit())?;
    lab.host.put("/var/tmp/inside", script.as_bytes())?;
    lab.host.try_sh(&format!(
        "chmod 644 /var/tmp/inside; install -d -m 755 /run/script; install -m 644 /var/tmp/inside /run/script/inside
         nsenter --target {pid} --mount -- {AS_MOUNT} env SSH_AUTH_SOCK={INSIDE} sh -eu /run/script/inside"
    ))
}

fn an_agent_can_be_asked_only_to_list_and_to_sign(lab: &Lab) -> Result<()> {
    let agent = Agent::start(lab, "carol", "/run/user/2001")?;
    let volume = agent.volume("agent-filter", "")?;
    let _container = volume.hold("agent-filter-user")?;
    let before = agent.keys()?;
    ensure!(before.lines().count() == 1, "the agent has {before}");
    ensure!(inside(lab, &volume, "ssh-add -L")?.success()? == before, "the mount sees other keys");
    lab.host.sh("rm -f /run/script/key*; install -d -m 755 /run/script; ssh-keygen -q -t ed25519 -N '' -f /run/script/key
         chown sshfs-docker /run/script/key")?;
    let lock = "printf 'echo word' > /tmp/ask; chmod 700 /tmp/ask
                SSH_ASKPASS=/tmp/ask SSH_ASKPASS_REQUIRE=force ssh-add -x";
    let requests = [
        "ssh-add /run/script/key",
        "ssh-add -c /run/script/key",
        "ssh-add -d /run/script/key",
        "ssh-add -D",
        lock,
    ];
    for forbidden in requests {
        ensure!(!inside(lab, &volume, forbidden)?.ok(), "allowed: {forbidden}");
        ensure!(agent.keys()? == before, "{forbidden} left the agent with {:?}", agent.keys()?);
    }
    let said = lab.host.sh(&format!("journalctl --quiet --no-pager --unit {}.service", relay(&volume)))?;
    ensure!(said.contains("refused a request of type 19"), "the journal does not tell: {said}");
    // They are requests that an agent does for whoever reaches it.
    for request in requests {
        lab.host.sh(&format!("export SSH_AUTH_SOCK={}; {request}", agent.socket()))?;
    }
    // Nor is what passes on privileged.
    relay_is_unprivileged(lab, &volume, "carol")
}

/// The agent signs for such a key only after ssh has told it, and proven, which server it talks to.
fn a_key_restricted_to_the_server_is_of_use(lab: &Lab) -> Result<()> {
    let agent = Agent::start(lab, "carol", "/run/user/2001")?;
    let server = lab.server.sh("cut -d ' ' -f 1,2 /etc/ssh/ssh_host_ed25519_key.pub")?;
    let other = lab.host.sh("cut -d ' ' -f 1,2 /root/.ssh/id_ed25519.pub")?;
    lab.host.put("/root/known", format!("{SSH_SERVER} {server}\nelsewhere {other}\n").as_bytes())?;
    let restrict = |host: &str| {
        lab.host.sh(&format!(
            "export SSH_AUTH_SOCK={}; ssh-add -q -D; ssh-add -q -H /root/known -h {host} /root/.ssh/id_ed25519",
            agent.socket()
        ))
    };
    let volume = agent.volume("agent-restricted", "")?;
    restrict("elsewhere")?;
    let sentence = volume.try_run("true")?.failure()?;
    ensure!(sentence.contains("permission denied"), "{sentence}");
    volume.wait_until_unmounted()?;
    restrict(SSH_SERVER)?;
    works_and_goes(lab, &volume)
}

fn another_mount_cannot_reach_the_agent(lab: &Lab) -> Result<()> {
    let agent = Agent::start(lab, "carol", "/run/user/2001")?;
    let (volume, other) = (agent.volume("agent-private", "")?, lab.volume("agent-nosy")?);
    let _containers = (volume.hold("agent-private-user")?, other.hold("agent-nosy-user")?);
    let pid = lab.main_pid(&volume.unit())?;
    // What the probe is worth shows when it comes from the volume's own unit.
    let ways = [
        "/run/sshfs-docker/agents/agent-private/socket".to_owned(),
        format!("/proc/{pid}/root{INSIDE}"),
        INSIDE.to_owned(),
        agent.socket(),
    ];
    ensure!(inside(lab, &volume, "ssh-add -L")?.ok(), "not even its own mount reaches it");
    // A unit of that kind from its start, with everything that the sandbox of mounts has.
    let spy = |property: &str, way: &str| {
        lab.host.try_sh(&format!(
            "systemd-run --quiet --collect --wait --pipe --unit sshfs-docker-mount-spy --property User=sshfs-docker \
             {property} env SSH_AUTH_SOCK={way} ssh-add -L"
        ))
    };
    let bound = "--property BindReadOnlyPaths=/run/sshfs-docker/agents/agent-private:/run/sshfs-docker/agent";
    let seen = spy(bound, INSIDE)?;
    ensure!(seen.ok(), "the test does not see what it looks for: {seen}");
    for way in &ways {
        let seen = inside(lab, &other, &format!("SSH_AUTH_SOCK={way} ssh-add -L"))?;
        ensure!(!seen.ok(), "the mount of another volume reaches {way}: {seen}");
        let seen = spy("", way)?;
        ensure!(!seen.ok(), "a unit of another mount reaches {way}: {seen}");
        // And without a sandbox, as after an upgrade from a version that had none of this.
        if *way != ways[1] {
            let bare = lab.host.try_sh(&format!("{AS_MOUNT} env SSH_AUTH_SOCK={way} ssh-add -L"))?;
            ensure!(!bare.ok(), "the user of mounts reaches {way}: {bare}");
        }
    }
    Ok(())
}

fn ssh_connects_again_while_the_daemon_is_away(lab: &Lab) -> Result<()> {
    let agent = Agent::start(lab, "carol", "/run/user/2001")?;
    let volume = agent.volume("agent-again", "")?;
    let container = volume.hold("agent-again-user")?;
    // Neither the daemon nor a relay runs, and what listens is another socket than the one at the mount.
    lab.host.sh(&format!(
        "systemctl stop {SOCKET} {SERVICE}; systemctl restart {0}.socket; systemctl stop {0}.service",
        relay(&volume)
    ))?;
    let again = lab.host.sh("pkill -KILL -x ssh").and_then(|_| {
        poll::until_true("ssh to connect again", Duration::from_secs(15), || {
            Ok(container.try_exec("echo again > /d/file")?.ok())
        })
    });
    let daemon = lab.state(SERVICE);
    lab.host.sh(&format!("systemctl start {SOCKET}"))?;
    again?;
    ensure!(daemon? == "inactive", "the daemon ran meanwhile");
    ensure!(lab.server.sh(&format!("cat {}/file", volume.directory))? == "again");
    Ok(())
}

/// Its listener may be about to stop with the mount before it. Docker itself is too slow to show that.
fn a_mount_that_follows_at_once_has_its_agent(lab: &Lab) -> Result<()> {
    let agent = Agent::start(lab, "root", "/root/agents")?;
    let volume = agent.volume("agent-quick", "")?;
    let client = lab.client()?;
    for round in 0..40 {
        let reply = client.mount(&volume.name, "quick");
        ensure!(reply.status == Some(200), "round {round}: {reply:?}");
        client.unmount(&volume.name, "quick").ok();
    }
    Ok(())
}

fn containers_are_healed_with_an_agent(lab: &Lab) -> Result<()> {
    let agent = Agent::start(lab, "carol", "/run/user/2001")?;
    let volume = agent.volume("agent-healed", "")?;
    let container = volume.hold("agent-healed-user")?;
    lab.host.sh(&format!("kill -KILL {}", lab.main_pid(&volume.unit())?))?;
    poll::until_true("the container to be healed", Duration::from_secs(20), || {
        Ok(container.try_exec("echo healed > /d/file")?.ok())
    })?;
    ensure!(lab.server.sh(&format!("cat {}/file", volume.directory))? == "healed");
    Ok(())
}

fn an_agent_that_is_gone_is_named(lab: &Lab) -> Result<()> {
    let create = |name: &str, agent: &str| {
        lab.try_docker(&format!(
            "volume create --driver sshfs -o sshcmd=alice@{SSH_SERVER}:/srv -o IdentityAgent={agent} {name}"
        ))
    };
    let none = create("agent-none", "/root/no-agent")?.failure()?;
    ensure!(none.contains("IdentityAgent") && none.contains("/root/no-agent does not exist"), "{none}");
    let file = create("agent-file", "/etc/hostname")?.failure()?;
    ensure!(file.contains("/etc/hostname is not a socket"), "{file}");
    let word = create("agent-word", "SSH_AUTH_SOCK")?.failure()?;
    ensure!(word.contains("absolute path"), "{word}");
    for (user, directory) in [("root", "/root/agents"), ("carol", "/run/user/2001")] {
        let agent = Agent::start(lab, user, directory)?;
        let volume = agent.volume(&format!("agent-gone-{user}"), "")?;
        // Stopped, it does not say no either.
        lab.host.sh(&format!("pkill -STOP -u {user} -x ssh-agent"))?;
        let frozen = volume.try_run("true")?;
        ensure!(frozen.took < Duration::from_secs(20), "{frozen}");
        let frozen = frozen.failure()?;
        ensure!(frozen.contains("the ssh agent cannot be used: it does not answer"), "{frozen}");
        volume.wait_until_unmounted()?;
        // Killed, an agent leaves its socket behind.
        lab.host.sh(&format!("pkill -KILL -u {user} -x ssh-agent"))?;
        let dead = volume.try_run("true")?.failure()?;
        ensure!(dead.contains(&format!("nobody listens on {directory}/agent")), "{dead}");
        volume.wait_until_unmounted()?;
        agent.stop()?;
        let gone = volume.try_run("true")?.failure()?;
        ensure!(gone.contains(&format!("{directory}/agent does not exist")), "{gone}");
        volume.wait_until_unmounted()?;
        // A new agent at the same place is found at once.
        let _back = Agent::start(lab, user, directory)?;
        volume.run("true")?;
    }
    Ok(())
}

/// The relay starts as root, and must not fetch for a user what he could not fetch himself.
fn a_link_to_the_agent_of_somebody_else_is_of_no_use(lab: &Lab) -> Result<()> {
    let roots = Agent::start(lab, "root", "/root/agents")?;
    let carols = Agent::start(lab, "carol", "/run/user/2001")?;
    let volume = carols.volume("agent-linked", "")?;
    carols.stop()?;
    lab.host.sh(&format!(
        "setpriv --reuid carol --regid carol --clear-groups ln -s {} {}",
        roots.socket(),
        carols.socket()
    ))?;
    let sentence = volume.try_run("true")?.failure()?;
    ensure!(sentence.contains("user carol may not connect to"), "{sentence}");
    Ok(())
}
