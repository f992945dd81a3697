//! The command line.

use crate::{heal::graft::Graft, launcher, mount::mountinfo::Device, paths::Paths, volume::VolumeName};
use clap::{ArgGroup, Args, Parser, Subcommand};
use std::{ffi::OsString, path::PathBuf};

/// What `--help` of the program ends with.
const EXIT_CODES: &str = "\
Exit codes:
  0  done, and all is in order
  1  failed, or something that was looked at is not in order
  2  the command line is wrong

Logs: journalctl -u sshfs-docker";

/// Docker volume driver that mounts SFTP directories with sshfs
#[derive(Debug, Parser)]
#[command(name = "sshfs-docker", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The roles of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show all volumes, or all about one of them
    Status(Status),
    /// Try a mount before there is a volume: every step, how fast it is, and the command that creates the volume
    ///
    /// Makes the mount that a volume with these options would have, in the same sandbox, tells of each step, measures it and
    /// takes it away again. Neither a volume nor a host key is left behind, and nothing on the server: what is written there
    /// is one file of its own, which is removed.
    Check(Check),
    /// Change options of a volume for its next mount
    Set(Set),
    /// Mount a volume anew, with its present options and under running containers
    Restart {
        /// The volume.
        volume: VolumeName,
        /// Directories and user.
        #[command(flatten)]
        admin: Admin,
    },
    /// Look for what is wrong with this host, and say what to do about it
    #[command(after_help = DOCTOR_HELP)]
    Doctor {
        /// Directories and user.
        #[command(flatten)]
        admin: Admin,
    },
    /// Take over the volumes of the plugin vieux/sshfs, or of a fork of it
    ///
    /// Shows what becomes of each volume and changes nothing, unless --apply is given. Nothing is deleted, neither on the
    /// server nor of the plugin's.
    Import(Import),
    /// Forget the host key learnt from a server, so that the next mount accepts a new one
    ForgetHostKey {
        /// HOST, HOST:PORT or [HOST]:PORT
        host: String,
        /// Directories and user.
        #[command(flatten)]
        admin: Admin,
    },
    /// Print what is counted, in the text format of Prometheus
    Metrics {
        /// Replace this file, for the textfile collector of node_exporter
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Directories and user.
        #[command(flatten)]
        layout: Layout,
    },
    /// Answer Docker's calls; started by sshfs-docker.service
    Serve(Serve),
    /// Give running containers a fresh mount after sshfs died; started by sshfs-docker-heal@.service
    Heal {
        /// Only ask for another healing if sshfs has died again
        #[arg(long, hide = true)]
        look_again: bool,
        /// The volume.
        volume: VolumeName,
        /// Directories and user.
        #[command(flatten)]
        layout: Layout,
    },
    /// Put a fresh mount into a container
    #[command(hide = true)]
    Graft(Graft),
    /// Run sshfs in a mount unit and pass on what it says
    #[command(hide = true)]
    RunSshfs {
        /// The number of its FUSE connection.
        #[arg(long, value_name = "NUMBER")]
        connection: Option<u32>,
        /// The socket of the agent that ssh will use.
        #[arg(long, value_name = "PATH")]
        agent: Option<PathBuf>,
        /// Its own directory, where it says how it is.
        #[arg(long, value_name = "PATH")]
        directory: Option<PathBuf>,
        /// The command line of sshfs.
        #[arg(last = true, required = true)]
        argv: Vec<OsString>,
    },
    /// Run ssh for sshfs, unless it is known to fail
    #[command(hide = true)]
    Connect {
        /// Try until the server is back instead of failing.
        #[arg(long)]
        hard: bool,
        /// The arguments of ssh.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Pass on what ssh may ask of the agent of a volume; started by sshfs-docker-agent@.socket
    #[command(hide = true)]
    RelayAgent {
        /// The volume.
        volume: VolumeName,
        /// Directories.
        #[command(flatten)]
        layout: Layout,
    },
    /// Measure a mount; stops when standard input is closed
    #[command(hide = true)]
    Measure {
        /// Only ask.
        #[arg(long)]
        no_write: bool,
        /// The mountpoint.
        mountpoint: PathBuf,
    },
    /// Ask whether a mount answers; the exit code is the error number
    #[command(hide = true)]
    Probe {
        /// The device number of its file system.
        device: Device,
        /// Where it is mounted.
        mountpoint: PathBuf,
    },
}

/// Options of `serve`.
#[derive(Args, Debug)]
pub struct Serve {
    /// Listen on this path instead of the socket that systemd passes
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Directories and user.
    #[command(flatten)]
    pub layout: Layout,
}

