//! `sshfs-docker restart`: a fresh sshfs under running containers. None of them misses a beat, what is open stays where it
//! is, and nothing is left of the sshfs before.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::lab::driver::SOON;
use crate::lab::volume::IDLE;
use crate::lab::{Lab, Output, Volume, Writer, poll};

crate::cases![
    a_container_writes_on_through_restarts_without_an_error,
    open_files_keep_their_sshfs_until_they_are_closed,
    every_kind_of_container_gets_the_present_options,
    a_volume_that_was_moved_is_followed,
    a_server_that_refuses_or_is_dark_changes_nothing_for_anybody,
    a_restart_killed_at_any_moment_leaves_a_volume_that_works,
    a_restart_killed_between_its_two_last_steps_is_cleared_away,
    a_container_that_cannot_be_changed_keeps_its_mount_and_is_named,
    a_file_open_on_the_host_outlives_its_mount_and_keeps_the_volume,
    a_dead_mount_is_replaced_as_healing_does,
    what_cannot_be_restarted_is_said,
];

const CONFIG: &str = "/etc/sshfs-docker/config.toml";

/// Everything that may be left of a volume but its definition.
const LEFT: &str = "
systemctl list-units --all --plain --no-legend \"sshfs-docker-mount-$1.service\" \"sshfs-docker-mount-$1:*\" | cut -d ' ' -f 1
systemctl list-units --failed --plain --no-legend \"sshfs-docker-*@$1.service\" | cut -d ' ' -f 1
ls -d /run/systemd/system/sshfs-docker-mount-$1:* /run/sshfs-docker/*/$1:* 2>/dev/null || :
grep -h \" fuse.sshfs $1[:=]\" /proc/[0-9]*/mountinfo 2>/dev/null | sort -u || :
";

/// What its healing said since the boot.
const HEALED: &str = "
journalctl --quiet --no-pager --output cat --unit sshfs-docker-heal@$1.service
";

impl Lab {
    fn restart(&self, volume: &Volume) -> Result<Output> {
        self.host.try_sh(&format!("sshfs-docker restart {}", volume.name))
    }

    fn restart_json(&self, volume: &Volume) -> Result<Value> {
        let json = self.host.sh(&format!("sshfs-docker restart --json {}", volume.name))?;
        serde_json::from_str(&json).with_context(|| json)
    }

    /// Waits until nothing is left of a volume that nobody has mounted, and sees that nothing was healed meanwhile.
    fn wait_until_nothing_is_left(&self, volume: &Volume) -> Result<()> {
        let healed = self.host.sh(&format!("set -- {}\n{HEALED}", volume.name))?;
        ensure!(healed.is_empty(), "healed: {healed}");
        self.wait_until_all_is_gone(volume)
    }

    fn wait_until_all_is_gone(&self, volume: &Volume) -> Result<()> {
        poll::until_true("nothing to be left", SOON, || {
            let left = self.host.sh(&format!("set -- {}\n{LEFT}", volume.name))?;
            ensure!(left.is_empty(), "left: {left}");
            Ok(true)
        })
    }

    /// The numbers of the file systems of a volume that any process has mounted.
    fn devices(&self, volume: &Volume) -> Result<Vec<String>> {
        let name = &volume.name;
        let devices = self.host.sh(&format!(
            "grep -hs ' fuse.sshfs {name}[:=]' /proc/[0-9]*/mountinfo | cut -d ' ' -f 3 | sort -u"
        ))?;
        Ok(devices.lines().map(str::to_owned).collect())
    }

    /// The mount units of a volume that run.
    fn units(&self, volume: &Volume) -> Result<Vec<String>> {
        let name = &volume.name;
        let units = self.host.sh(&format!(
            "systemctl list-units --state=active --plain --no-legend \
             'sshfs-docker-mount-{name}.service' 'sshfs-docker-mount-{name}:*.service' | cut -d ' ' -f 1 | sort"
        ))?;
        Ok(units.lines().map(str::to_owned).collect())
    }

