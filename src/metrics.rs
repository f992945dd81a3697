//! What is counted, in the text format of Prometheus (prometheus.io/docs/instrumenting/exposition_formats). Pure.

use crate::{
    health::{Connection, Health},
    history::{BOUNDS, History},
    volume::VolumeName,
};
use std::fmt::{self, Display, Write};

/// One volume as the files in /run have it.
#[derive(Debug)]
pub struct Sample {
    /// Its name.
    pub name: VolumeName,
    /// Whether it is mounted.
    pub is_mounted: bool,
    /// How its mount is, if its unit told.
    pub health: Option<Health>,
    /// What happened to it since boot.
    pub history: History,
    /// How many calls of Docker hold it.
    pub references: u64,
    /// How many containers are without it until they restart.
    pub unhealed: usize,
    /// Whether its sshfs died and there is no fresh mount, or not everywhere.
    pub is_in_trouble: bool,
}

impl Sample {
    fn reconnects(&self) -> u64 {
        let now = self.health.as_ref().map_or(0, |health| health.reconnects);
        self.history.reconnects.saturating_add(now)
    }

    fn is_connected(&self) -> bool {
        // The unit of a dead one is gone, and what it told with it.
        let down = |health: &Health| matches!(health.state, Connection::Failing | Connection::Ended);
        !self.health.as_ref().is_none_or(down)
    }
}

/// The exposition of all volumes. Counters begin at boot, and again when a volume is removed.
#[must_use]
pub fn exposition(samples: &[Sample]) -> String {
    let mut page = Page::default();
    page.family("build_info", "gauge", "The version that runs.");
    page.value("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.family("volumes", "gauge", "Volumes that are defined on this host.");
    page.value("volumes", &[], samples.len());
    let mounted = || samples.iter().filter(|sample| sample.is_mounted);
    page.family("volumes_mounted", "gauge", "Volumes that are mounted.");
    page.value("volumes_mounted", &[], mounted().count());

    page.family("volume_mounted", "gauge", "Whether a volume is mounted.");
    for sample in samples {
        page.of_volume("volume_mounted", sample, u8::from(sample.is_mounted));
    }
    page.family("volume_connected", "gauge", "Whether the server of a mounted volume answered last time.");
    for sample in mounted() {
        page.of_volume("volume_connected", sample, u8::from(sample.is_connected()));
    }
    page.family("volume_references", "gauge", "Calls of Docker that hold a volume.");
    for sample in samples {
        page.of_volume("volume_references", sample, sample.references);
    }
    page.family("volume_unhealed", "gauge", "Containers that are without a volume until they restart.");
    for sample in samples {
        page.of_volume("volume_unhealed", sample, sample.unhealed);
    }
    page.family(
        "volume_trouble",
        "gauge",
        "Whether sshfs of a volume died and its containers are not all healed.",
    );
    for sample in samples {
        page.of_volume("volume_trouble", sample, u8::from(sample.is_in_trouble));
    }
    page.family("reconnects_total", "counter", "Lost connections that were made anew.");
    for sample in samples {
        page.of_volume("reconnects_total", sample, sample.reconnects());
    }
    page.family("mount_failures_total", "counter", "Mounts that failed, by their cause.");
    for sample in samples {
        for (cause, count) in &sample.history.failures {
            let labels = [("volume", sample.name.as_str()), ("cause", cause)];
            page.value("mount_failures_total", &labels, count);
        }
    }
    page.mount_durations(samples);
    page.0
}

/// The text as far as it is written.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        _ = write!(self.0, "# HELP sshfs_docker_{name} {help}\n# TYPE sshfs_docker_{name} {kind}\n");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        _ = writeln!(self.0, "sshfs_docker_{name}{} {value}", Labels(labels));
    }

    fn of_volume(&mut self, name: &str, sample: &Sample, value: impl Display) {
        self.value(name, &[("volume", sample.name.as_str())], value);
    }

    /// Of all volumes together: a histogram for each of a thousand volumes would be ten thousand lines.
    fn mount_durations(&mut self, samples: &[Sample]) {
        let all = || samples.iter().map(|sample| &sample.history.mounts);
        let (count, millis): (u64, u64) =
            (all().map(|mounts| mounts.count).sum(), all().map(|mounts| mounts.millis).sum());
        let name = "mount_duration_seconds";
        self.family(name, "histogram", "How long mounts took that were made.");
        for (index, bound) in BOUNDS.into_iter().enumerate() {
            let within: u64 = all().map(|mounts| mounts.within[index]).sum();
            self.value(&format!("{name}_bucket"), &[("le", &Seconds(bound).to_string())], within);
        }
        self.value(&format!("{name}_bucket"), &[("le", "+Inf")], count);
        self.value(&format!("{name}_sum"), &[], Seconds(millis));
        self.value(&format!("{name}_count"), &[], count);
    }
}

