//! A server that is dark: packets vanish, or its processes stand still. No access blocks for longer than the bound that
//! README promises, and accesses work again soon after it is back.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::lab::{Container, Lab, Release, poll};

crate::cases![
    fifty_processes_on_a_dark_server_fail_within_60_s_and_work_5_s_after_its_return,
    a_hard_mount_waits_for_a_dark_server_and_goes_on,
];

/// README, "Good to know".
const BOUND: Duration = Duration::from_secs(60);
const BACK: Duration = Duration::from_secs(5);

impl Lab {
    /// Makes the server dark in the way of the pairing: one drops packets, the other accepts and never answers.
    fn darken(&self) -> Result<()> {
        self.server.sh(match self.host.release() {
            Release::Bookworm => DROP_PACKETS,
            Release::Trixie | Release::Forky => STOP_PROCESSES,
        })?;
        Ok(())
    }

    /// Does something while the server is dark.
    fn in_darkness<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.darken()?;
        let done = work();
        self.light()?;
        done
    }

    fn light(&self) -> Result<()> {
        self.server.sh(match self.host.release() {
            Release::Bookworm => {
                "iptables -D INPUT -p tcp --dport 22 -j DROP; iptables -D OUTPUT -p tcp --sport 22 -j DROP"
            }
            Release::Trixie | Release::Forky => "pkill -CONT sshd",
        })?;
        Ok(())
    }
}

const DROP_PACKETS: &str =
    "iptables -I INPUT -p tcp --dport 22 -j DROP; iptables -I OUTPUT -p tcp --sport 22 -j DROP";
/// The processes of a session and the listener; the kernel still accepts connections.
const STOP_PROCESSES: &str = "pkill -STOP sshd";

/// Accesses the volume with fifty processes at once, each in its own directory. Returns the result and the duration of
/// each.
fn fifty_accesses(container: &Container) -> Result<Vec<(bool, Duration)>> {
    let script = r#"
        now() { read -r up rest < /proc/uptime; echo "${up%.*}${up#*.}0"; }
        for i in $(seq 50); do
            (begin=$(now); status=0; ls /d/dir$i > /dev/null 2>&1 || status=$?; echo "$status $(($(now) - begin))") &
        done
        wait"#;
    let output = container.exec_within(script, BOUND * 3)?;
    let parse = |line: &str| -> Option<(bool, Duration)> {
        let (status, took) = line.split_once(' ')?;
        Some((status == "0", Duration::from_millis(took.parse().ok()?)))
    };
    let accesses: Vec<_> = output.lines().filter_map(parse).collect();
    ensure!(accesses.len() == 50, "not fifty results: {output}");
    Ok(accesses)
}

fn longest(accesses: &[(bool, Duration)]) -> Duration {
    accesses.iter().map(|(_, took)| *took).max().unwrap_or_default()
}

fn fifty_processes_on_a_dark_server_fail_within_60_s_and_work_5_s_after_its_return(lab: &Lab) -> Result<()> {
    // What sshfs has in its cache needs no server.
    let directory = lab.server.export("dark", "alice")?;
    let volume = lab.volume_on("dark", &directory, "-o dir_cache=no")?;
    lab.server.sh("cd /srv/dark; for i in $(seq 50); do mkdir dir$i; done; chown -R alice .")?;
    let container = volume.hold("dark-user")?;
    ensure!(fifty_accesses(&container)?.iter().all(|(worked, _)| *worked), "they work before");
    // What the kernel has in its cache, for a second, needs none either.
    lab.host.sh("sleep 1.5")?;
    let (first, second, others) = lab.in_darkness(|| {
        Ok((fifty_accesses(&container)?, fifty_accesses(&container)?, lab.try_docker("volume ls")?))
    })?;
    let back = Instant::now();
    poll::until_true("accesses to work again", Duration::from_secs(60), || {
        Ok(container.try_exec("ls /d/dir1")?.ok())
    })?;
    let back = back.elapsed();
    println!(
        "fault-count: accesses_to_a_dark_server=100 dark_server_first_access_ms={} dark_server_later_access_ms={} access_after_its_return_ms={}",
        longest(&first).as_millis(),
        longest(&second).as_millis(),
        back.as_millis()
    );
    ensure!(first.iter().chain(&second).all(|(worked, _)| !worked), "some worked without a server");
    ensure!(
        longest(&first) < BOUND && longest(&second) < BOUND,
        "{:?}, {:?}",
        longest(&first),
        longest(&second)
    );
    ensure!(others.ok() && others.took < Duration::from_secs(2), "{others}");
    ensure!(back < BACK, "worked again only after {back:?}");
    container.remove()?;
    volume.wait_until_unmounted()
}

fn a_hard_mount_waits_for_a_dark_server_and_goes_on(lab: &Lab) -> Result<()> {
    let directory = lab.server.export("hard", "alice")?;
    let volume = lab.volume_on("hard", &directory, "-o hard=")?;
    lab.server.sh("echo patience > /srv/hard/file")?;
    let container = volume.hold("hard-user")?;
    let read = thread::scope(|scope| {
        let reading = lab.in_darkness(|| {
            // The connection is gone, and every new one fails.
            lab.host.sh("pkill -KILL -x ssh")?;
            let reading = scope.spawn(|| container.exec_within("cat /d/file", BOUND * 2));
            // Longer than one attempt to connect.
            thread::sleep(Duration::from_secs(12));
            ensure!(!reading.is_finished(), "it did not wait");
            Ok(reading)
        })?;
        reading.join().ok().context("the reading thread")?
    })?;
    ensure!(read == "patience", "{read}");
    container.remove()?;
    volume.wait_until_unmounted()
}