    /// Does something while config.toml has these lines alone.
    fn with_config<T>(&self, lines: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.host.sh(&format!("cp {CONFIG} /var/tmp/config.toml; printf '{lines}' > {CONFIG}"))?;
        let done = work();
        self.host.sh(&format!("mv /var/tmp/config.toml {CONFIG}"))?;
        done
    }
}

fn a_container_writes_on_through_restarts_without_an_error(lab: &Lab) -> Result<()> {
    let volume = lab.volume("renewed")?;
    let writer = Writer::start(lab, &volume)?;
    let mut slowest = 0;
    for restart in 1..=3 {
        let outcome = lab.restart_json(&volume)?;
        ensure!(outcome["restarted"] == true && outcome["containers"][0]["fresh"] == true, "{outcome}");
        slowest = slowest.max(outcome["mounted_in_ms"].as_u64().context("a time")?);
        writer.wait_for_more()?;
        // The file that is open all the while keeps the first one; those in between have ended.
        ensure!(lab.units(&volume)?.len() == 2, "after restart {restart}: {:?}", lab.units(&volume)?);
        ensure!(lab.devices(&volume)?.len() == 1, "after restart {restart}: {:?}", lab.devices(&volume)?);
    }
    writer.finish()?;
    // It ran in no unit: the journal has what others look for all the same.
    let told = |event: &str| {
        lab.host.sh(&format!(
            "journalctl --boot --quiet --no-pager --output cat MESSAGE_ID={event} VOLUME=renewed UNIT={}",
            volume.unit().replace(".service", ":2.service")
        ))
    };
    let (mounted, healed) =
        (told("d7c4e2c628df49afa95f793760ef8bd7")?, told("101f2c484a1c4cb28538dc1ecb3f71c7")?);
    ensure!(mounted.contains("mounted anew from alice@"), "{mounted}");
    ensure!(healed.contains("has a fresh mount"), "{healed}");
    println!("fault-count: restarts_done=3 writes_lost=0 restart_ms={slowest}");
    lab.wait_until_nothing_is_left(&volume)
}

const HOLDER: &str = "
trap exit TERM
cd /d
exec 3>> /d/log
until [ -e /close ]; do echo line >&3; echo line >> /lines; sleep 0.05; done
exec 3>&-
cd /
touch /closed
while :; do sleep 0.1; done
";

fn open_files_keep_their_sshfs_until_they_are_closed(lab: &Lab) -> Result<()> {
    let volume = lab.volume("kept-open")?;
    let container = volume.start("kept-open-user", "", HOLDER)?;
    container.exec("until [ -e /lines ]; do sleep 0.1; done")?;
    let id = container.docker("inspect --format '{{.Id}}'")?[..12].to_owned();
    let said = lab.restart(&volume)?.success()?;
    for words in ["mounted anew from alice@", "has the fresh mount", "works in /d", "has /d/log open"] {
        let line =
            said.lines().find(|line| line.contains(words)).with_context(|| format!("no {words}: {said}"))?;
        ensure!(words.starts_with("mounted") || line.contains(&format!("container {id}")), "{line}");
    }
    ensure!(said.contains(&format!("{}: lives on", volume.unit())), "{said}");
    // A file that is open in the second one, too.
    let tail = "sh -c 'exec tail -f /d/log > /dev/null'";
    lab.docker(&format!("exec --detach {} {tail}", container.name()))?;
    poll::until_true("tail", SOON, || Ok(lab.host.try_sh("pgrep -x tail")?.ok()))?;
    let said = lab.restart(&volume)?.success()?;
    ensure!(said.contains("tail, pid") && said.contains("-kept-open:2.service: lives on"), "{said}");
    let units = lab.units(&volume)?;
    ensure!(units.len() == 3, "not three generations: {units:?}");
    let status = lab.docker("volume inspect --format '{{json .Status}}' kept-open")?;
    // An ordinary mount finds the newest, and ends none of the others.
    ensure!(volume.run("echo new > /d/new; cat /d/new")? == "new");
    ensure!(lab.units(&volume)? == units, "{:?} of {units:?}, {status}", lab.units(&volume)?);
    poll::until_true("docker volume inspect to show the unit that is used", SOON, || {
        Ok(lab.docker("volume inspect --format '{{.Status.unit}}' kept-open")?
            == "sshfs-docker-mount-kept-open:3.service")
    })?;
    container.exec("touch /close; until [ -e /closed ]; do sleep 0.1; done")?;
    lab.host.sh("pkill -x tail")?;
    poll::until_true("the earlier ones to end", SOON, || Ok(lab.units(&volume)?.len() == 1))?;
    let (meant, written) = (container.exec("wc -l < /lines")?, lab.server.sh("wc -l < /srv/kept-open/log")?);
    ensure!(meant == written, "{meant} lines became {written}");

    // One that is killed with its files open takes the sshfs along that served them.
    let killed = volume.start("kept-open-killed", "", HOLDER)?;
    killed.exec("until [ -e /lines ]; do sleep 0.1; done")?;
    lab.restart(&volume)?.success()?;
    ensure!(lab.units(&volume)?.len() == 2);
    println!("fault-count: restarts_done=3 writes_lost=0");
    killed.remove()?;
    poll::until_true("the earlier one to end", SOON, || Ok(lab.units(&volume)?.len() == 1))?;
    container.remove()?;
    lab.wait_until_nothing_is_left(&volume)
}

