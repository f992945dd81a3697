//! Metrics reach who collects them: the timer writes the file, and a real node_exporter reads it.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::{Lab, poll};

crate::cases![node_exporter_has_the_metrics, metrics_wake_no_daemon];

fn node_exporter_has_the_metrics(lab: &Lab) -> Result<()> {
    let volume = lab.volume("counted")?;
    let _container = volume.hold("counted-user")?;
    lab.docker("volume create --driver sshfs -o sshcmd=alice@127.0.0.1:/x -o port=2 uncounted")?;
    let failed = lab.try_docker("run --rm -v uncounted:/d busybox true")?;
    ensure!(!failed.ok(), "there is no server");
    lab.host.sh("systemctl enable --now sshfs-docker-metrics.timer")?;
    let scrape = || lab.host.sh("curl -s http://127.0.0.1:9100/metrics");
    lab.host.sh("systemctl start prometheus-node-exporter")?;
    let wanted = [
        "sshfs_docker_volume_mounted{volume=\"counted\"} 1",
        "sshfs_docker_volume_connected{volume=\"counted\"} 1",
        "sshfs_docker_volume_mounted{volume=\"uncounted\"} 0",
        "sshfs_docker_mount_failures_total{cause=\"refused\",volume=\"uncounted\"} 1",
        "node_textfile_scrape_error 0",
    ];
    let has_all = || {
        let page = scrape()?;
        Ok(wanted.iter().all(|line| page.lines().any(|other| other == *line)))
    };
    let seen = poll::until_true("node_exporter to have them", Duration::from_secs(30), has_all);
    let page = scrape();
    lab.host
        .sh("systemctl stop prometheus-node-exporter; systemctl disable --now sshfs-docker-metrics.timer")?;
    lab.docker("volume rm uncounted")?;
    if seen.is_err() {
        let page = page?;
        let ours: Vec<_> = page
            .lines()
            .filter(|line| line.contains("sshfs_docker") || line.contains("scrape_error"))
            .collect();
        ensure!(false, "node_exporter has only: {ours:#?}");
    }
    Ok(())
}

/// A host whose volumes nobody uses pays nothing for the timer but a process for a moment.
fn metrics_wake_no_daemon(lab: &Lab) -> Result<()> {
    lab.host.sh("systemctl stop sshfs-docker.service")?;
    let page = lab.host.sh("sshfs-docker metrics")?;
    ensure!(page.lines().any(|line| line.starts_with("sshfs_docker_volumes ")), "{page}");
    ensure!(lab.state("sshfs-docker.service")? != "active", "the daemon runs");
    Ok(())
}
