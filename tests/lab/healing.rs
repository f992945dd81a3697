//! sshfs dies under running containers: they get a fresh mount, without a restart and without a moment in which a write
//! could land anywhere but on the server.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::lab::docker::{IMAGE, quote};
use crate::lab::driver::SERVICE;
use crate::lab::volume::IDLE;
use crate::lab::{Container, Lab, Volume, poll};

crate::cases![
    sshfs_killed_is_replaced_within_5_s_under_every_kind_of_container,
    the_whole_unit_killed_is_replaced_too,
    an_aborted_connection_is_replaced_too,
    no_write_lands_elsewhere_while_sshfs_is_killed_again_and_again,
    a_container_in_a_user_namespace_is_healed_too,
    a_death_while_the_healing_ends_is_healed_too,
    healing_needs_no_daemon,
    a_volume_inside_of_the_volume_is_not_lost_and_the_container_is_named,
    a_forged_mount_of_another_user_gets_nothing,
    a_server_out_of_reach_is_waited_for,
    a_loop_of_failures_ends_in_a_clear_state_and_the_next_run_heals_all,
];

/// The promise.
const HEALED: Duration = Duration::from_secs(5);

impl Lab {
    /// Kills the sshfs of a volume, and nothing else of its unit.
    fn kill_sshfs(&self, volume: &Volume) -> Result<()> {
        let pid = self.sshfs(volume)?;
        self.host.sh(&format!("kill -9 {pid}")).map(drop)
    }

    fn sshfs(&self, volume: &Volume) -> Result<u32> {
        let source = format!("^sshfs .*:{} ", volume.directory);
        self.host.sh(&format!("pgrep -f {}", quote(&source)))?.trim().parse().context("one sshfs")
    }
}

/// Waits until a command works in a container, and returns how long that took since `begin`.
fn healed(container: &Container, script: &str, begin: Instant) -> Result<Duration> {
    poll::until_true(
        &format!("{} to have its volume back", container.name()),
        Duration::from_secs(30),
        || Ok(container.try_exec(script)?.ok()),
    )?;
    Ok(begin.elapsed())
}

fn sshfs_killed_is_replaced_within_5_s_under_every_kind_of_container(lab: &Lab) -> Result<()> {
    let volume = lab.volume("healed")?;
    lab.server.sh("chmod 777 /srv/healed; install -d -o alice -g alice -m 777 /srv/healed/sub; echo in sub > /srv/healed/sub/file")?;
    let plain = volume.hold("healed-plain")?;
    let bare = volume.start("healed-bare", "--cap-drop ALL --read-only --user 1000:1000", IDLE)?;
    let read_only = volume.start("healed-ro", "-v healed:/ro:ro", IDLE)?;
    let subpath = (lab.host.release().knows_subpaths())
        .then(|| {
            volume.start(
                "healed-sub",
                "--mount type=volume,source=healed,target=/sub,volume-subpath=sub",
                IDLE,
            )
        })
        .transpose()?;
    plain.exec("echo before > /d/file")?;
    let begin = Instant::now();
    lab.kill_sshfs(&volume)?;
    let mut took = vec![
        healed(&plain, "echo plain > /d/plain", begin)?,
        healed(&bare, "echo bare > /d/bare", begin)?,
        healed(&read_only, "grep -q before /ro/file && echo both > /d/both", begin)?,
    ];
    if let Some(subpath) = &subpath {
        took.push(healed(subpath, "grep -q 'in sub' /sub/file && echo more > /sub/more", begin)?);
        ensure!(!subpath.try_exec("ls /sub/sub")?.ok(), "it sees more than its part");
    }
    ensure!(!read_only.try_exec("echo no > /ro/no")?.ok(), "a read-only volume became writable");
    ensure!(
        lab.server.sh("cat /srv/healed/file /srv/healed/plain /srv/healed/bare /srv/healed/both")?
            == "before\nplain\nbare\nboth"
    );
    for container in [&plain, &bare, &read_only] {
        let mounts = container.exec("grep -c ' /d ' /proc/self/mountinfo")?;
        ensure!(mounts == "1", "the dead mount is still there: {mounts}");
    }
    let count = took.len();
    let slowest = took.into_iter().max().context("containers")?;
    println!("fault-count: containers_healed={count} healing_ms={}", slowest.as_millis());
    ensure!(slowest < HEALED, "healed after {slowest:?}");
    drop((plain, bare, read_only, subpath));
    volume.wait_until_unmounted()
}

