//! The fresh mount in all containers of a volume: each gets it in the place of the one that it has.

use super::{Healer, graft::Graft, record::Unhealed, stale::Stale};
use crate::{
    diagnosis, events,
    mount::{
        fuse,
        mountinfo::Mount,
        probe::{self, Answer},
    },
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    process::Command,
    task::JoinSet,
    time::{Instant, timeout},
};

/// How long one container may take.
const GRAFT_PATIENCE: Duration = Duration::from_secs(10);

/// How many containers are worked on at once. One that hangs holds up the others of its group only.
const GRAFTS_AT_ONCE: usize = 8;

/// How long all of them may take: the volume is locked meanwhile.
const GRAFTS_PATIENCE: Duration = Duration::from_secs(30);

/// A mount in a container that could not be replaced.
pub(super) struct Ungrafted {
    /// The mount that is there still.
    pub(super) stale: Stale,
    pub(super) reason: String,
}

impl Healer<'_> {
    /// Puts the live mount into every container that has another one, and tells of each that has it. Goes on when one
    /// fails; returns those that have another one still, with the reasons.
    pub(super) async fn graft_all(
        &self,
        remotes: &[String],
        live: &Mount,
        mut done: impl FnMut(&Stale),
    ) -> Result<Vec<Ungrafted>> {
        let deadline = Instant::now() + GRAFTS_PATIENCE;
        let mut failed = Vec::new();
        for group in self.stale(remotes, Some(live)).await?.chunks(GRAFTS_AT_ONCE) {
            let mut grafts = JoinSet::new();
            for stale in group.iter().cloned() {
                let (graft, program) =
                    (Graft::over(&stale.mount, stale.process.pid, live), self.program.clone());
                grafts.spawn(async move {
                    let started = Instant::now();
                    let result = graft_one(&stale, &graft, &program, deadline).await;
                    (stale, result, started.elapsed())
                });
            }
            while let Some(grafted) = grafts.join_next().await {
                let (stale, result, took) = grafted?;
                match result {
                    Ok(()) => {
                        tracing::info!(
                            message_id = events::HEALED, volume = %self.name,
                            unit = %fuse::generation(live, self.name).unit(), container = stale.container(),
                            "volume {}: {stale} has a fresh mount after {} ms",
                            self.name, took.as_millis()
                        );
                        done(&stale);
                    }
                    Err(reason) => failed.push(Ungrafted { stale, reason: format!("{reason:#}") }),
                }
            }
        }
        if failed.is_empty() {
            return Ok(failed);
        }
        // A container that ended meanwhile needs nothing; one on a shared mount may have got it with another.
        let still: BTreeSet<_> =
            self.stale(remotes, Some(live)).await?.iter().map(|stale| stale.mount.id).collect();
        failed.retain(|ungrafted| still.contains(&ungrafted.stale.mount.id));
        Ok(failed)
    }

    /// Those whose mount is dead: others have an sshfs of before a restart, which works.
    pub(super) async fn unhealed(&self, ungrafted: Vec<Ungrafted>) -> Vec<Unhealed> {
        let mut unhealed = Vec::new();
        for Ungrafted { stale, reason } in ungrafted {
            if !self.serves(&stale).await {
                let dead = Unhealed::new(&stale, &reason);
                tracing::error!(
                    message_id = events::NOT_HEALED, volume = %self.name, container = stale.container(),
                    "volume {}: without it until a restart: {dead}", self.name
                );
                unhealed.push(dead);
            }
        }
        unhealed
    }

    /// Whether somebody serves the mount still.
    pub(super) async fn serves(&self, stale: &Stale) -> bool {
        let seen_from_here = stale.mount.mountpoint.strip_prefix("/").unwrap_or(Path::new(""));
        let mountpoint = PathBuf::from(format!("/proc/{}/root", stale.process.pid)).join(seen_from_here);
        let answer = self.mounter.ask(&Mount { mountpoint, ..stale.mount.clone() }).await;
        let unknown = [Answer::NotAsked, Answer::Failed(probe::HIDDEN)].contains(&answer);
        !unknown && !answer.is_dead()
    }
}

async fn graft_one(stale: &Stale, graft: &Graft, program: &Path, deadline: Instant) -> Result<()> {
    if let Some(obstacle) = stale.obstacle {
        bail!(obstacle);
    }
    let patience = GRAFT_PATIENCE.min(deadline.saturating_duration_since(Instant::now()));
    let mut command = Command::new(program);
    // Killed when it is given up: it must not act later, nor keep the container's mount namespace.
    command.args(graft.arguments()).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    let output = timeout(patience, command.output())
        .await
        .with_context(|| format!("it hung for {} s", patience.as_secs()))??;
    // It names paths of the container.
    let said = diagnosis::clean_sentence(&String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{said} ({})", output.status);
    Ok(())
}