fn every_kind_of_container_gets_the_present_options(lab: &Lab) -> Result<()> {
    let volume = lab.volume("optioned")?;
    lab.server.sh("chmod 777 /srv/optioned; touch /srv/optioned/file")?;
    let plain = volume.hold("optioned-plain")?;
    let bare = volume.start("optioned-bare", "--cap-drop ALL --read-only --user 1000:1000", IDLE)?;
    let read_only = volume.start("optioned-ro", "-v optioned:/ro:ro", IDLE)?;
    let directory = format!("/etc/systemd/system/{}.d", volume.unit());
    // A service with a mount namespace of its own, as many of the host have.
    lab.host.sh(&format!(
        "mkdir -p {directory}; printf '[Service]\\nTasksMax=77\\n' > {directory}/60-local.conf; systemctl daemon-reload
         systemd-run --quiet --unit looker --property PrivateTmp=yes sleep infinity"
    ))?;
    let restarted = lab.with_config("[options]\\nuid = \"4711\"\\n", || lab.restart_json(&volume));
    let unit = format!("sshfs-docker-mount-{}:2.service", volume.name);
    let properties =
        ["User", "ProtectSystem", "TasksMax", "NoNewPrivileges"].map(|name| lab.property(&unit, name));
    lab.host.sh("systemctl daemon-reload")?;
    let after_reload = lab.property(&unit, "TasksMax");
    let devices = lab.devices(&volume);
    lab.host.sh(&format!("rm -r {directory}; systemctl daemon-reload; systemctl stop looker"))?;
    let outcome = restarted?;
    let properties: Vec<_> = properties.into_iter().collect::<Result<_>>()?;
    ensure!(properties == ["sshfs-docker", "strict", "77", "yes"], "{properties:?}");
    ensure!(after_reload? == "77", "a reload took the settings away");
    ensure!(
        outcome["unit"] == unit.as_str() && outcome["earlier_units"] == Value::Array(vec![]),
        "{outcome}"
    );
    ensure!(outcome["containers"].as_array().is_some_and(|all| all.len() == 4), "{outcome}");
    let devices = devices?;
    ensure!(devices.len() == 1, "somebody has the old one: {devices:?}");
    for container in [&plain, &bare, &read_only] {
        ensure!(container.exec("stat -c %u /d/file")? == "4711", "{} has the old options", container.name());
        let mounts = container.exec("grep -c ' /d ' /proc/self/mountinfo")?;
        ensure!(mounts == "1", "the old mount is still there: {mounts}");
    }
    ensure!(volume.run("stat -c %u /d/file")? == "4711");
    ensure!(!read_only.try_exec("echo no > /ro/no")?.ok(), "a read-only volume became writable");
    bare.exec("echo bare > /d/bare")?;
    let shared = lab.mountinfo(&volume.mountpoint())?.context("mounted")?;
    ensure!(shared.contains(" shared:"), "what is mounted does not reach other namespaces: {shared}");
    // The first name is free again.
    let outcome = lab.restart_json(&volume)?;
    ensure!(outcome["unit"] == volume.unit(), "{outcome}");
    ensure!(plain.exec("stat -c %u /d/file")? != "4711");
    println!("fault-count: restarts_done=2");
    drop((plain, bare, read_only));
    lab.wait_until_nothing_is_left(&volume)
}

