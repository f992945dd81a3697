//! Which sshfs of a volume. There is one, and its unit and files have the name of the volume. A restart starts another
//! while the one before still serves files that are open: that is `data:2`, with a unit and files of its own.

use super::VolumeName;
use std::fmt;

/// One of the sshfs processes that serve a volume, now or one after the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation {
    name: VolumeName,
    number: u32,
}

impl Generation {
    /// The one that bears the volume's name alone.
    #[must_use]
    pub fn first(name: &VolumeName) -> Self {
        Self { name: name.clone(), number: 1 }
    }

    /// The first one that is not `taken`.
    #[must_use]
    pub fn free(name: &VolumeName, taken: impl Fn(&Self) -> bool) -> Self {
        let all = (1..).map(|number| Self { name: name.clone(), number });
        all.into_iter().find(|generation| !taken(generation)).unwrap_or_else(|| Self::first(name))
    }

    /// Reads back what it is displayed as, if that is one of `name`.
    #[must_use]
    pub fn read(text: &str, name: &VolumeName) -> Option<Self> {
        // No name contains a colon.
        let number = match text.strip_prefix(name.as_str())? {
            "" => 1,
            rest => rest.strip_prefix(':')?.parse().ok().filter(|number| *number > 1)?,
        };
        Some(Self { name: name.clone(), number })
    }

    /// Its volume.
    #[must_use]
    pub fn volume(&self) -> &VolumeName {
        &self.name
    }

    /// Its unit.
    #[must_use]
    pub fn unit(&self) -> String {
        format!("sshfs-docker-mount-{self}.service")
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            1 => write!(f, "{}", self.name),
            number => write!(f, "{}:{number}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bears_the_name_alone_and_all_read_back() {
        let name = VolumeName::new("data").unwrap();
        let first = Generation::first(&name);
        let second = Generation::free(&name, |generation| *generation == first);
        let third = Generation::free(&name, |generation| [&first, &second].contains(&generation));
        assert_eq!([&first, &second, &third].map(ToString::to_string), ["data", "data:2", "data:3"]);
        assert_eq!(second.unit(), "sshfs-docker-mount-data:2.service");
        assert_eq!(Generation::free(&name, |generation| *generation != first), first);
        for generation in [first, second, third] {
            assert_eq!(Generation::read(&generation.to_string(), &name), Some(generation));
        }
        for other in
            ["", "dat", "data2", "data-2", "data:", "data:1", "data:0", "data:2x", "data:-2", "other:2"]
        {
            assert_eq!(Generation::read(other, &name), None, "{other}");
        }
    }
}
