//! Secrets that are planted by every way in, and the search for them: nobody may find one where it does not belong.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// A secret that occurs nowhere else, and the way that it came in by.
#[derive(Clone, Debug)]
pub struct Secret {
    /// How it was given to the driver.
    pub way: &'static str,
    /// The text that must not be found.
    pub text: String,
}

/// All secrets of a case, and what the search for them has come to.
#[derive(Debug, Default)]
pub struct Planted {
    secrets: RefCell<Vec<Secret>>,
    places: RefCell<BTreeSet<String>>,
    leaks: RefCell<BTreeSet<String>>,
}

impl Planted {
    /// A new secret.
    pub fn plant(&self, way: &'static str) -> Result<String> {
        let random = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        Ok(self.add(way, &format!("Sx{}", random.trim().replace('-', "x"))))
    }

    /// Something that is a secret already, such as a line of a private key.
    pub fn add(&self, way: &'static str, text: &str) -> String {
        self.secrets.borrow_mut().push(Secret { way, text: text.to_owned() });
        text.to_owned()
    }

    /// One per line, for grep.
    pub fn patterns(&self) -> String {
        self.secrets.borrow().iter().map(|secret| secret.text.clone() + "\n").collect()
    }

    /// Searches a text. `marker` is something that must be in it: if it is not, the search looks in the wrong place.
    pub fn search(&self, place: &str, text: &str, marker: &str) -> Result<()> {
        ensure!(text.contains(marker), "{place} has no {marker:?}: the search looks in the wrong place");
        self.places.borrow_mut().insert(place.to_owned());
        for Secret { way, text: secret } in self.secrets.borrow().iter() {
            if let Some(line) = text.lines().find(|line| line.contains(secret)) {
                let shown: String = line.replace(secret, "<SECRET>").chars().take(300).collect();
                self.leaks.borrow_mut().insert(format!("{way}: in {place}: {shown}"));
            }
        }
        Ok(())
    }

    /// Counts places that were searched by other means, and where a secret was found.
    pub fn note(&self, place: &str, found: impl IntoIterator<Item = String>) {
        self.places.borrow_mut().insert(place.to_owned());
        self.leaks.borrow_mut().extend(found.into_iter().map(|leak| format!("in {place}: {leak}")));
    }

    /// How many secrets there were and how many kinds of places were searched; an error that names every leak.
    pub fn verdict(&self) -> Result<(usize, usize)> {
        let leaks = self.leaks.borrow();
        ensure!(
            leaks.is_empty(),
            "{} leaks:\n{}",
            leaks.len(),
            leaks.iter().cloned().collect::<Vec<_>>().join("\n")
        );
        Ok((self.secrets.borrow().len(), self.places.borrow().len()))
    }
}

/// Looks at the command lines and environments of all processes again and again: askpass programs live for a moment.
#[derive(Debug)]
pub struct ProcessWatch {
    stop: Arc<AtomicBool>,
    looks: Arc<AtomicUsize>,
    watcher: JoinHandle<BTreeSet<String>>,
}

impl ProcessWatch {
    /// Watches the processes in `proc`, a mounted procfs, for `secrets`.
    pub fn start(proc: PathBuf, planted: &Planted) -> Self {
        let secrets = planted.secrets.borrow().clone();
        let (stop, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&looks));
        let watcher = thread::spawn(move || {
            let mut found = BTreeSet::new();
            while !stopped.load(Ordering::Relaxed) {
                // The cases' own work needs the processor too.
                thread::sleep(Duration::from_millis(1));
                for (file, content) in processes(&proc) {
                    counted.fetch_add(1, Ordering::Relaxed);
                    for Secret { way, text } in &secrets {
                        if content.contains(text.as_str()) {
                            let shown = content.replace('\0', " ").replace(text, "<SECRET>");
                            found.insert(format!("{way}: {}: {shown}", file.display()));
                        }
                    }
                }
            }
            found
        });
        Self { stop, looks, watcher }
    }

    /// Ends it: how many files were read, and what was found.
    pub fn finish(self) -> Result<(usize, BTreeSet<String>)> {
        self.stop.store(true, Ordering::Relaxed);
        let found = self.watcher.join().ok().context("the watcher panicked")?;
        Ok((self.looks.load(Ordering::Relaxed), found))
    }
}

fn processes(proc: &Path) -> impl Iterator<Item = (PathBuf, String)> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let pids =
        entries.filter(|entry| entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()));
    pids.flat_map(|entry| [entry.path().join("cmdline"), entry.path().join("environ")]).filter_map(|file| {
        let content = fs::read(&file).ok()?;
        Some((file, String::from_utf8_lossy(&content).into_owned()))
    })
}