fn the_whole_unit_killed_is_replaced_too(lab: &Lab) -> Result<()> {
    // With a flag that the fresh mount must have too, and that needs more than setting a bit.
    let directory = lab.server.export("unit-killed", "alice")?;
    let volume = lab.volume_on("unit-killed", &directory, "-o noatime=")?;
    let container = volume.hold("unit-killed-user")?;
    let begin = Instant::now();
    lab.host.sh(&format!("systemctl kill --signal KILL {}", volume.unit()))?;
    let took = healed(&container, "echo back > /d/file", begin)?;
    ensure!(took < HEALED, "healed after {took:?}");
    container.exec("grep ' /d ' /proc/self/mountinfo | grep -q noatime")?;
    container.remove()?;
    volume.wait_until_unmounted()
}

fn an_aborted_connection_is_replaced_too(lab: &Lab) -> Result<()> {
    let volume = lab.volume("aborted")?;
    let container = volume.hold("aborted-user")?;
    let line = lab.mountinfo(&volume.mountpoint())?.context("mounted")?;
    let connection = line.split([' ', ':']).nth(3).context("a device number")?;
    let begin = Instant::now();
    lab.host.sh(&format!("echo 1 > /sys/fs/fuse/connections/{connection}/abort"))?;
    let took = healed(&container, "echo back > /d/file", begin)?;
    ensure!(took < HEALED, "healed after {took:?}");
    container.remove()?;
    volume.wait_until_unmounted()
}

/// Writes one file after the other and prints the names of those that were acknowledged.
const DIARY: &str = "
i=0
until [ -e /stop ]; do
    i=$((i + 1))
    if echo $i 2>/dev/null > /d/$i; then echo $i; fi
done
";

fn no_write_lands_elsewhere_while_sshfs_is_killed_again_and_again(lab: &Lab) -> Result<()> {
    let volume = lab.volume("diary")?;
    let container = volume.start("diary-user", "", DIARY)?;
    for _ in 0..3 {
        container.exec("until echo x > /d/probe; do :; done")?;
        lab.kill_sshfs(&volume)?;
        healed(&container, "echo x > /d/probe", Instant::now())?;
    }
    container.exec("touch /stop")?;
    ensure!(container.docker("wait")? == "0");
    let acknowledged = container.docker("logs")?;
    let changed = container.docker("diff")?;
    ensure!(
        !changed.lines().any(|line| line.contains(" /d/")),
        "written into the container's layer: {changed}"
    );
    let on_server = lab.server.sh("cd /srv/diary; ls")?;
    let mut lost = 0;
    for name in acknowledged.lines() {
        lost += u32::from(!on_server.lines().any(|file| file == name));
    }
    println!(
        "fault-count: sshfs_killed=3 writes_checked={} writes_lost={lost}",
        acknowledged.lines().count()
    );
    ensure!(lost == 0 && acknowledged.lines().count() > 10, "{lost} lost of {acknowledged}");
    container.remove()?;
    volume.wait_until_unmounted()
}

fn a_container_in_a_user_namespace_is_healed_too(lab: &Lab) -> Result<()> {
    let volume = lab.volume("userns")?;
    lab.server.sh("chmod 777 /srv/userns")?;
    lab.with_docker_settings(r#"{"userns-remap": "default"}"#, || {
        let container = volume.hold("userns-user")?;
        ensure!(
            !container.exec("cat /proc/self/uid_map")?.starts_with("         0          0 "),
            "no user namespace"
        );
        let begin = Instant::now();
        lab.kill_sshfs(&volume)?;
        let took = healed(&container, "echo back > /d/file", begin)?;
        ensure!(took < HEALED, "healed after {took:?}");
        container.remove()
    })?;
    volume.wait_until_unmounted()
}