fn a_volume_that_was_moved_is_followed(lab: &Lab) -> Result<()> {
    let volume = lab.volume("moved")?;
    lab.server.export("moved-there", "alice")?;
    lab.server.sh("echo there > /srv/moved-there/where; echo here > /srv/moved/where")?;
    let container = volume.hold("moved-user")?;
    ensure!(container.exec("cat /d/where")? == "here");
    lab.host.sh("sed -i 's,/srv/moved\",/srv/moved-there\",' /var/lib/sshfs-docker/volumes/moved.json")?;
    let outcome = lab.restart_json(&volume)?;
    ensure!(outcome["containers"][0]["fresh"] == true, "{outcome}");
    ensure!(container.exec("cat /d/where")? == "there");
    container.remove()?;
    lab.wait_until_nothing_is_left(&volume)
}

fn a_server_that_refuses_or_is_dark_changes_nothing_for_anybody(lab: &Lab) -> Result<()> {
    let volume = lab.volume("refused")?;
    let writer = Writer::start(lab, &volume)?;
    let state = || -> Result<_> {
        let files =
            "cd /run/sshfs-docker; cat ssh-config/refused; ls ssh-config host-keys /run/systemd/system";
        Ok((lab.main_pid(&volume.unit())?, lab.mountinfo(&volume.mountpoint())?, lab.host.sh(files)?))
    };
    let before = state()?;
    lab.host.sh("cd ~/.ssh; mv id_ed25519 genuine; ssh-keygen -q -t ed25519 -N '' -f id_ed25519")?;
    let refused = lab.restart(&volume);
    lab.host.sh("cd ~/.ssh; mv genuine id_ed25519; ssh-keygen -yf id_ed25519 > id_ed25519.pub")?;
    let refused = refused?;
    ensure!(refused.status == 1, "{refused}");
    let reason = refused.failure()?;
    ensure!(reason.contains("nothing has changed") && reason.contains("permission denied"), "{reason}");
    ensure!(state()? == before, "{:?} became {:?}", before, state()?);
    let failed =
        "journalctl --boot --quiet --output cat MESSAGE_ID=d332e40f78c0426aa96cf98eaac52f95 VOLUME=refused";
    let failed = lab.host.sh(failed)?;
    ensure!(failed.contains("permission denied") && reason.lines().count() == 1, "{failed}: {reason}");
    writer.wait_for_more()?;
    let dark = lab.with_config("[mount]\\ntimeout = 3\\n", || {
        // New connections only: the one that is used goes on.
        lab.server.sh("iptables -I INPUT -p tcp --dport 22 --syn -j DROP")?;
        let dark = lab.restart(&volume);
        lab.server.sh("iptables -D INPUT -p tcp --dport 22 --syn -j DROP")?;
        dark
    })?;
    ensure!(dark.status == 1, "{dark}");
    let reason = dark.failure()?;
    ensure!(reason.contains("nothing has changed") && reason.contains("timed out"), "{reason}");
    ensure!(state()? == before, "{:?} became {:?}", before, state()?);
    writer.wait_for_more()?;
    writer.finish()?;
    println!("fault-count: restarts_refused=2 writes_lost=0");
    lab.wait_until_nothing_is_left(&volume)
}

