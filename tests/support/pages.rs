//! Pages of documentation as a test reads them: the blocks between ``` in their order, and what is to be done with each.
//!
//! The word behind ``` says what a block is:
//!
//! - `sh`: commands, run by one shell that ends at the first that fails;
//! - `console`: commands behind `$ `, each run by itself, and below it what it says. `…` in there is any text, also over
//!   several lines; nothing below it means that anything may be said. A command works, unless its answer begins with
//!   `Error`, or it is the last one of a block `console fails`: those fail;
//! - `toml`, `yaml`, `ini` and the like with the name of a file: written there.
//!
//! `notest` and a reason behind the word: not run. A comment `<!-- on HOST: COMMANDS -->`, which no reader sees, is run by that
//! host of the lab where it stands: what the page takes for granted. A page that has a block without any of this does not
//! parse.

use anyhow::{Context, Result, bail, ensure};

/// What a page has the reader do, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Commands.
    Script(String),
    /// A command and what it says.
    Dialogue {
        /// The command.
        command: String,
        /// What it says; empty where the page does not show it.
        answer: String,
        /// Whether it is one that fails.
        fails: bool,
    },
    /// A file to write.
    File {
        /// Its path, absolute or in the directory of the page.
        path: String,
        /// What is in it.
        content: String,
    },
    /// What the page takes for granted.
    Hidden {
        /// A host of the lab.
        host: String,
        /// Commands.
        script: String,
    },
    /// A block that is not run.
    Marked {
        /// Why.
        reason: String,
    },
}

/// The steps of a page, each with the line that it begins at.
pub fn steps(page: &str) -> Result<Vec<(usize, Step)>> {
    let mut steps = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let line = line.trim_start();
        let at = number + 1;
        if let Some(kind) = line.strip_prefix("```") {
            let body =
                until(&mut lines, |line| line.trim() == "```").with_context(|| format!("line {at}"))?;
            let block = block(kind.trim(), &body).with_context(|| format!("line {at}"))?;
            steps.extend(block.into_iter().map(|step| (at, step)));
        } else if let Some(first) = line.strip_prefix("<!-- on ") {
            let (host, script) = first.split_once(':').with_context(|| format!("line {at}: no host"))?;
            let script = match script.split_once("-->") {
                Some((script, _)) => script.to_owned(),
                None => script.to_owned() + "\n" + &until(&mut lines, |line| line.trim() == "-->")?,
            };
            steps.push((at, Step::Hidden { host: host.to_owned(), script }));
        }
    }
    Ok(steps)
}

fn until<'a>(
    lines: &mut impl Iterator<Item = (usize, &'a str)>,
    is_end: impl Fn(&str) -> bool,
) -> Result<String> {
    let mut body = String::new();
    for (_, line) in lines {
        if is_end(line) {
            return Ok(body);
        }
        body += line;
        body.push('\n');
    }
    bail!("the block has no end")
}

fn block(kind: &str, body: &str) -> Result<Vec<Step>> {
    let (kind, rest) = kind.split_once(' ').unwrap_or((kind, ""));
    if let Some(reason) = rest.strip_prefix("notest") {
        ensure!(reason.len() > 3, "'notest' without a reason");
        return Ok(vec![Step::Marked { reason: reason.trim().to_owned() }]);
    }
    match (kind, rest) {
        ("sh", "") => Ok(vec![Step::Script(body.to_owned())]),
        ("console", "") => dialogues(body),
        ("console", "fails") => {
            let mut steps = dialogues(body)?;
            if let Some(Step::Dialogue { fails, .. }) = steps.last_mut() {
                *fails = true;
            }
            Ok(steps)
        }
        ("toml" | "yaml" | "ini" | "json" | "ssh-config" | "text", path)
            if path.contains('.') || path.contains('/') =>
        {
            Ok(vec![Step::File { path: path.to_owned(), content: body.to_owned() }])
        }
        _ => bail!("a block of kind '{kind} {rest}' is neither run nor marked with 'notest' and a reason"),
    }
}

fn dialogues(body: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for line in body.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => {
                steps.push(Step::Dialogue {
                    command: command.to_owned(),
                    answer: String::new(),
                    fails: false,
                });
            }
            (None, Some(Step::Dialogue { command, answer, .. }))
                if answer.is_empty() && command.ends_with('\\') =>
            {
                *command += "\n";
                *command += line;
            }
            (None, Some(Step::Dialogue { answer, .. })) => {
                *answer += line;
                answer.push('\n');
            }
            _ => bail!("a dialogue begins with a command behind '$ '"),
        }
    }
    for step in &mut steps {
        let Step::Dialogue { command, answer, fails } = step else { continue };
        ensure!(answer.trim() != "…", "'{command}': an answer that may be anything is left out");
        *fails = answer.starts_with("Error");
    }
    Ok(steps)
}

/// Whether what was said is what the page shows. Blanks at the ends of lines do not count, and a page may break a line.
pub fn says(said: &str, shown: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (said, shown) = (words(said), words(shown));
    if shown.is_empty() {
        return true;
    }
    let parts: Vec<_> = shown.split('…').map(str::trim).collect();
    let [first, .., last] = parts.as_slice() else { return said == shown };
    let Some(mut rest) = said.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else {
        return false;
    };
    for part in &parts[1..parts.len() - 1] {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}