fn a_death_while_the_healing_ends_is_healed_too(lab: &Lab) -> Result<()> {
    let volume = lab.volume("twice")?;
    let container = volume.hold("twice-user")?;
    // Between the end of the program and that of its unit, once.
    let directory = "/run/systemd/system/sshfs-docker-heal@twice.service.d";
    lab.host.sh(&format!(
        "mkdir -p {directory}
         printf '[Service]\\nExecStop=/bin/sh -c \"[ -e /run/twice ] || pkill -9 -x sshfs; touch /run/twice; sleep 0.3\"\\n' \
             > {directory}/kill.conf
         systemctl daemon-reload"
    ))?;
    let begin = Instant::now();
    lab.kill_sshfs(&volume)?;
    let healed = poll::until_true("the second death", Duration::from_secs(20), || {
        Ok(lab.host.try_sh("test -e /run/twice")?.ok())
    })
    .and_then(|()| healed(&container, "echo back > /d/file", begin));
    lab.host.sh(&format!("rm -rf {directory} /run/twice; systemctl daemon-reload"))?;
    println!("fault-count: sshfs_killed=2 healing_ms={}", healed?.as_millis());
    container.remove()?;
    volume.wait_until_unmounted()
}

fn healing_needs_no_daemon(lab: &Lab) -> Result<()> {
    let volume = lab.volume("alone")?;
    let container = volume.hold("alone-user")?;
    let deaf = lab.deafen()?;
    let begin = Instant::now();
    lab.kill_sshfs(&volume)?;
    let took = healed(&container, "echo back > /d/file", begin)?;
    ensure!(lab.state(SERVICE)? == "inactive", "the daemon was running");
    drop(deaf);
    ensure!(took < HEALED, "healed after {took:?}");
    container.remove()?;
    volume.wait_until_unmounted()
}

fn a_volume_inside_of_the_volume_is_not_lost_and_the_container_is_named(lab: &Lab) -> Result<()> {
    let (outer, inner) = (lab.volume("outer")?, lab.volume("inner")?);
    let container = outer.start("nested-user", "-v inner:/d/inner", IDLE)?;
    lab.kill_sshfs(&outer)?;
    let status = poll::until("the container to be named", Duration::from_secs(20), || {
        let status = lab.docker("volume inspect --format '{{json .Status}}' outer")?;
        Ok(status.contains("unhealed").then_some(status))
    })?;
    let id = container.docker("inspect --format '{{.Id}}'")?;
    ensure!(status.contains(&id[..12]) && status.contains("other mounts lie inside"), "{status}");
    let log = lab.host.sh("journalctl --no-pager --unit sshfs-docker-heal@outer.service")?;
    ensure!(log.contains(&id[..12]), "not in the log: {log}");
    ensure!(!container.try_exec("echo x > /d/x")?.ok(), "written somewhere");
    drop(container);
    drop(inner);
    outer.wait_until_swept()
}

/// On every distribution's host /dev/fuse is for all users. One of them mounts FUSE in a user namespace of his own and calls it a mount of the volume.
const FORGERY: &str = "
rm -f /var/tmp/fuse; mknod -m 666 /var/tmp/fuse c 10 229
setpriv --reuid 4711 --regid 4711 --clear-groups unshare --user --map-root-user --mount sh -c '
    exec 3<>/var/tmp/fuse
    LIBMOUNT_FORCE_MOUNT2=always mount -i -t fuse.sshfs -o fd=3,rootmode=40000,user_id=0,group_id=0 coveted=alice@x:/ /mnt
    exec sleep 600' > /tmp/forgery.log 2>&1 &
for i in $(seq 100); do grep -ls ' /mnt .* fuse.sshfs coveted=' /proc/[0-9]*/mountinfo && exit; sleep 0.1; done
cat /tmp/forgery.log; exit 1";