fn a_restart_killed_at_any_moment_leaves_a_volume_that_works(lab: &Lab) -> Result<()> {
    let volume = lab.volume("cut-off")?;
    let writer = Writer::start(lab, &volume)?;
    let other = volume.hold("cut-off-user")?;
    let mut killed = 0;
    for delay in (1..=24).map(|step| step * 25) {
        let output = lab.host.try_sh(&format!(
            "timeout --signal KILL 0.{delay:03} sshfs-docker restart cut-off || [ $? = 137 ] && echo ended"
        ))?;
        killed += u32::from(!output.stdout.contains("has the fresh mount"));
        // A file of its own each time: two sshfs of one directory know of each other's changes after a while.
        other.exec(&format!("echo works > /d/other-{delay}; grep -q works /d/other-{delay}"))?;
        ensure!(volume.run(&format!("cat /d/other-{delay}"))? == "works");
    }
    writer.wait_for_more()?;
    let outcome = lab.restart_json(&volume)?;
    ensure!(lab.devices(&volume)?.len() == 1, "{:?}, {outcome}", lab.devices(&volume)?);
    lab.server.sh("rm /srv/cut-off/other-*")?;
    writer.finish()?;
    poll::until_true("one sshfs to be left", SOON, || Ok(lab.units(&volume)?.len() == 1))?;
    println!("fault-count: restarts_killed={killed} writes_lost=0");
    other.remove()?;
    // A number of a connection that is given away again at once may have started a healing, which found nothing to do.
    lab.wait_until_all_is_gone(&volume)
}

/// Puts a copy of a mount beneath it, which is what a restart leaves that is killed after move_mount(2) and before umount2(2).
const HALF_WAY: &str = "
my ($path, $empty) = (shift, '');
my $copy = syscall(428, -100, $path, 0x80001);
my $old = syscall(2, $path, 0x200000, 0);
die $! if $copy < 0 || $old < 0 || syscall(429, $copy, $empty, $old, $empty, 0x244) < 0;
";

fn a_restart_killed_between_its_two_last_steps_is_cleared_away(lab: &Lab) -> Result<()> {
    let volume = lab.volume("half-way")?;
    let path = volume.mountpoint();
    let mounts = || lab.host.sh(&format!("grep -c ' {path} ' /proc/1/mountinfo || :"));
    let leave_half_way = || -> Result<()> {
        lab.host.put("/var/tmp/half-way", HALF_WAY.as_bytes())?;
        lab.host.sh(&format!("perl /var/tmp/half-way {path}"))?;
        ensure!(mounts()? == "2", "nothing is beneath");
        Ok(())
    };
    let writer = Writer::start(lab, &volume)?;
    leave_half_way()?;
    ensure!(volume.run("ls /d/stream")? == "/d/stream");
    let outcome = lab.restart_json(&volume)?;
    ensure!(mounts()? == "1" && lab.devices(&volume)?.len() == 1, "{outcome}");
    ensure!(volume.run("ls /d/stream")? == "/d/stream");
    writer.finish()?;
    lab.wait_until_nothing_is_left(&volume)?;
    let container = volume.hold("half-way-user")?;
    leave_half_way()?;
    container.remove()?;
    println!("fault-count: restarts_killed=2 writes_lost=0");
    lab.wait_until_nothing_is_left(&volume)
}

fn a_container_that_cannot_be_changed_keeps_its_mount_and_is_named(lab: &Lab) -> Result<()> {
    let (outer, inner) = (lab.volume("around")?, lab.volume("within")?);
    let nested = outer.start("around-nested", "-v within:/d/within", IDLE)?;
    let plain = outer.hold("around-plain")?;
    let output = lab.restart(&outer)?;
    let id = nested.docker("inspect --format '{{.Id}}'")?[..12].to_owned();
    let kept =
        |line: &&str| line.contains(&id) && line.contains("keeps the old mount: other mounts lie inside");
    ensure!(output.status == 1 && output.stdout.lines().any(|line| kept(&line)), "{output}");
    for container in [&nested, &plain] {
        container.exec("echo works > /d/file")?;
    }
    ensure!(lab.units(&outer)?.len() == 2, "{:?}", lab.units(&outer)?);
    // A healing of the new one finds that the old one works.
    lab.host.sh("systemctl kill --signal KILL sshfs-docker-mount-around:2.service")?;
    poll::until_true("the healing", SOON, || Ok(plain.try_exec("echo healed > /d/file")?.ok()))?;
    poll::until_true("the healing to end", SOON, || {
        Ok(lab.state("sshfs-docker-heal@around.service")? == "inactive")
    })?;
    nested.exec("echo works > /d/file")?;
    let status = lab.docker("volume inspect --format '{{json .Status}}' around")?;
    ensure!(!status.contains("unhealed"), "{status}");
    drop((nested, plain));
    drop(inner);
    outer.wait_until_unmounted()?;
    poll::until_true("all units to end", SOON, || Ok(lab.units(&outer)?.is_empty()))
}

