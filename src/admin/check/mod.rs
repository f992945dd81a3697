//! `sshfs-docker check`: makes the mount of a volume that does not exist, tells of each step, measures it, and takes it away.
//!
//! No step is a simulation: the options are judged as `docker volume create` has it done, and one mount is made as
//! `docker run` would, with the same launcher in the same sandbox. What ssh says at LogLevel=DEBUG1 tells how far it is. Only
//! that, the name of the unit and a copy of the learnt host keys are other than a volume's.

mod measure;
mod progress;
mod rehearsal;
mod transcript;

pub use measure::run as measure;

use crate::{
    admin::{self, command_line, output},
    cli::Check,
    config::Config,
    launcher,
    volume::{
        Remote, Secret, Spec, VolumeName,
        options::{self, Options, Setting},
        policy::HostKeyPolicy,
    },
};
use anyhow::{Context, Result, bail, ensure};
use measure::{Finding, Measuring, Speed};
use nix::unistd::Uid;
use progress::{Checking, Line, Progress, State, Step};
use rehearsal::{Rehearsal, clear_abandoned};
use serde::Serialize;
use std::{
    io::{self, BufRead},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::UnboundedReceiver,
    time::{Instant, timeout, timeout_at},
};
use transcript::{Event, Told};

/// More than a password may have ([`options::check_password`]), so that a longer one is refused and not cut.
const MOST_PASSWORD: u64 = 2048;

/// What ssh said before the mount was there may still be on its way through the processes between.
const ON_ITS_WAY: Duration = Duration::from_millis(300);

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Outcome {
    ok: bool,
    sandbox: bool,
    steps: Vec<Line>,
    round_trip_microseconds: Option<u64>,
    write_bytes_per_second: Option<u64>,
    read_bytes_per_second: Option<u64>,
    create: Option<String>,
    /// Files on the server that could not be removed.
    left: Option<String>,
}

/// What was measured.
#[derive(Debug, Default)]
struct Figures {
    round_trip: Option<u64>,
    write: Option<Speed>,
    read: Option<Speed>,
}

/// A volume that is to be tried.
struct Candidate {
    options: Options,
    password: Option<Secret>,
    config: Config,
    spec: Spec,
}

/// Runs the command.
#[must_use]
pub fn run(check: &Check) -> ExitCode {
    admin::exit(try_run(check))
}

fn try_run(check: &Check) -> Result<bool> {
    ensure!(Uid::effective().is_root(), "only root may make mounts: use sudo");
    let options = options_of(check)?;
    let password = check.password_stdin.then(|| read_password(io::stdin().lock())).transpose()?;
    let name = check.name.clone().or_else(|| suggested_name(&check.sshcmd));
    let name = name.map_or_else(|| VolumeName::new("data"), Ok)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut progress = Progress::new(!check.admin.json);
    let mut figures = Figures::default();
    let mut left = None;
    let result = runtime.block_on(async {
        clear_abandoned(&check.admin.layout).await;
        let judged = judge(check, &options, password).await;
        match judged {
            Ok(candidate) => rehearse(check, &candidate, &mut progress, &mut figures, &mut left).await,
            Err(sentence) => {
                progress.note(Step::Options, State::Failed, sentence);
                Ok(())
            }
        }
    });
    // Not waiting for threads that may hang in a system call.
    runtime.shutdown_background();
    result?;
    let good = progress.is_good();
    let create = good.then(|| create_line(&name, options, check.password_stdin));
    if check.admin.json {
        output::json(&Outcome {
            ok: good,
            sandbox: libsystemd::daemon::booted(),
            steps: progress.all(),
            round_trip_microseconds: figures.round_trip,
            write_bytes_per_second: figures.write.map(Speed::bytes_per_second),
            read_bytes_per_second: figures.read.map(Speed::bytes_per_second),
            create,
            left: left.clone(),
        })?;
    } else if let Some(create) = create {
        if check.password_stdin {
            anstream::println!(
                "\nPut the password into a file that only root can read, then create the volume:"
            );
            anstream::println!("  install -m 600 /dev/stdin {}", password_file(&name));
        } else {
            anstream::println!("\nTo create the volume:");
        }
        anstream::println!("  {create}");
    }
    if let Some(file) = left {
        bail!("the file {file} may be left in the remote directory: the mount failed before it was removed");
    }
    Ok(good)
}

/// The options as Docker would send them.
fn options_of(check: &Check) -> Result<Options> {
    let mut options = Options::from([("sshcmd".to_owned(), check.sshcmd.clone())]);
    for option in &check.options {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        if name.eq_ignore_ascii_case("password") {
            bail!(
                "a password on a command line can be seen by every user of this host (ps) and is kept in the history of \
                 the shell: use '-o password_file=FILE' or '--password-stdin'"
            );
        }
        if options.insert(name.to_owned(), value.to_owned()).is_some() {
            bail!("the option '{}' is given twice", options::shown(name));
        }
    }
    Ok(options)
}

