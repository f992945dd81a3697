//! One guest: a Debian host with systemd as PID 1, on an overlay over its release's root file system.
//!
//! What it writes lands on the tmpfs of the run and survives a power cut, as a disk would.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cgroup::Cgroup;
use super::command::{Init, Output};
use super::release::Release;
use super::roots::Root;
use super::{dirs, network, poll};

/// A boot takes one or two seconds; a machine that is busy with something else is allowed more.
const BOOT: Duration = Duration::from_secs(60);

/// systemd itself gives up on a service that does not stop after 90 s; nothing here may take that long.
const SHUTDOWN: Duration = Duration::from_secs(45);

/// Directories that overlayfs cannot hold, because Docker and podman themselves stack overlays in them.
const REAL_DIRECTORIES: [&str; 3] = ["/var/lib/docker", "/var/lib/containerd", "/var/lib/containers"];

/// Runs early in each boot and makes the guest what a real host is: writable cgroup controllers (nspawn
/// mounts those of version 1 read-only), the control files of FUSE, host keys of its own, and a network.
const HOST_SETUP: &str = "#!/bin/sh
awk '$3 == \"cgroup\" { print $2 }' /proc/mounts | while read -r dir; do mount -o remount,bind,rw \"$dir\"; done
mkdir -p /sys/fs/fuse/connections && mount -t fusectl fusectl /sys/fs/fuse/connections
ssh-keygen -A
ip address add ADDRESS/24 dev host0 && ip link set host0 up
";

const HOST_SETUP_UNIT: &str = "[Unit]
Description=What nspawn leaves out of a host
DefaultDependencies=no
After=local-fs.target
Before=sysinit.target network.target network-online.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/lab-host-setup
[Install]
WantedBy=sysinit.target
";

/// Name, address and release of a guest.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Host name.
    pub name: &'static str,
    /// Address in the lab's network.
    pub address: &'static str,
    /// What it boots from.
    pub root: Root,
    /// Units that must not start here.
    pub masked: &'static [&'static str],
}

/// A guest, booted or not.
#[derive(Debug)]
pub struct Guest {
    identity: Identity,
    directory: PathBuf,
    cgroup: Cgroup,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    nspawn: Child,
    init: Init,
}

impl Guest {
    /// Lays out a fresh disk and boots from it.
    pub fn start(identity: Identity) -> Result<Self> {
        let directory = dirs::run().join(identity.name);
        let cgroup = Cgroup::create(identity.name)?;
        let guest = Self { identity, directory, cgroup, running: Mutex::new(None) };
        guest.lay_out_disk().with_context(|| format!("disk of {}", identity.name))?;
        guest.boot()?;
        Ok(guest)
    }

    /// Boots, and waits until systemd has started everything.
    pub fn boot(&self) -> Result<()> {
        let mut nspawn = self.spawn()?;
        let booted = self.wait_for_boot(&mut nspawn);
        let log = || fs::read_to_string(self.console()).unwrap_or_default();
        let init = match booted {
            Ok(init) => init,
            Err(error) => {
                nspawn.kill()?;
                nspawn.wait()?;
                return Err(error)
                    .with_context(|| format!("{} did not boot:\n{}", self.identity.name, tail(&log())));
            }
        };
        *self.running() = Some(Running { nspawn, init });
        Ok(())
    }

