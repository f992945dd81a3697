//! A file in memory, as databases read it. It differs from read(2) where nobody expects it: the kernel reads around a page
//! that is not there, as much as it reads ahead.
#![allow(unsafe_code)]

use crate::{data, stage::Stage};
use anyhow::{Result, ensure};
use std::{fs::File, io, os::fd::AsRawFd, path::Path, ptr, time::Instant};

/// Reads a page at some places all over the big file. Returns how many there were per second.
pub fn read_at_random(stage: &Stage, path: &Path) -> Result<f64> {
    let mapping = Mapping::new(&File::open(path)?)?;
    let (begun, mut count) = (Instant::now(), 0_u32);
    for at in data::random_places(stage, 4096).take(stage.settings.touched) {
        mapping.byte(usize::try_from(at)?);
        count += 1;
        if begun.elapsed() > stage.settings.patience {
            break;
        }
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

/// A file that is mapped for reading.
struct Mapping {
    start: *mut libc::c_void,
    length: usize,
}

impl Mapping {
    fn new(file: &File) -> Result<Self> {
        let length = usize::try_from(file.metadata()?.len())?;
        // SAFETY: the kernel chooses the place, so nothing that is there is replaced.
        let start = unsafe {
            libc::mmap(ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        ensure!(start != libc::MAP_FAILED, "mmap: {}", io::Error::last_os_error());
        Ok(Self { start, length })
    }

    /// The byte at this place; fetches its page.
    fn byte(&self, at: usize) -> u8 {
        assert!(at < self.length, "a place outside of the file");
        // SAFETY: the place is in the mapping, which is there as long as this is. The file may change, which a volatile read
        // can stand.
        unsafe { self.start.cast::<u8>().add(at).read_volatile() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nothing refers to it: `byte` returns copies.
        unsafe { libc::munmap(self.start, self.length) };
    }
}