/// The first line.
fn read_password(input: impl BufRead) -> Result<Secret> {
    let mut line = zeroize::Zeroizing::new(String::new());
    input.take(MOST_PASSWORD).read_line(&mut line).context("cannot read the password")?;
    let password = line.strip_suffix('\n').unwrap_or(&line);
    options::check_password(password)?;
    Ok(Secret::new(password.to_owned()))
}

/// Judges as Create does. The error is its sentence.
async fn judge(check: &Check, options: &Options, password: Option<Secret>) -> Result<Candidate, String> {
    let file = check.admin.layout.paths().config_file();
    let refuse = |e| format!("the driver refuses to create or mount volumes: {}: {e}", file.display());
    let mut config = Config::read(&file).map_err(refuse)?;
    let spec = Spec::parse(options, password.is_some(), &config.policy).map_err(|e| e.to_string())?;
    for (option, source) in spec.credential_files() {
        launcher::check_source(source).await.map_err(|e| format!("{option}: {e}"))?;
    }
    if let Some(agent) = &spec.agent {
        launcher::check_agent(agent).await.map_err(|e| format!("IdentityAgent: {e}"))?;
    }
    // Not an option of the volume: those are judged as they were given. Fixed ones hold on jump hosts, too.
    let fixed = &mut config.policy.forced.sshfs;
    fixed.retain(|setting| setting.name != "LogLevel");
    fixed.push(Setting { name: "LogLevel", value: Some("DEBUG1".to_owned()) });
    Ok(Candidate { options: options.clone(), password, config, spec })
}

/// Makes the mount and takes it away, whatever happens in between.
async fn rehearse(
    check: &Check,
    candidate: &Candidate,
    progress: &mut Progress,
    figures: &mut Figures,
    left: &mut Option<String>,
) -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    let names: Vec<_> = candidate.options.keys().map(|name| options::shown(name)).collect();
    progress.note(Step::Options, State::Ok, names.join(", "));
    let checking = match (&candidate.spec.host_key, candidate.spec.host_key_policy) {
        (Some(_), _) => Checking::Pinned,
        (None, HostKeyPolicy::Unverified) => Checking::Unverified,
        (None, _) => Checking::Files,
    };
    let (mut rehearsal, events) =
        Rehearsal::prepare(&check.admin.layout).context("cannot prepare a mount")?;
    let user = &check.admin.layout.user;
    let started = match rehearsal.unit() {
        Some(unit) => format!("user {user}, in the sandbox of unit {unit}"),
        None => format!("user {user}, as a child process without a sandbox: systemd is not PID 1"),
    };
    progress.expect(started, checking);
    let mut measuring = None;
    let work = async {
        rehearsal.define(&candidate.options, candidate.password.as_ref(), &candidate.spec)?;
        if mount(candidate, &rehearsal, events, progress).await {
            let mountpoint = rehearsal.mounter.mountpoint(rehearsal.name());
            measure_mount(check, candidate, &mountpoint, &mut measuring, progress, figures).await?;
        }
        Ok(())
    };
    let result = tokio::select! {
        result = work => result,
        _ = hang_up.recv() => Err(anyhow::anyhow!("the terminal is gone; nothing was left behind")),
        _ = terminate.recv() => Err(anyhow::anyhow!("ended by SIGTERM; nothing was left behind")),
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted; nothing was left behind")),
    };
    if let Some(measuring) = &mut measuring {
        measuring.stop().await;
    }
    let remains = rehearsal.clear().await;
    if let Some(measuring) = measuring {
        *left = measuring.end().await.map(|file| file.to_string_lossy().into_owned());
    }
    ensure!(remains.is_empty(), "cannot remove {}", shown(&remains));
    result
}