fn a_forged_mount_of_another_user_gets_nothing(lab: &Lab) -> Result<()> {
    let volume = lab.volume("coveted")?;
    lab.server.sh("chmod 777 /srv/coveted")?;
    let container = volume.hold("coveted-user")?;
    let mountinfo = lab.host.sh(FORGERY)?;
    let forger = mountinfo.split('/').nth(2).context("the forger")?.to_owned();
    lab.kill_sshfs(&volume)?;
    healed(&container, "echo secret > /d/file", Instant::now())?;
    poll::until_true("the healing to end", Duration::from_secs(20), || {
        Ok(lab.state("sshfs-docker-heal@coveted.service")? == "inactive")
    })?;
    let live = lab.mountinfo(&volume.mountpoint())?.context("mounted")?;
    let device = live.split(' ').nth(2).context("a device")?;
    let seen = lab.host.sh(&format!("cat /proc/{forger}/mountinfo"));
    lab.host.sh(&format!("kill -9 {forger}"))?;
    let at_his_place = |line: &&str| line.split(' ').nth(4) == Some("/mnt");
    let there: Vec<_> = seen.as_deref().unwrap_or_default().lines().filter(at_his_place).collect();
    ensure!(there.len() == 1, "not his mount alone: {there:?}");
    ensure!(there[0].split(' ').nth(2) != Some(device), "he was given the volume: {there:?}");
    container.remove()?;
    volume.wait_until_unmounted()
}

fn a_server_out_of_reach_is_waited_for(lab: &Lab) -> Result<()> {
    let volume = lab.volume("away")?;
    let container = volume.hold("away-user")?;
    lab.server.sh("systemctl stop ssh.socket ssh.service 2>/dev/null || systemctl stop ssh.service")?;
    let killed = lab.kill_sshfs(&volume);
    let waiting = poll::until_true("the healing to wait", Duration::from_secs(20), || {
        Ok(lab.docker("volume inspect --format '{{json .Status}}' away")?.contains("no fresh mount yet"))
    });
    lab.server.sh("systemctl start ssh.service")?;
    killed?;
    waiting?;
    let took = healed(&container, "echo back > /d/file", Instant::now())?;
    println!("fault-count: healing_after_the_servers_return_ms={}", took.as_millis());
    container.remove()?;
    volume.wait_until_unmounted()
}

fn a_loop_of_failures_ends_in_a_clear_state_and_the_next_run_heals_all(lab: &Lab) -> Result<()> {
    let volume = lab.volume("looping")?;
    let container = volume.hold("looping-user")?;
    let healer = "sshfs-docker-heal@looping.service";
    let mut killed = 0;
    poll::until_true("the healing to give up", Duration::from_secs(90), || {
        if lab.state(healer)? == "failed" {
            return Ok(true);
        }
        // Only a mount that works can be lost; one that is killed while it is made has failed to start.
        if container.try_exec("ls /d")?.ok() {
            lab.kill_sshfs(&volume)?;
            killed += 1;
        }
        Ok(false)
    })?;
    let status = lab.docker("volume inspect --format '{{json .Status}}' looping")?;
    let id = container.docker("inspect --format '{{.Id}}'")?;
    ensure!(status.contains("given up") && status.contains(&id[..12]), "{status}");
    ensure!(!container.try_exec("ls /d")?.ok());
    // A new container gets a fresh mount, and the old one with it.
    volume.run("echo new > /d/new")?;
    healed(&container, "grep -q new /d/new", Instant::now())?;
    println!("fault-count: sshfs_killed={killed}");
    lab.host.sh(&format!("systemctl reset-failed {healer} || :"))?;
    container.remove()?;
    volume.wait_until_unmounted()?;
    let left = lab.host.sh(&format!("docker run --rm {IMAGE} true; ls /run/sshfs-docker/healing"))?;
    ensure!(left.is_empty(), "records are left: {left}");
    Ok(())
}