    /// Host name.
    pub const fn name(&self) -> &'static str {
        self.identity.name
    }

    /// What it runs.
    pub const fn release(&self) -> Release {
        self.identity.root.release
    }

    /// Runs a script that must work; the answer is its standard output.
    pub fn sh(&self, script: &str) -> Result<String> {
        self.init()?.sh(script).with_context(|| format!("on {}", self.identity.name))
    }

    /// The same for one that may take longer than usual.
    pub fn sh_within(&self, script: &str, limit: Duration) -> Result<String> {
        self.init()?
            .shell(script, &[], limit)?
            .success()
            .with_context(|| format!("on {}", self.identity.name))
    }

    /// Runs a script, whatever comes of it.
    pub fn try_sh(&self, script: &str) -> Result<Output> {
        self.init()?.try_sh(script)
    }

    /// The same for one that may take longer than usual.
    pub fn try_sh_within(&self, script: &str, limit: Duration) -> Result<Output> {
        self.init()?.shell(script, &[], limit)
    }

    /// Writes a file, readable by root alone.
    pub fn put(&self, path: &str, content: &[u8]) -> Result<()> {
        self.init()?.put(path, content)
    }

    /// Copies a file of the machine into the guest.
    pub fn copy_in(&self, from: &Path, to: &str) -> Result<()> {
        self.init()?.copy_in(from, to)
    }

    /// A path of the guest as this program can open it. It ends with the boot.
    pub fn path(&self, inside: &str) -> Result<PathBuf> {
        Ok(PathBuf::from(format!("/proc/{}/root{inside}", self.init()?.0)))
    }

    /// What its PID 1 sees mounted.
    pub fn mountinfo(&self) -> Result<PathBuf> {
        Ok(PathBuf::from(format!("/proc/{}/mountinfo", self.init()?.0)))
    }

    /// Shuts down in good order.
    pub fn shut_down(&self) -> Result<()> {
        let Some(mut running) = self.running().take() else { return Ok(()) };
        // nspawn passes it on as the request to power off.
        kill(pid_of(&running.nspawn)?, Signal::SIGTERM)?;
        let off = poll::until(&format!("{} to shut down", self.identity.name), SHUTDOWN, || {
            Ok(running.nspawn.try_wait()?)
        });
        if off.is_err() {
            running.cut_power()?;
        }
        off.with_context(|| tail(&fs::read_to_string(self.console()).unwrap_or_default())).map(drop)
    }

    /// Stops at once, as if the plug were pulled.
    pub fn cut_power(&self) -> Result<()> {
        let Some(mut running) = self.running().take() else { return Ok(()) };
        let cut = running.cut_power();
        network::unplug(self.identity.name);
        cut
    }

    /// What systemd has said on the console, at all boots.
    pub fn console_log(&self) -> Result<String> {
        let log = fs::read(self.console()).context("the console's log")?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    }

    fn init(&self) -> Result<Init> {
        let running = self.running();
        running.as_ref().map(|running| running.init).with_context(|| format!("{} is off", self.identity.name))
    }

    /// A case that panicked while it held the lock left nothing half done.
    fn running(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn console(&self) -> PathBuf {
        self.directory.join("console.log")
    }

    fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    fn lay_out_disk(&self) -> Result<()> {
        let part = |name: &str| -> Result<PathBuf> {
            let path = self.directory.join(name);
            fs::create_dir_all(&path)?;
            Ok(path)
        };
        let (upper, work, root) = (part("upper")?, part("work")?, part("root")?);
        let lower = self.identity.root.path();
        let options =
            format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
        for directory in REAL_DIRECTORIES {
            fs::create_dir_all(self.real_directory(directory))?;
        }
        self.configure(&root)
    }

    fn configure(&self, root: &Path) -> Result<()> {
        let Identity { name, address, masked, .. } = self.identity;
        fs::write(root.join("etc/hostname"), format!("{name}\n"))?;
        fs::write(
            root.join("etc/hosts"),
            format!(
                "127.0.0.1 localhost\n{} dockerhost\n{} storage\n{} worker\n",
                network::DOCKER_HOST,
                network::SSH_SERVER,
                network::WORKER
            ),
        )?;
        // No name server: what /etc/hosts does not know fails to resolve, at once.
        fs::write(root.join("etc/resolv.conf"), "")?;
        let setup = root.join("usr/local/sbin/lab-host-setup");
        fs::write(&setup, HOST_SETUP.replace("ADDRESS", address))?;
        fs::set_permissions(&setup, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        fs::write(root.join("etc/systemd/system/lab-host-setup.service"), HOST_SETUP_UNIT)?;
        systemctl(root, &["enable", "lab-host-setup.service"])?;
        masked.iter().try_for_each(|unit| systemctl(root, &["mask", unit]))
    }

    fn real_directory(&self, inside: &str) -> PathBuf {
        self.directory.join("real").join(inside.trim_start_matches('/'))
    }

    fn spawn(&self) -> Result<Child> {
        let console = File::options().create(true).append(true).open(self.console())?;
        let mut command = Command::new("sh");
        // A shell of one line moves itself into the guest's cgroups before it becomes nspawn.
        command
            .args(["-euc", "while [ $1 != -- ]; do echo 0 > $1; shift; done; shift; exec \"$@\"", "sh"])
            .args(self.cgroup.entrances())
            .args(["--", "systemd-nspawn", "--boot", "--register=no", "--keep-unit", "--console=read-only"])
            .args(["--resolv-conf=off", "--timezone=off", "--link-journal=no", "--capability=all"])
            .arg("--system-call-filter=@keyring bpf add_key keyctl request_key")
            .arg("--bind=/dev/fuse")
            .arg(format!("--network-bridge={}", network::BRIDGE))
            .arg(format!("--machine={}", self.identity.name))
            .arg("--directory")
            .arg(self.root());
        for inside in REAL_DIRECTORIES {
            command.arg(format!("--bind={}:{inside}", self.real_directory(inside).display()));
        }
        // Docker's own system call filters need nspawn's out of the way, and /sys writable for read-ahead.
        command.env("SYSTEMD_SECCOMP", "0").env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "1");
        if self.release().needs_unified_cgroups() {
            command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
        }
        command
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console)
            .spawn()
            .context("systemd-nspawn")
    }

    fn wait_for_boot(&self, nspawn: &mut Child) -> Result<Init> {
        poll::until(&format!("{} to boot", self.identity.name), BOOT, || {
            // No use in waiting for one that has ended; `Some(None)` ends the wait.
            if nspawn.try_wait()?.is_some() {
                return Ok(Some(None));
            }
            let Some(init) = find_init(nspawn.id())? else { return Ok(None) };
            // "degraded" where a unit failed that has nothing to do here, such as the loading of modules.
            let state = init.try_sh("systemctl is-system-running || true")?.stdout;
            Ok(matches!(state.as_str(), "running" | "degraded").then_some(Some(init)))
        })?
        .context("systemd-nspawn ended")
    }
}

