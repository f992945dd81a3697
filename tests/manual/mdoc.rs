//! Text in the language of man pages, mdoc(7), and the parts of a page that are generated.

/// What `mandoc -T lint` finds good.
const LONGEST_LINE: usize = 80;

/// Text as roff shows it: its escape character, and the characters that it would make typographical ones of.
pub fn text(plain: &str) -> String {
    let mut escaped = String::new();
    for c in plain.chars() {
        match c {
            '\\' => escaped.push_str("\\e"),
            '\'' => escaped.push_str("\\(aq"),
            '"' => escaped.push_str("\\(dq"),
            '^' => escaped.push_str("\\(ha"),
            '~' => escaped.push_str("\\(ti"),
            '`' => escaped.push_str("\\(ga"),
            _ => escaped.push(c),
        }
    }
    // A line that begins with it is a request.
    if escaped.starts_with('.') { format!("\\&{escaped}") } else { escaped }
}

/// A sentence of its own, in lines.
pub fn sentence(plain: &str) -> String {
    lines(&text(&(capital(plain).trim_end_matches('.').to_owned() + ".")))
}

/// With a capital letter first, unless that is the name of a program.
fn capital(plain: &str) -> String {
    let mut letters = plain.chars();
    match letters.next() {
        Some(letter) if !plain.starts_with("ssh") => letter.to_uppercase().to_string() + letters.as_str(),
        _ => plain.to_owned(),
    }
}

/// Text in lines that are not longer than those of other pages.
fn lines(text: &str) -> String {
    let (mut lines, mut length) = (String::new(), 0);
    for word in text.split(' ') {
        if length > 0 {
            let fits = length + 1 + word.len() <= LONGEST_LINE && !word.starts_with('.');
            lines.push(if fits { ' ' } else { '\n' });
            length = if fits { length + 1 } else { 0 };
        }
        lines += word;
        length += word.len();
    }
    lines
}

/// What clap shows: paragraphs, and lines with a margin, which are shown as they are.
pub fn paragraphs(help: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for part in help.split("\n\n").flat_map(|paragraph| ["", paragraph]).skip(1) {
        if part.is_empty() {
            lines.push(".Pp".to_owned());
            continue;
        }
        let (shown, said): (Vec<_>, Vec<_>) = part.lines().partition(|line| line.starts_with("  "));
        let said = said.join(" ");
        // Each sentence begins a line: formatters put the right space between them.
        for said in said.split(". ").filter(|said| !said.is_empty()) {
            let end = if said.ends_with(':') { "" } else { "." };
            lines.push(self::lines(&text(&(capital(said).trim_end_matches('.').to_owned() + end))));
        }
        if !shown.is_empty() {
            lines.push(".Bd -literal -compact".to_owned());
            lines.extend(shown.iter().map(|line| text(line.trim_start())));
            lines.push(".Ed".to_owned());
        }
    }
    lines.join("\n") + "\n"
}

/// The page with other lines between the two comments that mark a part of it.
pub fn replace(page: &str, part: &str, lines: &str) -> String {
    let (begin, end) = (format!(".\\\" generated: {part}\n"), format!(".\\\" end: {part}\n"));
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("the page has no {begin:?}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("the page has no {end:?}"));
    format!("{before}{begin}{lines}{end}{after}")
}
