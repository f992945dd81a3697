//! Small files in /run, one JSON object for each volume, whose loss costs nothing but a memory: what cannot be read, or has
//! another schema, counts as none.

use crate::{
    directories,
    paths::{file_name, volume_of},
    replace::{self, Durability},
    volume::VolumeName,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    fs, io,
    marker::PhantomData,
    path::{Path, PathBuf},
};

/// What such a file holds.
pub trait Entry: Default + Clone + Serialize + DeserializeOwned {
    /// Raised when the meaning of a field changes.
    const SCHEMA: u32;
}

/// The directory with one file per volume.
#[derive(Debug)]
pub struct Book<E> {
    directory: PathBuf,
    entries: PhantomData<E>,
}

#[derive(Serialize, Deserialize)]
struct File<E> {
    schema: u32,
    #[serde(flatten)]
    entry: E,
}

impl<E: Entry> Book<E> {
    /// Opens the book, making its directory where it is missing.
    pub fn open(directory: PathBuf) -> io::Result<Self> {
        directories::ensure(&directory, 0o700)?;
        Ok(Self::look(directory))
    }

    /// The book of who only reads it: nothing is made, and one that is missing is empty.
    #[must_use]
    pub fn look(directory: PathBuf) -> Self {
        Self { directory, entries: PhantomData }
    }

    /// Removes what a killed process left.
    pub fn tidy(&self) {
        _ = replace::remove_leftovers(&self.directory);
    }

    /// The entry of a volume. The book is in memory (/run): reading it waits for no disk.
    #[must_use]
    pub fn read(&self, name: &VolumeName) -> E {
        let content = fs::read(self.directory.join(file_name(name))).unwrap_or_default();
        let file = serde_json::from_slice::<File<E>>(&content).ok();
        file.filter(|file| file.schema == E::SCHEMA).map(|file| file.entry).unwrap_or_default()
    }

    /// All entries that there are. Few volumes of many have one: this opens no file that is not there.
    #[must_use]
    pub fn read_all(&self) -> BTreeMap<VolumeName, E> {
        volumes_in(&self.directory).map(|name| (name.clone(), self.read(&name))).collect()
    }

    /// Replaces the entry of a volume.
    pub fn write(&self, name: &VolumeName, entry: &E) -> io::Result<()> {
        let json = serde_json::to_vec(&File { schema: E::SCHEMA, entry: entry.clone() })?;
        replace::replace(&self.directory, &file_name(name), &json, 0o600, Durability::Process)
    }

    /// Removes the entry of a volume. Returns whether there was one.
    pub fn remove(&self, name: &VolumeName) -> io::Result<bool> {
        let was_there = self.directory.join(file_name(name)).exists();
        replace::remove(&self.directory, &file_name(name), Durability::Process)?;
        Ok(was_there)
    }
}

/// The volumes that have a file in a directory with one for each; none where it cannot be read.
pub fn volumes_in(directory: &Path) -> impl Iterator<Item = VolumeName> {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    files.filter_map(|file| volume_of(&file.file_name()))
}