impl Drop for Guest {
    /// The namespace would end it too; done here so that its cgroups are free.
    fn drop(&mut self) {
        if let Err(error) = self.cut_power() {
            eprintln!("{}: {error:#}", self.identity.name);
        }
    }
}

impl Running {
    fn cut_power(&mut self) -> Result<()> {
        self.nspawn.kill()?;
        // Already gone when nspawn took it along.
        let _ = kill(Pid::from_raw(self.init.0), Signal::SIGKILL);
        self.nspawn.wait()?;
        poll::until_true("the guest's processes to end", Duration::from_secs(20), || Ok(!is_alive(self.init)))
    }
}

fn pid_of(child: &Child) -> Result<Pid> {
    Ok(Pid::from_raw(i32::try_from(child.id())?))
}

/// PID 1 of the guest among the children of nspawn, which has a short-lived helper beside it at first.
fn find_init(nspawn: u32) -> Result<Option<Init>> {
    let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children"))?;
    for pid in children.split_whitespace() {
        if fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "systemd") {
            return Ok(Some(Init(pid.parse()?)));
        }
    }
    Ok(None)
}

/// A zombie counts as dead: its namespaces, mounts and memory are gone, and this program is the PID 1 that
/// would have to bury it.
fn is_alive(init: Init) -> bool {
    fs::read_to_string(format!("/proc/{}/stat", init.0))
        .is_ok_and(|stat| !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
}

fn systemctl(root: &Path, arguments: &[&str]) -> Result<()> {
    let status = Command::new("chroot")
        .arg(root)
        .arg("systemctl")
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    ensure!(status.success(), "systemctl {}: {status}", arguments.join(" "));
    Ok(())
}

/// The end of a log, which is where the reason is.
fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
