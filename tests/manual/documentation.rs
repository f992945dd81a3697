//! The documentation: its blocks, its links, and what a page must not leave out.

use crate::{names_in, pages, read, repository};
use std::path::Path;

#[test]
fn each_block_of_the_documentation_is_run_or_says_why_not() {
    for page in all_pages() {
        if let Err(error) = pages::steps(&read(&page)) {
            panic!("{page}: {error:#}");
        }
    }
    let fails = |page: &str| -> Vec<bool> {
        let steps = pages::steps(page).unwrap().into_iter();
        steps.map(|(_, step)| matches!(step, pages::Step::Dialogue { fails: true, .. })).collect()
    };
    assert_eq!(fails("```console\n$ a\n$ b\nError: no\n$ c\nx: no\n```\n"), [false, true, false]);
    assert_eq!(fails("```console fails\n$ a\n$ b\nb: no\n```\n"), [false, true]);
    for block in [
        "```\nls\n```\n",
        "```sh\nls\n",
        "```sh notest\nls\n```\n",
        "```console\nls\n```\n",
        "```console\n$ ls\n…\n```\n",
    ] {
        assert!(pages::steps(block).is_err(), "{block}");
    }
}

#[test]
fn an_answer_is_what_the_page_shows_but_for_what_it_leaves_out() {
    for (said, shown) in [("a b", "a\nb\n"), ("a x b", "a … b"), ("x\na: b y", "…a: b…"), ("anything", "")]
    {
        assert!(pages::says(said, shown), "{said:?} {shown:?}");
    }
    for (said, shown) in [("a b c", "a b"), ("a b", "b…"), ("a x b", "a … c … b"), ("", "a"), ("ab", "ab…b")]
    {
        assert!(!pages::says(said, shown), "{said:?} {shown:?}");
    }
}

#[test]
fn the_page_about_monitoring_has_all_events_metrics_and_states() {
    let page = read("docs/monitoring.md");
    // With the fewest that there can be: what is looked for in another form than it is written in is not found at all.
    let has = |what: &str, fewest: usize, names: Vec<&str>| {
        assert!(names.len() >= fewest, "{what}: only {names:?}");
        for name in names {
            assert!(page.contains(&format!("`{name}`")), "{what}: {name}");
        }
    };
    let events = read("src/events.rs");
    let events = events.lines().filter(|line| line.starts_with("pub const "));
    has("events", 10, events.filter_map(|line| line.split('"').nth(1)).collect());
    let metrics = sshfs_docker::metrics::exposition(&[]);
    let metrics = metrics.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next());
    has("metrics", 10, metrics.collect());
    let status = read("src/driver/status.rs");
    let fields =
        status.split("pub struct Status {").nth(1).and_then(|rest| rest.split("\n}").next()).unwrap();
    let keys = fields.lines().filter_map(|line| line.trim_start().split_once(": ")).map(|(key, _)| key);
    let keys = keys.filter(|key| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
    has("keys of Status", 15, keys.collect());
}

#[test]
fn the_page_about_clients_names_the_tests_that_there_are() {
    let page = read("docs/clients.md");
    let sources: Vec<_> = ["tests/clients", "tests/clients/compose", "tests/clients/podman"]
        .iter()
        .flat_map(|directory| names_in(directory).into_iter().map(move |name| format!("{directory}/{name}")))
        .map(|file| read(&file))
        .collect();
    let cases: Vec<_> = sources
        .iter()
        .flat_map(|source| source.split("cases![").skip(1))
        .flat_map(|rest| rest.split(']').next().unwrap_or_default().split(','))
        .filter_map(|name| name.split_whitespace().last())
        .collect();
    assert!(cases.len() > 100, "only {cases:?}");
    for case in cases {
        assert!(page.contains(&format!("`{case}`")), "docs/clients.md lacks {case}");
    }
    let is_test = |word: &&str| word.matches('_').count() > 2 && !word.contains(['/', '=', ' ', '.']);
    for name in page.split('`').skip(1).step_by(2).filter(is_test) {
        assert!(sources.iter().any(|source| source.contains(&format!("fn {name}("))), "no test {name}");
    }
}

#[test]
fn links_of_the_documentation_lead_to_a_file() {
    for page in all_pages() {
        let directory = Path::new(&page).parent().unwrap();
        let text = read(&page);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://") && !target.starts_with('#')) {
            let file = directory.join(target.split('#').next().unwrap());
            assert!(repository().join(file).exists(), "{page}: {target}");
        }
    }
    let contents = read("docs/README.md");
    for page in
        all_pages().iter().filter_map(|page| page.strip_prefix("docs/")).filter(|page| *page != "README.md")
    {
        assert!(contents.contains(&format!("]({page})")), "docs/README.md does not name {page}");
    }
}

fn all_pages() -> Vec<String> {
    let docs = names_in("docs").into_iter().map(|name| format!("docs/{name}"));
    ["README.md", "SECURITY.md"].map(str::to_owned).into_iter().chain(docs).collect()
}
