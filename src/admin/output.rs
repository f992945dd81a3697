//! What the administrator's commands print: aligned tables, and colours where a terminal shows them (`NO_COLOR` is heeded).

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use std::{
    fmt::{Display, Write as _},
    io::{self, IsTerminal, Write as _},
};

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

/// Prints a text as it is. Nobody need read it to the end (`| head`): who has stopped gets no more, and what was to be done
/// is done all the same.
pub fn text(text: impl Display) -> io::Result<()> {
    let mut stdout = anstream::stdout();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Prints a line.
pub fn line(line: impl Display) -> io::Result<()> {
    text(format_args!("{line}\n"))
}

/// Prints one JSON value.
pub fn json(value: &impl Serialize) -> io::Result<()> {
    line(serde_json::to_string_pretty(value)?)
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

    /// The lines, cut to `columns` where a terminal has so many. The last column is not padded.
    #[must_use]
    pub fn render(&self, columns: Option<usize>) -> String {
        let headings = self.headings.iter().map(|heading| Cell::new(HEADING, *heading)).collect();
        let lines: Vec<&Vec<Cell>> = std::iter::once(&headings).chain(&self.rows).collect();
        let width = |column: usize| {
            lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.text.chars().count()).max()
        };
        let mut widths: Vec<usize> =
            (0..self.headings.len()).map(|column| width(column).unwrap_or_default()).collect();
        fit(&mut widths, columns);
        let mut text = String::new();
        for line in lines {
            for (column, cell) in line.iter().enumerate() {
                let last = column + 1 == line.len();
                let shown = cut(&cell.text, widths[column]);
                let padding =
                    if last { 0 } else { widths[column].saturating_sub(shown.chars().count()) + GAP };
                _ = write!(text, "{}{:padding$}", painted(cell.style, &shown), "");
            }
            text.push('\n');
        }
        text
    }

    /// Prints it.
    pub fn print(&self) -> io::Result<()> {
        text(self.render(columns()))
    }
}

/// Between two columns.
const GAP: usize = 2;

/// A column is not made narrower than this.
const LEAST: usize = 8;

/// Takes from the widest columns until all fit.
fn fit(widths: &mut [usize], columns: Option<usize>) {
    let Some(columns) = columns else { return };
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > columns {
        match widths.iter_mut().max() {
            Some(widest) if *widest > LEAST => *widest -= 1,
            _ => return,
        }
    }
}

/// At most `width` characters, in one line.
fn cut(text: &str, width: usize) -> String {
    let text = text.replace(char::is_control, " ");
    if text.chars().count() <= width {
        return text;
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// The lines of a text that is broken between words. A word that is longer stays whole: it may be a command to copy.
#[must_use]
pub fn wrap(text: &str, width: Option<usize>) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, |line| line.chars().count());
        let is_full = width.is_some_and(|width| line > 0 && line + 1 + word.chars().count() > width);
        match lines.last_mut() {
            Some(last) if !is_full => {
                if line > 0 {
                    last.push(' ');
                }
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// How wide the terminal is; None where the output goes elsewhere, so that nothing is cut.
#[must_use]
pub fn columns() -> Option<usize> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stdout).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_whatever_their_colours() {
        let mut table = Table::new(&["VOLUME", "STATE"]);
        table.add(vec!["a".into(), Cell::new(GOOD, "mounted")]);
        table.add(vec!["a-longer-name".into(), "unmounted".into()]);
        let plain = anstream::adapter::strip_str(&table.render(None)).to_string();
        assert_eq!(plain, "VOLUME         STATE\na              mounted\na-longer-name  unmounted\n");
    }
    #[test]
    fn text_is_broken_between_words() {
        assert_eq!(wrap("a bc def  ghi", Some(6)), ["a bc", "def", "ghi"]);
        assert_eq!(wrap("a longer-than-that", Some(6)), ["a", "longer-than-that"]);
        assert_eq!(wrap("a bc def", None), ["a bc def"]);
    }

    #[test]
    fn the_widest_column_is_cut_first_and_none_beyond_recognition() {
        let mut widths = [10, 40, 12];
        fit(&mut widths, Some(50));
        assert_eq!(widths, [10, 24, 12]);
        fit(&mut widths, Some(10));
        assert_eq!(widths, [8, 8, 8]);
        assert_eq!(cut("3f2a1b0c9d8e", 8), "3f2a1b0…");
        assert_eq!(cut("a\nb", 8), "a b");
    }
}