fn a_file_open_on_the_host_outlives_its_mount_and_keeps_the_volume(lab: &Lab) -> Result<()> {
    let volume = lab.volume("on-host")?;
    let container = volume.hold("on-host-user")?;
    container.exec("echo content > /d/file")?;
    let path = volume.mountpoint();
    lab.host.sh(&format!(
        "systemd-run --quiet --unit reader sh -c 'exec 3< {path}/file; until [ -e /run/read ]; do sleep 0.1; done; cat <&3 > /run/read'
         until ls -l /proc/$(systemctl show --value --property MainPID reader)/fd/3; do sleep 0.1; done"
    ))?;
    let said = lab.restart(&volume)?.success()?;
    ensure!(said.contains(&format!("has {path}/file open")), "{said}");
    container.remove()?;
    poll::until_true("the fresh mount to go", SOON, || {
        Ok(lab.mountinfo(&path)?.is_none() && lab.units(&volume)? == [volume.unit()])
    })?;
    let refused = volume.remove()?.failure()?;
    ensure!(refused.contains("since before a restart") && refused.contains(&volume.unit()), "{refused}");
    // Another mount takes another name.
    ensure!(volume.run("cat /d/file")? == "content");
    ensure!(lab.host.sh("touch /run/read; while systemctl -q is-active reader; do sleep 0.1; done; cat /run/read; rm /run/read")? == "content");
    lab.wait_until_nothing_is_left(&volume)?;
    volume.remove()?.success().map(drop)
}

fn a_dead_mount_is_replaced_as_healing_does(lab: &Lab) -> Result<()> {
    let volume = lab.volume("dead-one")?;
    let container = volume.hold("dead-one-user")?;
    lab.host.sh("systemctl mask --runtime sshfs-docker-heal@dead-one.service")?;
    lab.host.sh(&format!("systemctl kill --signal KILL {}", volume.unit()))?;
    let restarted = poll::until_true("it to die", SOON, || Ok(!container.try_exec("ls /d")?.ok()))
        .and_then(|()| lab.restart(&volume));
    lab.host.sh("systemctl unmask --runtime sshfs-docker-heal@dead-one.service")?;
    let said = restarted?.success()?;
    ensure!(said.contains("has the fresh mount"), "{said}");
    container.exec("echo back > /d/file")?;
    container.remove()?;
    lab.wait_until_nothing_is_left(&volume)
}

fn what_cannot_be_restarted_is_said(lab: &Lab) -> Result<()> {
    let volume = lab.volume("at-rest")?;
    let said = lab.restart(&volume)?.success()?;
    ensure!(said.contains("is not mounted: nothing to do"), "{said}");
    ensure!(lab.restart_json(&volume)?["restarted"] == false);
    let unknown = lab.host.try_sh("sshfs-docker restart no-such-volume")?;
    ensure!(unknown.status == 1 && unknown.stderr.contains("there is no such volume"), "{unknown}");
    ensure!(!lab.host.try_sh("test -e /run/sshfs-docker/locks/no-such-volume")?.ok(), "a lock is left");
    let user = lab.host.try_sh("setpriv --reuid 4711 --clear-groups sshfs-docker restart at-rest")?;
    ensure!(user.status == 1 && user.stderr.contains("only root"), "{user}");
    let error: Value =
        serde_json::from_str(&lab.host.try_sh("sshfs-docker restart --json no-such-volume")?.stdout)?;
    ensure!(error["error"] == "volume no-such-volume: there is no such volume", "{error}");
    // A shell with a mount namespace of its own.
    let container = volume.hold("at-rest-user")?;
    let said = lab.host.sh("unshare --mount --propagation private sshfs-docker restart at-rest")?;
    ensure!(said.contains("has the fresh mount") && lab.devices(&volume)?.len() == 1, "{said}");
    container.exec("echo works > /d/file")?;
    container.remove()?;
    lab.wait_until_nothing_is_left(&volume)
}
