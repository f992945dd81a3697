//! Group semantics: what programs expect of files, and not every mount has.

use crate::{
    contestant::{MOUNTING, Mounted},
    results::{Better, Results, What},
    stage::Stage,
};
use anyhow::{Result, ensure};
use std::{
    fs::{self, File, Permissions},
    io::{Read, Write},
    os::unix::fs::{FileExt, PermissionsExt, symlink},
    path::Path,
    time::Duration,
};

/// The unit of what has no number.
pub const WORKS: &str = "works";

/// A check in an empty directory of the mount.
type Check = (&'static str, fn(&Path) -> Result<()>);

const CHECKS: &[Check] = &[
    ("rename over a file that is open", rename_over_open),
    ("chmod", chmod),
    ("symbolic link", link),
    ("append", append),
    ("change in the middle", change),
];

pub fn run(stage: &mut Stage, results: &mut Results) {
    let stage = &*stage;
    results.begin(
        "semantics",
        "What programs expect of files, without a delay. It works or does not.".to_owned(),
    );
    for (i, (task, check)) in CHECKS.iter().enumerate() {
        let what =
            What { task: (*task).to_owned(), condition: String::new(), unit: WORKS, better: Better::More };
        results.compare(what, &MOUNTING, |contestant| {
            let directory = stage.on_server(&format!("semantics-{i}"));
            let mounted = Mounted::new(stage, contestant, "semantics", &directory, Duration::ZERO)?;
            let result = check(&mounted.path);
            drop(mounted);
            fs::remove_dir_all(directory)?;
            result.map(|()| 1.0)
        });
    }
}

fn rename_over_open(at: &Path) -> Result<()> {
    fs::write(at.join("old"), "old")?;
    fs::write(at.join("new"), "new")?;
    let mut file = File::open(at.join("old"))?;
    fs::rename(at.join("new"), at.join("old"))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    ensure!(text == "old", "who had it open reads {text:?}");
    ensure!(fs::read_to_string(at.join("old"))? == "new", "the name has the old content");
    Ok(())
}

fn chmod(at: &Path) -> Result<()> {
    let path = at.join("file");
    fs::write(&path, "")?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "the mode is {mode:o}");
    Ok(())
}

fn link(at: &Path) -> Result<()> {
    fs::write(at.join("file"), "text")?;
    symlink("file", at.join("link"))?;
    ensure!(fs::read_link(at.join("link"))? == Path::new("file"), "it leads elsewhere");
    ensure!(fs::read_to_string(at.join("link"))? == "text", "it leads to another file");
    Ok(())
}

fn append(at: &Path) -> Result<()> {
    let path = at.join("file");
    fs::write(&path, "one ")?;
    File::options().append(true).open(&path)?.write_all(b"two")?;
    let text = fs::read_to_string(path)?;
    ensure!(text == "one two", "the file has {text:?}");
    Ok(())
}

fn change(at: &Path) -> Result<()> {
    let path = at.join("file");
    fs::write(&path, "abc")?;
    File::options().read(true).write(true).open(&path)?.write_all_at(b"x", 1)?;
    let text = fs::read_to_string(path)?;
    ensure!(text == "axc", "the file has {text:?}");
    Ok(())
}
