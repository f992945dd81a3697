//! What the administrator's commands print: aligned tables, and colours where a terminal shows them (`NO_COLOR` is heeded).

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use std::fmt::Write;

/// Something is as it should be.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Something needs a look.
pub const WARNING: Style = AnsiColor::Yellow.on_default();
/// Something is wrong.
pub const BAD: Style = AnsiColor::Red.on_default();
/// Headings.
pub const HEADING: Style = Style::new().bold();
/// What matters less.
pub const FAINT: Style = Style::new().dimmed();

/// Text in a style.
#[must_use]
pub fn painted(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Prints one JSON value.
pub fn json(value: &impl Serialize) -> serde_json::Result<()> {
    anstream::println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Rows of cells under headings.
#[derive(Debug)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// A text in a style.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A cell in a style.
    #[must_use]
    pub fn new(style: Style, text: impl Into<String>) -> Self {
        Self { text: text.into(), style }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(Style::new(), text)
    }
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, with as many cells as there are headings.
    pub fn add(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    /// The lines. The last column is not padded.
    #[must_use]
    pub fn render(&self) -> String {
        let headings = self.headings.iter().map(|heading| Cell::new(HEADING, *heading)).collect();
        let lines: Vec<&Vec<Cell>> = std::iter::once(&headings).chain(&self.rows).collect();
        let width = |column: usize| {
            lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.text.chars().count()).max()
        };
        let widths: Vec<usize> =
            (0..self.headings.len()).map(|column| width(column).unwrap_or_default()).collect();
        let mut text = String::new();
        for line in lines {
            for (column, cell) in line.iter().enumerate() {
                let last = column + 1 == line.len();
                let padding =
                    if last { 0 } else { widths[column].saturating_sub(cell.text.chars().count()) + 2 };
                _ = write!(text, "{}{:padding$}", painted(cell.style, &cell.text), "");
            }
            text.push('\n');
        }
        text
    }

    /// Prints it.
    pub fn print(&self) {
        anstream::print!("{}", self.render());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_whatever_their_colours() {
        let mut table = Table::new(&["VOLUME", "STATE"]);
        table.add(vec!["a".into(), Cell::new(GOOD, "mounted")]);
        table.add(vec!["a-longer-name".into(), "unmounted".into()]);
        let plain = anstream::adapter::strip_str(&table.render()).to_string();
        assert_eq!(plain, "VOLUME         STATE\na              mounted\na-longer-name  unmounted\n");
    }
}
