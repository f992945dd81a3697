//! docs/errors.md as the tests read it: each `###` heading is the kind of an error, each `####` heading below it one of
//! several with that kind, and the quotation that follows is the message, word for word.

// Each of the test programs that share this uses a part of it.
#![allow(dead_code)]

use std::{collections::BTreeMap, fs};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors.md");

/// Those that only a booted host can have; the lab tier provokes them.
pub const ON_BOOTED_HOSTS: &[&str] = &[
    "no-systemd",
    "unit-refused",
    "unit-failed",
    "no-user",
    "credential-unreadable",
    "password-sealed",
    "agent-unusable",
    "login-ended",
    "login-ended-for-all",
];

/// One message of the page.
#[derive(Debug)]
pub struct Entry {
    /// What counts and the journal call it.
    pub kind: String,
    /// What `docker` shows.
    pub message: String,
}

/// All entries by the heading that they stand under.
pub fn read() -> BTreeMap<String, Entry> {
    let page = fs::read_to_string(PAGE).expect("docs/errors.md");
    let (mut kind, mut heading) = (String::new(), String::new());
    let mut entries = BTreeMap::<String, Entry>::new();
    for line in page.lines() {
        if let Some(name) = line.strip_prefix("### ") {
            name.trim_matches('`').clone_into(&mut kind);
            kind.clone_into(&mut heading);
        } else if let Some(name) = line.strip_prefix("#### ") {
            name.clone_into(&mut heading);
        } else if let Some(words) = line.strip_prefix("> ") {
            let new = || Entry { kind: kind.clone(), message: String::new() };
            let message = &mut entries.entry(heading.clone()).or_insert_with(new).message;
            if !message.is_empty() {
                message.push(' ');
            }
            message.push_str(words);
        }
    }
    entries
}

/// What the page says before its entries.
pub fn head() -> String {
    let page = fs::read_to_string(PAGE).expect("docs/errors.md");
    page.split("\n## ").next().unwrap_or_default().to_owned()
}

/// What varies from host to host, in the words of the page.
pub fn in_general(message: &str) -> String {
    // What a server has depends on its version.
    let mut message = message.to_owned();
    if let Some((before, offer)) = message.split_once("the server offers: ") {
        let (_, after) = offer.split_once(')').expect("a list in parentheses");
        message = format!("{before}the server offers: …){after}");
    }
    let mut general = String::new();
    let mut rest = message.as_str();
    while let Some(c) = rest.chars().next() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let is_port = digits >= 4 && [" port ", "]:"].iter().any(|before| general.ends_with(before));
        let (shown, length) = if rest.starts_with("SHA256:") && rest.len() >= 50 {
            ("SHA256:…", 50)
        } else if is_port {
            ("2222", digits)
        } else {
            (&rest[..c.len_utf8()], c.len_utf8())
        };
        general.push_str(shown);
        rest = &rest[length..];
    }
    general
}
