//! /proc/PID/mountinfo: what the kernel says is mounted (proc_pid_mountinfo(5)).

use nix::sys::stat::{major, minor};
use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
    fmt, fs, io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Unique over all mount namespaces of the host.
    pub id: u32,
    /// The mount that it lies on.
    pub parent: u32,
    /// `st_dev` of the file system: the superblock, whoever has it mounted where.
    pub device: Device,
    /// Which directory of the file system is mounted.
    pub root: PathBuf,
    /// Where, as the process sees it.
    pub mountpoint: PathBuf,
    /// Flags of this mount, comma separated: `ro`, `nosuid`, …
    pub options: String,
    /// `shared:N`: the peer group.
    pub shared: Option<u32>,
    /// `master:N`: the peer group from which mounts and unmounts arrive here.
    pub master: Option<u32>,
    /// `fuse.sshfs` and the like.
    pub filesystem: String,
    /// What it was mounted from, as the one who mounted it said.
    pub source: String,
}

/// Major and minor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device {
    /// 0 for FUSE.
    pub major: u32,
    /// Which FUSE connection.
    pub minor: u32,
}

impl Device {
    /// From the number that stat(2) gives.
    #[must_use]
    pub fn of(st_dev: u64) -> Self {
        let part = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Self { major: part(major(st_dev)), minor: part(minor(st_dev)) }
    }
}

impl FromStr for Device {
    type Err = String;

