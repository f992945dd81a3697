//! The program by itself, on a host where nothing is installed.

use crate::{cases, program};
use serde_json::Value;
use std::{fs, process::Command};

cases![it_tells_its_version, it_is_static, doctor_runs];

fn it_tells_its_version() {
    let output = Command::new(program()).arg("--version").output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).expect("text");
    assert_eq!(told.trim_end(), concat!("sshfs-docker ", env!("CARGO_PKG_VERSION")));
}

/// It needs nothing of the host: the kernel starts a loader of libraries only where a program names one.
fn it_is_static() {
    /// Offsets and values of elf(5), for 64 bits and little endian.
    const MACHINE: usize = 18;
    const AARCH64: u16 = 183;
    const HEADERS: usize = 32;
    const HEADER_SIZE: usize = 54;
    const HEADER_COUNT: usize = 56;
    const INTERPRETER: u32 = 3;
    let elf = fs::read(program()).expect("a program");
    let short = |at: usize| u16::from_le_bytes(elf[at..at + 2].try_into().unwrap());
    assert_eq!(elf[..6], *b"\x7fELF\x02\x01");
    assert_eq!(short(MACHINE), AARCH64);
    let headers = u64::from_le_bytes(elf[HEADERS..HEADERS + 8].try_into().unwrap());
    let headers = &elf[usize::try_from(headers).unwrap()..];
    let types: Vec<_> = headers
        .chunks(short(HEADER_SIZE).into())
        .take(short(HEADER_COUNT).into())
        .map(|header| u32::from_le_bytes(header[..4].try_into().unwrap()))
        .collect();
    assert!(types.len() > 1 && !types.contains(&INTERPRETER), "{types:?}");
}

fn doctor_runs() {
    let output = Command::new(program()).args(["doctor", "--json"]).output().expect("it runs");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    let findings = report["findings"].as_array().expect("findings");
    assert!(
        findings.iter().any(|finding| finding["check"] == "kernel" && finding["state"] == "ok"),
        "{report}"
    );
    let problems = findings.iter().filter(|finding| finding["state"] == "problem").count();
    assert_eq!(report["problems"], problems);
    assert_eq!(output.status.code(), Some(i32::from(problems > 0)), "{output:?}");
}