/// Arguments of `status`.
#[derive(Args, Debug)]
#[command(after_help = "\
The exit code is 1 where a volume that is shown is unusable, dead or failing, or where containers are without a fresh mount
of it. What has failed once and works now counts as in order.")]
pub struct Status {
    /// The volume; without one, a table of all
    pub volume: Option<VolumeName>,
    /// How much of its journal to show; 0 for none
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    pub lines: u32,
    /// Directories and user.
    #[command(flatten)]
    pub admin: Admin,
}

/// Arguments of `set`.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("change").required(true).multiple(true).args(["options", "unset", "password_stdin"])))]
#[command(after_help = "\
What is mounted stays as it is until the next mount: 'sshfs-docker restart VOLUME' makes one under running containers. Docker
goes on showing the options of 'docker volume create'; 'sshfs-docker status VOLUME' shows those that count.

Examples:
  sshfs-docker set data -o uid=1000 -o gid=1000 --unset ro
  sshfs-docker set data --password-stdin < /root/password")]
pub struct Set {
    /// The volume
    pub volume: VolumeName,
    /// An option as for 'docker volume create'; those that are not named stay
    #[arg(short = 'o', long = "opt", value_name = "NAME[=VALUE]")]
    pub options: Vec<String>,
    /// An option that the volume is to have no longer
    #[arg(long, value_name = "NAME")]
    pub unset: Vec<String>,
    /// Read a password from standard input, in the place of the one there was; a terminal does not show it
    #[arg(long)]
    pub password_stdin: bool,
    /// Directories and user.
    #[command(flatten)]
    pub admin: Admin,
}

/// Options of `check`.
#[derive(Args, Debug)]
pub struct Check {
    /// The remote directory: [user@]host:[path] or sftp://[user@]host[:port]/path
    pub sshcmd: String,
    /// An option of the volume, as 'docker volume create' takes it
    #[arg(short = 'o', long = "opt", value_name = "NAME[=VALUE]")]
    pub options: Vec<String>,
    /// Read the password of the volume from standard input; a terminal does not show it
    #[arg(long)]
    pub password_stdin: bool,
    /// Write nothing to the server; then neither writing nor reading is measured
    #[arg(long)]
    pub no_write: bool,
    /// What the volume is called in the command that creates it
    #[arg(long, value_name = "VOLUME")]
    pub name: Option<VolumeName>,
    /// What every command of the administrator understands.
    #[command(flatten)]
    pub admin: Admin,
}

/// Options of `import`.
#[derive(Args, Debug)]
pub struct Import {
    /// The state file of the plugin, where it is not at the place that Docker's settings of the plugin name
    pub file: Option<PathBuf>,
    /// Create the volumes
    #[arg(long)]
    pub apply: bool,
    /// The directory that the plugin sees as /root/.ssh, where Docker's settings of the plugin do not name it (sshkey.source)
    #[arg(long, value_name = "DIRECTORY")]
    pub keys: Option<PathBuf>,
    /// Where Docker keeps plugins
    #[arg(long, value_name = "DIRECTORY", default_value = "/var/lib/docker/plugins")]
    pub plugins: PathBuf,
    /// What every command of the administrator understands.
    #[command(flatten)]
    pub admin: Admin,
}

const DOCTOR_HELP: &str = "\
Each finding is 'ok', a 'warning' or a 'problem', with its remedy. The exit code is 1 where there is a problem. Nothing is
changed, and nothing takes longer than half a minute.";

/// What every command of the administrator understands.
#[derive(Args, Clone, Debug)]
pub struct Admin {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where the driver listens
    #[arg(long, value_name = "PATH", default_value = "/run/sshfs-docker.sock", hide = true)]
    pub socket: PathBuf,
    /// Directories and user.
    #[command(flatten)]
    pub layout: Layout,
}

/// Where everything is, and who runs sshfs. The defaults are those of the package.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Directories")]
pub struct Layout {
    /// Configuration of the administrator
    #[arg(long, value_name = "DIRECTORY", default_value = "/etc/sshfs-docker")]
    pub configuration: PathBuf,
    /// Definitions and mountpoints
    #[arg(long, value_name = "DIRECTORY", default_value = "/var/lib/sshfs-docker")]
    pub state: PathBuf,
    /// What a reboot may forget
    #[arg(long, value_name = "DIRECTORY", default_value = "/run/sshfs-docker")]
    pub runtime: PathBuf,
    /// The user that runs sshfs and ssh
    #[arg(long, value_name = "NAME", default_value = launcher::USER)]
    pub user: String,
}

impl Layout {
    /// The layout below these directories.
    #[must_use]
    pub fn paths(&self) -> Paths {
        Paths {
            configuration: self.configuration.clone(),
            state: self.state.clone(),
            runtime: self.runtime.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