fn shown(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Whether there is a mount.
async fn mount(
    candidate: &Candidate,
    rehearsal: &Rehearsal,
    mut events: UnboundedReceiver<Told>,
    progress: &mut Progress,
) -> bool {
    let Candidate { spec, config, .. } = candidate;
    let deadline = Instant::now() + config.mount_timeout;
    let making = rehearsal.mounter.mount(rehearsal.name(), spec, config, false, deadline);
    tokio::pin!(making);
    let hear = |mut told: Told, progress: &mut Progress| {
        if let Event::KeyFound(place) = &mut told.event {
            *place = rehearsal.translate(place);
        }
        progress.hear(told);
    };
    let result = loop {
        tokio::select! {
            Some(told) = events.recv() => hear(told, progress),
            result = &mut making => break result,
        }
    };
    match result {
        Ok(_) => {
            while !progress.is_over(Step::Login) {
                let Ok(Some(told)) = timeout(ON_ITS_WAY, events.recv()).await else { break };
                hear(told, progress);
            }
            progress.note_sftp();
            let path = match spec.remote.path() {
                "" => "the home of the remote user",
                path => path,
            };
            progress.note(Step::Directory, State::Ok, path);
            true
        }
        Err(error) => {
            while let Ok(told) = events.try_recv() {
                hear(told, progress);
            }
            progress.fail(&error, rehearsal.translate(&error.to_string()));
            false
        }
    }
}

async fn measure_mount(
    check: &Check,
    candidate: &Candidate,
    mountpoint: &Path,
    measuring: &mut Option<Measuring>,
    progress: &mut Progress,
    figures: &mut Figures,
) -> Result<()> {
    let program = std::env::current_exe().context("cannot find this program's own path")?;
    let child = measuring.insert(Measuring::start(&program, mountpoint, !check.no_write)?);
    let patience = candidate.config.mount_timeout;
    let deadline = Instant::now() + patience;
    loop {
        match timeout_at(deadline, child.next()).await {
            Ok(Some(finding)) => note_finding(finding, progress, figures),
            Ok(None) => break,
            Err(_) => {
                let steps = [Step::RoundTrip, Step::Write, Step::Read];
                let step = steps.into_iter().find(|step| !progress.is_over(*step)).unwrap_or(Step::Read);
                progress.note(step, State::Failed, format!("not done within {}s", patience.as_secs()));
                return Ok(());
            }
        }
    }
    if check.no_write {
        for step in [Step::Write, Step::Read] {
            progress.note(step, State::Skipped, "not wanted (--no-write)");
        }
    }
    // It has told of each that it could do.
    for step in [Step::RoundTrip, Step::Write, Step::Read] {
        progress.note(step, State::Failed, "the mount ended meanwhile");
    }
    Ok(())
}

fn note_finding(finding: Finding, progress: &mut Progress, figures: &mut Figures) {
    match finding {
        Finding::RoundTrip(microseconds) => {
            figures.round_trip = Some(microseconds);
            let milliseconds = Duration::from_micros(microseconds).as_secs_f64() * 1000.0;
            progress.note(Step::RoundTrip, State::Ok, format!("{milliseconds:.1} ms"));
        }
        Finding::NoRoundTrip(reason) => progress.note(Step::RoundTrip, State::Failed, reason),
        Finding::Creates(_) | Finding::Gone => {}
        Finding::CannotWrite(reason) => {
            progress.note(Step::Write, State::Skipped, reason);
            progress.note(Step::Read, State::Skipped, "there is no file of our own to read");
        }
        Finding::Written(speed) => {
            figures.write = Some(speed);
            progress.note(Step::Write, State::Ok, rate(speed));
        }
        Finding::Read(speed) => {
            figures.read = Some(speed);
            progress.note(Step::Read, State::Ok, rate(speed));
        }
        Finding::CannotRead(reason) => progress.note(Step::Read, State::Failed, reason),
    }
}

/// As ssh and dd(1) show it.
fn rate(speed: Speed) -> String {
    let tenths = speed.bytes_per_second() / 100_000;
    format!("{}.{} MB/s", tenths / 10, tenths % 10)
}

fn create_line(name: &VolumeName, mut options: Options, has_password: bool) -> String {
    if has_password {
        options.insert("password_file".to_owned(), password_file(name));
    }
    command_line::create_volume(name, &options)
}

fn password_file(name: &VolumeName) -> String {
    format!("/etc/sshfs-docker/{name}.password")
}

/// The last part of the path, or the host, as far as a volume may be called that.
fn suggested_name(sshcmd: &str) -> Option<VolumeName> {
    let remote = Remote::parse(sshcmd).ok()?;
    let host = remote.host();
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let names = remote.path().rsplit('/').chain([host.as_str()]).map(|word| {
        let word: String = word.chars().map(|c| if is_allowed(c) { c } else { '-' }).take(40).collect();
        word.trim_matches(['-', '.', '_']).to_owned()
    });
    // Docker takes a name of one letter for a drive of Windows.
    let mut long_enough = names.filter(|name| name.len() > 1);
    long_enough.find_map(|name| VolumeName::new(&name).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_called_like_its_directory_or_its_host() {
        for (sshcmd, name) in [
            ("alice@storage:/srv/data", Some("data")),
            ("alice@storage:/srv/my data/", Some("my-data")),
            ("alice@storage:", Some("storage")),
            ("sftp://alice@storage:22/x", Some("storage")),
            ("alice@h:x", None),
        ] {
            assert_eq!(suggested_name(sshcmd).as_ref().map(VolumeName::as_str), name, "{sshcmd}");
        }
    }

    #[test]
    fn a_password_is_one_line() {
        let read = |text: &str| read_password(text.as_bytes()).map(|secret| secret.expose().to_owned());
        assert_eq!(read("hunter 2 \nmore").unwrap(), "hunter 2 ");
        assert!(read("\n").is_err() && read(&"x".repeat(3000)).is_err());
    }
}
