//! The licences of all that is in the packages' binary: the copyright file that they carry, and the tag of the rpm.
//!
//! Nothing is guessed: a crate with a licence that is new here fails the test, and somebody reads it.

use crate::{check, read, repository};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What the packages are built for.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"];

/// What the compiler adds to a static binary is under these; `HEADER` says what has which.
const ADDED: [&str; 3] = ["Apache-2.0 WITH LLVM-exception", "MIT", "Unicode-3.0"];

/// cargo cannot list what comes with the compiler: to be looked through when that changes. The names were read in
/// COPYRIGHT-library.html of Rust 1.95, in the crates that its libstd names, and in musl's COPYRIGHT.
const HEADER: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: sshfs-docker
Comment:
 The binary is static. Besides sshfs-docker and the crates below, all of which
 are linked into it, it has parts that come with the Rust compiler and have no
 files in the source:
 .
 The Rust standard library, license Expat, copyright the Rust Project
 contributors (https://thanks.rust-lang.org), 2014 Alex Crichton, 2019 the
 Crossbeam Project Developers. Its tables of characters have the license
 Unicode-3.0, copyright 1991-2024 Unicode, Inc.
 .
 The crates in that library, license Expat: addr2line, copyright 2016-2018 the
 gimli Developers; adler2, copyright Jonas Schievink; cfg-if and
 rustc-demangle, copyright 2014 Alex Crichton; gimli and libc, copyright the
 Rust Project Developers; hashbrown, copyright 2016 Amanieu d'Antras; memchr,
 copyright 2015 Andrew Gallant; miniz_oxide, copyright 2013-2014 RAD Game Tools
 and Valve Software, 2010-2014 Rich Geldreich and Tenacious Software LLC, 2017
 Frommi, 2017-2024 oyvindln; object, copyright 2015 the Gimli Developers.
 .
 The C library musl, license Expat, copyright 2005-2020 Rich Felker, et al.,
 1999-2019 Arm Limited (https://git.musl-libc.org/cgit/musl/tree/COPYRIGHT).
 .
 LLVM's libunwind and compiler-rt, copyright the LLVM contributors, license
 Apache-2.0 with the LLVM exception (https://llvm.org/LICENSE.txt), which asks
 for neither license nor notice where they are part of a binary.
 .
 What else there is below vendor/ is in no binary; each directory has its own
 license.
";

/// Debian wants the reference. Other systems do not have that file: the rpm brings the text along.
const APACHE: &str = "\
Licensed under the Apache License, Version 2.0 (the \"License\"); you may not
use this file except in compliance with the License. You may obtain a copy of
the License at http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software
distributed under the License is distributed on an \"AS IS\" BASIS, WITHOUT
WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
License for the specific language governing permissions and limitations under
the License.

On Debian systems, the complete text of the Apache License, Version 2.0, is in
/usr/share/common-licenses/Apache-2.0.";

struct Crate {
    /// As `cargo vendor --versioned-dirs` names its directory.
    name: String,
    source: PathBuf,
    copyright: Vec<String>,
    licences: &'static [&'static str],
}

#[test]
fn packages_carry_the_licences_of_what_is_in_the_binary() {
    let crates = crates();
    let mut file = HEADER.to_owned();
    stanza(&mut file, &["*".to_owned()], &notices(&read("LICENSE")), &["MIT"]);
    let mut together: Vec<(Vec<String>, &Crate)> = Vec::new();
    for one in &crates {
        let files = format!("vendor/{}/*", one.name);
        let like = |other: &Crate| (&other.copyright, other.licences) == (&one.copyright, one.licences);
        match together.iter_mut().find(|(_, other)| like(other)) {
            Some((list, _)) => list.push(files),
            None => together.push((vec![files], one)),
        }
    }
    for (files, one) in together {
        stanza(&mut file, &files, &one.copyright, one.licences);
    }
    for (licence, text) in texts(&crates) {
        let _ = write!(file, "\nLicense: {}\n", short(licence));
        for line in text.lines() {
            let _ = writeln!(file, " {}", if line.is_empty() { "." } else { line });
        }
    }
    check("packaging/deb/debian/copyright", &file);
}

#[test]
fn the_rpm_names_the_licences_of_what_is_in_the_binary() {
    let spec = read("packaging/rpm/sshfs-docker.spec.in");
    let tag = spec.lines().find_map(|line| line.strip_prefix("License:")).map(str::trim);
    assert_eq!(tag, Some(&*expression()));
}

#[test]
fn licences_are_not_guessed() {
    let mit: &[&str] = &["MIT"];
    for choice in ["MIT", "Apache-2.0 OR MIT", "MIT/Apache-2.0", "Apache-2.0 WITH LLVM-exception OR MIT"] {
        assert_eq!(used(choice), Some(mit), "{choice}");
    }
    for other in
        ["", "MIT-0", "GPL-3.0-only", "MIT AND Zlib", "Zlib AND BSL-1.0 OR MIT", "(MIT OR Zlib) AND ISC"]
    {
        assert_eq!(used(other), None, "{other}");
    }
}

/// All licences that count, our own first.
fn expression() -> String {
    let crates = crates();
    let all: BTreeSet<_> = crates.iter().flat_map(|one| one.licences.iter().copied()).chain(ADDED).collect();
    let others = all.into_iter().filter(|licence| *licence != "MIT");
    ["MIT"].into_iter().chain(others).collect::<Vec<_>>().join(" AND ")
}

/// The crates that are linked into the binary, in the order of their names.
fn crates() -> Vec<Crate> {
    // Whether the network may be used is up to who runs the test: what these need is there once the test is built.
    let targets = |option| TARGETS.into_iter().flat_map(move |target| [option, target]);
    let tree = ["tree", "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"];
    let tree = cargo(tree.into_iter().chain(targets("--target")));
    let linked: BTreeSet<_> = tree
        .lines()
        .filter_map(|line| line.split_once(" v"))
        .map(|(name, rest)| (name, rest.split(' ').next().unwrap_or_default()))
        .filter(|(name, _)| *name != env!("CARGO_PKG_NAME"))
        .collect();
    let metadata =
        cargo(["metadata", "--format-version", "1"].into_iter().chain(targets("--filter-platform")));
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
    let mut crates: Vec<_> = list(&metadata["packages"])
        .filter(|package| linked.contains(&(text(&package["name"]), text(&package["version"]))))
        .map(read_crate)
        .collect();
    assert_eq!(crates.len(), linked.len(), "`cargo metadata` has all that `cargo tree` has");
    crates.sort_by(|one, other| one.name.cmp(&other.name));
    crates
}

fn cargo<'a>(arguments: impl Iterator<Item = &'a str>) -> String {
    let mut command = Command::new(env!("CARGO"));
    let command = command.current_dir(repository()).args(arguments).args(["--locked", "--color", "never"]);
    let output = command.output().expect("cargo");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn read_crate(package: &Value) -> Crate {
    let name = text(&package["name"]);
    let source = Path::new(text(&package["manifest_path"])).parent().expect("a directory").to_owned();
    let licence = text(&package["license"]);
    let licences = used(licence).unwrap_or_else(|| {
        panic!("{name} has the licence {licence:?}: read it, and add it to tests/manual/licences.rs")
    });

    let (mut own, mut of_others) = (Vec::new(), Vec::new());
    let mut files: Vec<_> =
        fs::read_dir(&source).expect("the crate's source").flatten().map(|entry| entry.file_name()).collect();
    files.sort();
    for file in files.iter().filter_map(|file| file.to_str()) {
        let notice = file.starts_with("NOTICE") && licences.contains(&"Apache-2.0");
        assert!(!notice, "{name} has a file {file}, and the packages have to carry what it says");
        if file.starts_with("LICENSE") || file.starts_with("COPYING") {
            let others = file.contains("THIRD-PARTY") || file.contains("UNICODE");
            let list = if others { &mut of_others } else { &mut own };
            list.extend(notices(&contents(&source.join(file))));
        }
    }
    if own.is_empty() {
        own = list(&package["authors"]).map(text).map(str::to_owned).collect();
    }
    if own.is_empty() {
        own.push(format!("the authors of {name}"));
    }
    let mut copyright = Vec::new();
    for notice in own.into_iter().chain(of_others) {
        if !copyright.contains(&notice) {
            copyright.push(notice);
        }
    }
    Crate { name: format!("{name}-{}", text(&package["version"])), source, copyright, licences }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The licences under which a crate is used, as SPDX has them.
fn used(expression: &str) -> Option<&'static [&'static str]> {
    match expression {
        "Apache-2.0" => Some(&["Apache-2.0"]),
        "BSD-3-Clause" => Some(&["BSD-3-Clause"]),
        "(MIT OR Apache-2.0) AND Unicode-3.0" => Some(&["MIT", "Unicode-3.0"]),
        _ if expression.contains('(') || expression.contains(" AND ") => None,
        // Cargo once wrote "OR" as a slash.
        _ => expression.replace('/', " OR ").split(" OR ").any(|choice| choice == "MIT").then_some(&["MIT"]),
    }
}

/// Debian's name of a licence.
fn short(licence: &str) -> &str {
    match licence {
        "MIT" => "Expat",
        "BSD-3-Clause" => "BSD-3-clause",
        other => other,
    }
}

/// Who has the copyright, line by line: not prose about copyright, nor the brackets of Apache's template.
fn notices(licence: &str) -> Vec<String> {
    licence.lines().filter_map(notice).map(str::to_owned).collect()
}

fn notice(line: &str) -> Option<&str> {
    let claim = line.trim().strip_prefix("Copyright ")?.trim_start();
    let sign = ["(c)", "(C)", "©"].into_iter().find_map(|sign| claim.strip_prefix(sign));
    let is_claim =
        sign.is_some() || claim.starts_with(|first: char| first.is_ascii_digit() || first.is_uppercase());
    is_claim.then_some(sign.unwrap_or(claim).trim_start())
}

fn stanza(file: &mut String, files: &[String], copyright: &[String], licences: &[&str]) {
    let licences: Vec<_> = licences.iter().map(|licence| short(licence)).collect();
    let (files, copyright) = (files.join("\n "), copyright.join("\n "));
    let _ = write!(file, "\nFiles: {files}\nCopyright: {copyright}\nLicense: {}\n", licences.join(" and "));
}

/// The text of each licence. One that names its holders is that of the crate.
fn texts(crates: &[Crate]) -> BTreeMap<&'static str, String> {
    let own = conditions(&repository().join("LICENSE"));
    let mut texts = BTreeMap::from([("Apache-2.0", APACHE.to_owned()), ("MIT", own)]);
    for one in crates {
        for licence in one.licences {
            let file = match *licence {
                "BSD-3-Clause" => "LICENSE",
                "Unicode-3.0" => "LICENSE-UNICODE",
                _ => continue,
            };
            let text = conditions(&one.source.join(file));
            let first = texts.entry(licence).or_insert_with(|| text.clone());
            assert!(*first == text, "{} has {licence} in words of its own: keep both texts", one.name);
        }
    }
    for licence in ADDED.iter().filter_map(|licence| licence.split(" WITH ").next()) {
        assert!(texts.contains_key(licence), "{licence} is in no crate any more: keep its text here");
    }
    texts
}

/// What follows the copyright notices.
fn conditions(file: &Path) -> String {
    let text = contents(file);
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    let begin = lines.iter().rposition(|line| notice(line).is_some()).map_or(0, |last| last + 1);
    lines[begin..].join("\n").trim().to_owned()
}

fn contents(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
