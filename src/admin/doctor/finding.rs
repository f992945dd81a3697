//! What a check has found, and how it is shown.

use crate::admin::output::{self, BAD, GOOD, WARNING, painted};
use serde::Serialize;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, and may not for long, or not as well as it could.
    Warning,
    /// Something does not work.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it is.
    pub state: State,
    /// What was seen.
    pub what: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(what: impl Into<String>) -> Self {
        Self { state: State::Ok, what: what.into(), remedy: None }
    }

    /// It works for now.
    pub fn warning(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: State::Warning, what: what.into(), remedy: Some(remedy.into()) }
    }

    /// It does not work.
    pub fn problem(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: State::Problem, what: what.into(), remedy: Some(remedy.into()) }
    }
}

/// A finding with the name of its check.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// The check.
    pub check: &'static str,
    /// What it found.
    #[serde(flatten)]
    pub finding: Finding,
}

/// Where texts begin: behind the state and the name of the check.
const INDENT: usize = 23;

/// Too narrow a terminal is left to break the lines itself.
const LEAST: usize = 30;

impl Found {
    /// Its lines, for a terminal with so many columns.
    #[must_use]
    pub fn render(&self, columns: Option<usize>) -> String {
        let Finding { state, what, remedy } = &self.finding;
        let (style, word) = match state {
            State::Ok => (GOOD, "ok"),
            State::Warning => (WARNING, "warning"),
            State::Problem => (BAD, "problem"),
        };
        let width = columns.and_then(|columns| columns.checked_sub(INDENT)).filter(|width| *width >= LEAST);
        let mut text = format!("{}  {:12}  ", painted(style, &format!("{word:7}")), self.check);
        let mut lines = output::wrap(what, width);
        lines.extend(remedy.iter().flat_map(|remedy| output::wrap(&format!("→ {remedy}"), width)));
        text.push_str(&lines.join(&format!("\n{:INDENT$}", "")));
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_fits_into_the_terminal_and_its_remedy_has_a_line_of_its_own() {
        let found = Found {
            check: "socket",
            finding: Finding::problem(
                "a word ".repeat(20).trim(),
                "systemctl enable --now sshfs-docker.socket",
            ),
        };
        for columns in [80, 120] {
            let text = anstream::adapter::strip_str(&found.render(Some(columns))).to_string();
            assert!(text.lines().all(|line| line.chars().count() <= columns), "{text}");
            assert!(text.contains("\n                       → systemctl enable"), "{text}");
        }
        let text = anstream::adapter::strip_str(&found.render(None)).to_string();
        assert!(text.starts_with("problem  socket        a word a word"), "{text}");
    }
}