struct Labels<'a>(&'a [(&'a str, &'a str)]);

impl Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(((name, value), others)) = self.0.split_first() else { return Ok(()) };
        // Names of volumes and causes have nothing in them that would have to be escaped; a file in /run may.
        let escaped = |text: &str| text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        write!(f, "{{{name}=\"{}\"", escaped(value))?;
        others.iter().try_for_each(|(name, value)| write!(f, ",{name}=\"{}\"", escaped(value)))?;
        f.write_char('}')
    }
}

/// Milliseconds, written as seconds.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 1000, self.0 % 1000) {
            (whole, 0) => write!(f, "{whole}"),
            (whole, millis) => write!(f, "{whole}.{}", format!("{millis:03}").trim_end_matches('0')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{notice::Notice, uptime::Uptime};
    use std::time::Duration;

    fn sample(name: &str) -> Sample {
        Sample {
            name: VolumeName::new(name).unwrap(),
            is_mounted: false,
            health: None,
            history: History::default(),
            references: 0,
            unhealed: 0,
            is_in_trouble: false,
        }
    }

    #[test]
    fn a_host_without_volumes_has_all_families() {
        let page = exposition(&[]);
        assert!(page.contains("sshfs_docker_volumes 0\n") && page.contains("_seconds_count 0\n"), "{page}");
    }

    #[test]
    fn a_mount_whose_unit_is_gone_is_not_connected() {
        let mut dead = sample("dead");
        dead.is_mounted = true;
        assert!(exposition(&[dead]).contains("sshfs_docker_volume_connected{volume=\"dead\"} 0\n"));
    }

    #[test]
    fn what_happened_is_counted() {
        let now = Uptime::of_seconds(7);
        let mut data = sample("data");
        (data.is_mounted, data.references, data.is_in_trouble) = (true, 2, true);
        data.history.note_mount(Duration::from_millis(1_250), now);
        data.history.note_failure("refused", "connection refused", now);
        data.history.note_unmount(3, now);
        let mut health = Health::new(1, now);
        for notice in
            [Notice::Connected(Vec::new()), Notice::Lost, Notice::Connected(Vec::new()), Notice::Lost]
        {
            health.note(&notice, now);
        }
        health.note(&Notice::Failed("refused".to_owned()), now);
        data.health = Some(health);
        let page = exposition(&[data, sample("other")]);
        for line in [
            "sshfs_docker_volumes 2",
            "sshfs_docker_volumes_mounted 1",
            "sshfs_docker_volume_mounted{volume=\"data\"} 1",
            "sshfs_docker_volume_mounted{volume=\"other\"} 0",
            "sshfs_docker_volume_connected{volume=\"data\"} 0",
            "sshfs_docker_volume_references{volume=\"data\"} 2",
            "sshfs_docker_volume_trouble{volume=\"data\"} 1",
            "sshfs_docker_reconnects_total{volume=\"data\"} 4",
            "sshfs_docker_mount_failures_total{volume=\"data\",cause=\"refused\"} 1",
            "sshfs_docker_mount_duration_seconds_bucket{le=\"1\"} 0",
            "sshfs_docker_mount_duration_seconds_bucket{le=\"2.5\"} 1",
            "sshfs_docker_mount_duration_seconds_bucket{le=\"+Inf\"} 1",
            "sshfs_docker_mount_duration_seconds_sum 1.25",
        ] {
            assert!(page.lines().any(|other| other == line), "no {line} in {page}");
        }
        assert!(!page.contains("volume_connected{volume=\"other\"}"), "{page}");
    }
}
