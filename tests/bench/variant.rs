//! A volume of the driver with options of its own: a column where a setting of the driver is measured, and not the driver
//! beside others.

/// One value of a setting.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Variant {
    /// Among the columns; the first in the order.
    place: u8,
    /// The value as the table has it.
    pub name: &'static str,
    /// What the volume is created with. Nothing is the default.
    pub options: &'static [(&'static str, &'static str)],
}

impl Variant {
    pub const fn new(
        place: u8,
        name: &'static str,
        options: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self { place, name, options }
    }

    /// From 0 on.
    pub const fn place(&self) -> u8 {
        self.place
    }
}
