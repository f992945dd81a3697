//! `sshfs-docker check`: makes the mount of a volume that does not exist, tells of each step, measures it, and takes it away.
//!
//! No step is a simulation: the options are judged as `docker volume create` has it done, and one mount is made as
//! `docker run` would, with the same launcher in the same sandbox. What ssh says at LogLevel=DEBUG1 tells how far it is. Only
//! that, the name of the unit and a copy of the learnt host keys are other than a volume's.

mod candidate;
mod learnt;
mod measure;
mod progress;
mod rehearsal;
mod transcript;

pub use measure::run as measure;

use crate::{
    admin::{given, output},
    cli::Check,
    volume::{options, policy::HostKeyPolicy},
};
use anyhow::{Context, Result, anyhow, ensure};
use candidate::Candidate;
use measure::{Finding, Measuring, Speed};
use nix::unistd::Uid;
use progress::{Checking, Line, Progress, State, Step};
use rehearsal::{Rehearsal, clear_abandoned};
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::UnboundedReceiver,
    time::{Instant, timeout, timeout_at},
};
use transcript::{Event, Told};

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
    /// Why it could not be done to its end.
    error: Option<String>,
}

/// What was measured.
#[derive(Debug, Default)]
struct Figures {
    round_trip: Option<u64>,
    write: Option<Speed>,
    read: Option<Speed>,
}

/// Runs the command.
pub fn run(check: &Check) -> Result<bool> {
    ensure!(Uid::effective().is_root(), "only root may make mounts: use sudo");
    let options = candidate::options_of(check)?;
    let name = candidate::name_of(check, &check.admin.layout.paths())?;
    let password = check.password_stdin.then(given::password).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut progress = Progress::new(!check.admin.json);
    let mut figures = Figures::default();
    let result = runtime.block_on(async {
        clear_abandoned(&check.admin.layout).await;
        let judged = Candidate::judge(check, &options, password).await;
        match judged {
            Ok(candidate) => rehearse(check, &candidate, &mut progress, &mut figures).await,
            Err(sentence) => {
                progress.note(Step::Options, State::Failed, sentence);
                Ok(())
            }
        }
    });
    // Not waiting for threads that may hang in a system call.
    runtime.shutdown_background();
    let good = progress.is_good() && result.is_ok();
    let create = good.then(|| candidate::create_line(&name, options, check.password_stdin));
    if check.admin.json {
        output::json(&Outcome {
            ok: good,
            sandbox: libsystemd::daemon::booted(),
            steps: progress.all(),
            round_trip_microseconds: figures.round_trip,
            write_bytes_per_second: figures.write.map(Speed::bytes_per_second),
            read_bytes_per_second: figures.read.map(Speed::bytes_per_second),
            create,
            error: result.err().map(|e| format!("{e:#}")),
        })?;
        return Ok(good);
    }
    if let Some(create) = create {
        let before = if check.password_stdin {
            let file = candidate::password_file(&name);
            format!(
                "Put the password into a file that only root can read, then create the volume:\n  install -m 600 /dev/stdin {file}"
            )
        } else {
            "To create the volume:".to_owned()
        };
        progress.show(&format!("\n{before}\n  {create}"));
    }
    result?;
    Ok(good)
}

/// Makes the mount and takes it away, whatever happens in between.
async fn rehearse(
    check: &Check,
    candidate: &Candidate,
    progress: &mut Progress,
    figures: &mut Figures,
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
        _ = hang_up.recv() => Err(anyhow!("the terminal is gone")),
        _ = terminate.recv() => Err(anyhow!("ended by SIGTERM")),
        _ = interrupt.recv() => Err(anyhow!("interrupted")),
    };
    if let Some(measuring) = &mut measuring {
        measuring.stop().await;
    }
    let remains = rehearsal.clear().await;
    let left = match measuring {
        Some(measuring) => measuring.end().await,
        None => None,
    };
    let sentence = ending(result.err().map(|e| format!("{e:#}")), &remains, left.as_deref());
    sentence.map_or(Ok(()), |sentence| Err(anyhow!(sentence)))
}

/// What went wrong, and all that is left of the check on either side; None where there is neither.
fn ending(reason: Option<String>, remains: &[PathBuf], on_server: Option<&Path>) -> Option<String> {
    let remains: Vec<_> = remains.iter().map(|path| path.display().to_string()).collect();
    let remains = (!remains.is_empty()).then(|| format!("cannot remove {}", remains.join(", ")));
    let on_server = on_server.map(|file| {
        let file = file.display();
        format!("the file {file} may be left in the remote directory: the mount failed before it was removed")
    });
    let nothing = (remains.is_none() && on_server.is_none()).then(|| "nothing was left behind".to_owned());
    let nothing = nothing.filter(|_| reason.is_some());
    let parts: Vec<_> = [reason, remains, on_server, nothing].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_sentence_has_the_reason_and_all_that_is_left() {
        let (reason, remains) =
            (|| Some("interrupted".to_owned()), [PathBuf::from("/run/a"), "/run/b".into()]);
        assert_eq!(ending(None, &[], None), None);
        assert_eq!(ending(reason(), &[], None).unwrap(), "interrupted; nothing was left behind");
        let all = ending(reason(), &remains, Some(Path::new(".check"))).unwrap();
        for part in ["interrupted; ", "cannot remove /run/a, /run/b; ", "the file .check may be left"] {
            assert!(all.contains(part), "{all}");
        }
    }
}