    /// `0:55`, as it is displayed.
    fn from_str(text: &str) -> Result<Self, String> {
        let numbers =
            text.split_once(':').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        let (major, minor) = numbers.ok_or_else(|| format!("{text:?} is not of the form MAJOR:MINOR"))?;
        Ok(Self { major, minor })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// All mounts that this process sees.
pub fn own() -> io::Result<Vec<Mount>> {
    Ok(parse(&fs::read("/proc/self/mountinfo")?))
}

/// All mounts that this thread sees, which may have a mount namespace of its own.
pub fn of_this_thread() -> io::Result<Vec<Mount>> {
    Ok(parse(&fs::read("/proc/thread-self/mountinfo")?))
}

/// The uppermost mount at `mountpoint`, if there is one. Never touches the file system itself, which may hang.
pub fn at(mountpoint: &Path) -> io::Result<Option<Mount>> {
    Ok(uppermost(own()?).into_iter().rfind(|mount| mount.mountpoint == mountpoint))
}

/// Leaves out what another mount covers whole. The order of the lines does not tell: a mount that was put beneath another
/// one may come after it.
#[must_use]
pub fn uppermost(mut mounts: Vec<Mount>) -> Vec<Mount> {
    let covered: HashSet<u32> = {
        let places: HashMap<u32, &Path> = mounts.iter().map(|m| (m.id, m.mountpoint.as_path())).collect();
        let covers = |m: &&Mount| m.parent != m.id && places.get(&m.parent) == Some(&m.mountpoint.as_path());
        mounts.iter().filter(covers).map(|m| m.parent).collect()
    };
    mounts.retain(|mount| !covered.contains(&mount.id));
    mounts
}

/// Reads a mountinfo file. A line that is not understood is left out: it cannot be one of ours, which the kernel
/// writes in the documented form.
#[must_use]
pub fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|b| *b == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|b| *b == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let device = fields.next()?;
    let colon = device.iter().position(|b| *b == b':')?;
    let device = Device { major: number(&device[..colon])?, minor: number(&device[colon + 1..])? };
    let root = path(fields.next()?);
    let mountpoint = path(fields.next()?);
    let options = String::from_utf8(fields.next()?.to_vec()).ok()?;
    let (mut shared, mut master) = (None, None);
    // Zero or more optional fields, ended by a single dash.
    loop {
        match fields.next()? {
            b"-" => break,
            field if field.starts_with(b"shared:") => shared = Some(number(&field[7..])?),
            field if field.starts_with(b"master:") => master = Some(number(&field[7..])?),
            _ => {}
        }
    }
    let filesystem = String::from_utf8(unescape(fields.next()?)).ok()?;
    let source = String::from_utf8_lossy(&unescape(fields.next()?)).into_owned();
    Some(Mount { id, parent, device, root, mountpoint, options, shared, master, filesystem, source })
}

fn path(text: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(text)))
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Undoes `\040` and its like (mangle() in fs/seq_file.c: blank, tab, newline, backslash).
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let octal = |b: &u8| (b'0'..=b'7').contains(b).then(|| u32::from(b - b'0'));
        let escaped = match rest {
            [b'\\', a, b, c, ..] => {
                octal(a).zip(octal(b)).zip(octal(c)).map(|((a, b), c)| a * 64 + b * 8 + c)
            }
            _ => None,
        };
        if let Some(byte) = escaped.and_then(|code| u8::try_from(code).ok()) {
            bytes.push(byte);
            rest = &rest[4..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_as_the_kernel_writes_them() {
        let text = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n\
            71 29 0:55 / /var/lib/sshfs-docker/mnt/data rw,nosuid,nodev,relatime shared:40 - fuse.sshfs alice@h:/a\\040b rw\n\
            72 29 0:56 / /with\\040blank\\134 rw shared:4 master:3 propagate_from:2 - fuse x rw\n\
            garbage\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 3);
        assert_eq!((mounts[0].shared, mounts[0].master), (None, Some(1)));
        assert_eq!((mounts[1].id, mounts[1].parent), (71, 29));
        assert_eq!(mounts[0].root, Path::new("/mnt1"));
        assert_eq!(mounts[1].device, Device { major: 0, minor: 55 });
        assert_eq!(mounts[1].mountpoint, Path::new("/var/lib/sshfs-docker/mnt/data"));
        assert_eq!(mounts[1].filesystem, "fuse.sshfs");
        assert_eq!(mounts[1].options, "rw,nosuid,nodev,relatime");
        assert_eq!(mounts[1].source, "alice@h:/a b");
        assert_eq!(mounts[2].mountpoint, Path::new("/with blank\\"));
        assert_eq!((mounts[2].shared, mounts[2].master), (Some(4), Some(3)));
    }

    #[test]
    fn a_device_reads_back_and_is_that_of_stat() {
        let device = Device { major: 0, minor: 55 };
        assert_eq!(device.to_string().parse(), Ok(device));
        assert!("0".parse::<Device>().is_err());
        let proc = at(Path::new("/proc")).unwrap().unwrap();
        let number = std::os::unix::fs::MetadataExt::dev(&fs::metadata("/proc").unwrap());
        assert_eq!(Device::of(number), proc.device);
    }

    #[test]
    fn of_several_mounts_at_one_place_the_uppermost_counts_whatever_their_order() {
        let text = b"1 1 0:2 / / rw - rootfs none rw\n\
            20 1 98:0 / / rw - ext4 /dev/root rw\n\
            31 33 0:55 / /d rw - fuse.sshfs data=h:/ rw\n\
            33 20 0:56 / /d rw - fuse.sshfs data:2=h:/ rw\n";
        let seen: Vec<_> = uppermost(parse(text)).iter().map(|mount| mount.id).collect();
        assert_eq!(seen, [20, 31]);
    }

    #[test]
    fn this_host_has_a_root() {
        assert!(at(Path::new("/")).unwrap().is_some());
        assert!(at(Path::new("/no/such/mountpoint")).unwrap().is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(text in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&text);
        }

        #[test]
        fn escaped_paths_read_back(path in prop::collection::vec(1..=255u8, 0..40)) {
            let escaped: Vec<u8> = path.iter().flat_map(|b| match b {
                b' ' | b'\t' | b'\n' | b'\\' => format!("\\{b:03o}").into_bytes(),
                _ => vec![*b],
            }).collect();
            prop_assert_eq!(unescape(&escaped), path);
        }
    }
}
