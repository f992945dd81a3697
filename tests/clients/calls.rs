//! The calls that the daemon received, as its own log has them.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::lab::Lab;
use crate::lab::driver::SERVICE;

/// Has the daemon log each call. Docker may have started it already.
pub fn log_them(lab: &Lab) -> Result<()> {
    let settings = "[log]\nfilter = \"info,sshfs_docker::protocol::router=debug\"\n";
    lab.host.put("/etc/sshfs-docker/config.toml", settings.as_bytes())?;
    lab.host.sh(&format!("systemctl restart {SERVICE}")).map(drop)
}

/// A point in the daemon's log; what comes after it is looked at.
#[derive(Debug)]
pub struct Calls<'a> {
    lab: &'a Lab,
    cursor: String,
}

/// One call.
#[derive(Debug)]
pub struct Call {
    /// `Mount`, …
    pub kind: String,
    /// What it is about; empty for calls about all volumes.
    pub volume: String,
    /// Who calls, for `Mount` and `Unmount`.
    pub id: String,
}

impl<'a> Calls<'a> {
    /// Calls from now on.
    pub fn from_now(lab: &'a Lab) -> Result<Self> {
        let shown = lab.host.sh("journalctl --sync; journalctl --quiet --lines 0 --show-cursor")?;
        let cursor = shown.strip_prefix("-- cursor: ").with_context(|| format!("cursor: {shown:?}"))?;
        Ok(Self { lab, cursor: cursor.to_owned() })
    }

    /// All of them, in their order.
    pub fn all(&self) -> Result<Vec<Call>> {
        let script = format!(
            "journalctl --sync
             journalctl --quiet --after-cursor '{}' --output json --output-fields CALL,VOLUME,ID --unit sshfs-docker.service",
            self.cursor
        );
        self.lab.host.sh(&script)?.lines().filter_map(|line| parse(line).transpose()).collect()
    }

    /// Those about `volume`, in their order: `Create Mount Unmount Remove`. Left out is what a client asks for, which differs
    /// from version to version, but for `Path`.
    pub fn of(&self, volume: &str) -> Result<String> {
        let asks = ["Activate", "Capabilities", "Get", "List"];
        let changes =
            self.all()?.into_iter().filter(|call| call.volume == volume && !asks.contains(&&*call.kind));
        Ok(changes.map(|call| call.kind).collect::<Vec<_>>().join(" "))
    }

    /// Fails unless [`Calls::of`] is that.
    pub fn ensure(&self, volume: &str, expected: &str) -> Result<()> {
        let calls = self.of(volume)?;
        ensure!(calls == expected, "calls about {volume}: {calls:?}, expected {expected:?}");
        Ok(())
    }

    /// The ids of the callers, one for each Mount and Unmount.
    pub fn ids(&self) -> Result<Vec<String>> {
        Ok(self.all()?.into_iter().map(|call| call.id).filter(|id| !id.is_empty()).collect())
    }

    /// How many callers there were.
    pub fn callers(&self) -> Result<usize> {
        Ok(self.ids()?.into_iter().collect::<BTreeSet<_>>().len())
    }

    /// How many calls there were of a kind, about whatever.
    pub fn count(&self, kind: &str) -> Result<usize> {
        Ok(self.all()?.iter().filter(|call| call.kind == kind).count())
    }
}

fn parse(line: &str) -> Result<Option<Call>> {
    let entry: Value = serde_json::from_str(line).context("journalctl")?;
    let field = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let call = Call { kind: field("CALL"), volume: field("VOLUME"), id: field("ID") };
    Ok((!call.kind.is_empty()).then_some(call))
}
