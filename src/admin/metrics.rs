//! `sshfs-docker metrics`: what is counted, for Prometheus. Read from the files of the driver, so that a host whose
//! volumes nobody calls for has no daemon running only because somebody looks every few seconds.

use super::output;
use crate::{
    cli::Layout,
    heal::record::HealingBook,
    health::Health,
    history::HistoryBook,
    metrics::{Sample, exposition},
    mount::{fuse, mountinfo},
    paths::Paths,
    references::ReferenceBook,
    replace::{self, Durability},
    store,
};
use anyhow::{Context, Result};
use std::{collections::HashMap, path::Path};

/// Prints the metrics, or replaces `output` by them.
pub fn run(layout: &Layout, output: Option<&Path>) -> Result<bool> {
    let page =
        exposition(&samples(&layout.paths()).context("cannot read what is to be counted (are you root?)")?);
    let Some(output) = output else {
        output::text(page)?;
        return Ok(true);
    };
    let cannot_write = || format!("cannot write {}", output.display());
    let (directory, file) = output.parent().zip(output.file_name()).with_context(cannot_write)?;
    // Whoever reads it at this moment gets the whole of the old or of the new one.
    replace::replace(directory, &file.to_string_lossy(), page.as_bytes(), 0o644, Durability::Process)
        .with_context(cannot_write)?;
    Ok(true)
}

fn samples(paths: &Paths) -> Result<Vec<Sample>> {
    let (references, histories) = (ReferenceBook::look(paths), HistoryBook::look(paths));
    let healing = HealingBook::look(paths);
    let mounts = mountinfo::uppermost(mountinfo::own()?).into_iter();
    let ours = mounts.filter(|mount| mount.filesystem == fuse::FILESYSTEM);
    let mounted: HashMap<_, _> = ours.map(|mount| (mount.mountpoint.clone(), mount)).collect();
    // mountinfo has no links.
    let state = paths.state.canonicalize().unwrap_or_else(|_| paths.state.clone());
    let paths = &Paths { state, ..paths.clone() };
    let sample = |name| {
        let mount = mounted.get(&paths.mountpoint(&name));
        let record = healing.read(&name);
        Sample {
            is_mounted: mount.is_some(),
            health: mount.and_then(|mount| Health::read(paths, &fuse::generation(mount, &name))),
            history: histories.read(&name),
            references: references.read(&name).total(),
            unhealed: record.unhealed.len(),
            is_in_trouble: record.is_unfinished(),
            name,
        }
    };
    Ok(store::names(paths)?.into_iter().map(sample).collect())
}
