//! `sshfs-docker doctor`: looks at everything on this host that the driver needs, and at what Docker makes of it.
//!
//! Each check looks at one thing and is a function of its own in one of the modules. They run side by side, each in a thread
//! that nobody waits for beyond a deadline; what touches a mount is asked by a child process ([`crate::mount::probe`]).
//! Nothing is changed.

mod clock;
mod engine;
mod finding;
mod requirements;
mod service;
mod settings;
mod systemctl;
mod volumes;

use super::output::{self, BAD, GOOD, WARNING, painted};
use crate::{cli::Admin, paths::Paths};
use anyhow::{Result, ensure};
use finding::{Finding, Found, State};
use nix::unistd::Uid;
use serde::Serialize;
use std::{
    io,
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

/// Where to look.
#[derive(Debug)]
struct Host {
    paths: Paths,
    socket: PathBuf,
    user: String,
}

/// A check and the name under which its findings are shown.
type Check = (&'static str, fn(&Host) -> Vec<Finding>);

const CHECKS: &[Check] = &[
    ("systemd", requirements::systemd),
    ("kernel", requirements::kernel),
    ("fuse", requirements::fuse),
    ("sshfs", requirements::sshfs),
    ("ssh", requirements::ssh),
    ("user", service::user),
    ("socket", service::socket),
    ("service", service::service),
    ("answer", service::answer),
    ("sandbox", service::sandbox),
    ("overrides", service::overrides),
    ("spec", engine::spec),
    ("plugins", engine::sockets),
    ("docker", engine::docker),
    ("podman", engine::podman),
    ("config.toml", settings::config),
    ("ssh_config", settings::ssh_config),
    ("known_hosts", settings::known_hosts),
    ("clock", clock::clock),
    ("disk", volumes::disk),
    ("definitions", volumes::definitions),
    ("mounts", volumes::mounts),
    ("containers", volumes::containers),
    ("units", volumes::units),
    ("mountpoints", volumes::mountpoints),
];

/// How long all of them may take together.
const PATIENCE: Duration = Duration::from_secs(28);

/// With `--json`: `{"problems": 1, "warnings": 0, "findings": [{"check": "socket", "state": "problem", "what": "…",
/// "remedy": "…"}, …]}`, where `remedy` is null for what is in order.
#[derive(Debug, Serialize)]
struct Report {
    problems: usize,
    warnings: usize,
    findings: Vec<Found>,
}

/// Looks at everything. False where there is a problem; warnings alone are none.
pub fn run(admin: &Admin) -> Result<bool> {
    ensure!(Uid::effective().is_root(), "only root may look at all of it: use sudo");
    let mut paths = admin.layout.paths();
    // As mountinfo has it.
    paths.state = paths.state.canonicalize().unwrap_or(paths.state);
    let host = Host { paths, socket: admin.socket.clone(), user: admin.layout.user.clone() };
    let findings = findings(host);
    let count = |state| findings.iter().filter(|found| found.finding.state == state).count();
    let report = Report { problems: count(State::Problem), warnings: count(State::Warning), findings };
    if admin.json {
        output::json(&report)?;
    } else {
        show(&report)?;
    }
    Ok(report.problems == 0)
}

fn findings(host: Host) -> Vec<Found> {
    let host = Arc::new(host);
    let deadline = Instant::now() + PATIENCE;
    let running: Vec<_> = CHECKS
        .iter()
        .map(|(name, check)| {
            let (tell, told) = mpsc::channel();
            let host = Arc::clone(&host);
            thread::spawn(move || _ = tell.send(check(&host)));
            (*name, told)
        })
        .collect();
    let findings = |(check, told): (&'static str, mpsc::Receiver<Vec<Finding>>)| {
        let left = deadline.saturating_duration_since(Instant::now());
        let findings = told.recv_timeout(left).unwrap_or_else(|e| vec![unfinished(e)]);
        findings.into_iter().map(move |finding| Found { check, finding })
    };
    running.into_iter().flat_map(findings).collect()
}

fn unfinished(why: mpsc::RecvTimeoutError) -> Finding {
    match why {
        mpsc::RecvTimeoutError::Timeout => Finding::problem(
            format!("looking at it did not end within {}s", PATIENCE.as_secs()),
            "something that it asks hangs: a disk, a program or a server",
        ),
        mpsc::RecvTimeoutError::Disconnected => {
            Finding::problem("looking at it ended with a bug, see above", "please report it")
        }
    }
}

fn show(report: &Report) -> io::Result<()> {
    let columns = output::columns();
    for found in &report.findings {
        output::text(found.render(columns))?;
    }
    let (style, text) = match (report.problems, report.warnings) {
        (0, 0) => (GOOD, "all is in order".to_owned()),
        (0, warnings) => (WARNING, format!("no problem, {}", counted(warnings, "warning"))),
        (problems, warnings) => {
            (BAD, format!("{}, {}", counted(problems, "problem"), counted(warnings, "warning")))
        }
    };
    output::line(format_args!("\n{}", painted(style, &text)))
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
