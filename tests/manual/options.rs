//! The options of volumes, from the catalogue.

use crate::mdoc;
use sshfs_docker::{
    mount::plan::DEFAULTS,
    volume::catalogue::{CATALOGUE, Effect, Entry, Value},
};
use std::collections::BTreeSet;

/// The parts of docker-volume-sshfs(7) that are lists of options.
pub fn lists() -> [(&'static str, String); 8] {
    [
        ("driver", list(|effect| matches!(effect, Effect::Driver))),
        ("mount", list(|effect| matches!(effect, Effect::Kernel(_)))),
        ("sshfs", list(|effect| matches!(effect, Effect::Sshfs(_)))),
        ("ssh", list(|effect| matches!(effect, Effect::Ssh(_)))),
        ("other names", list(means_another)),
        ("without effect", list(|effect| matches!(effect, Effect::NoEffect))),
        ("gated", gated()),
        ("refused", list(|effect| matches!(effect, Effect::Impossible(_)))),
    ]
}

fn means_another(effect: Effect) -> bool {
    matches!(effect, Effect::Means(_) | Effect::MeansNot(_) | Effect::MeansValue(..) | Effect::MeansAll(_))
}

fn list(belongs: impl Fn(Effect) -> bool) -> String {
    // Names with the same to say about them stand together.
    let mut items: Vec<(String, String)> = Vec::new();
    for entry in CATALOGUE.iter().filter(|entry| belongs(entry.effect)) {
        let (form, description) = (form(entry), description(entry));
        match items.iter_mut().find(|(_, known)| form.is_empty() && *known == description) {
            Some((names, _)) => names.extend([" , ", entry.name]),
            None => items.push((format!("{}{form}", entry.name), description)),
        }
    }
    let items = items.iter().map(|(names, description)| format!(".It Cm {names}\n{description}"));
    format!(".Bl -tag -width Ds -compact\n{}.El\n", items.collect::<String>())
}

/// By the reasons why they need to be allowed.
fn gated() -> String {
    let reason = |effect| if let Effect::Gated(reason) = effect { Some(reason) } else { None };
    let mut reasons: Vec<_> = CATALOGUE.iter().filter_map(|entry| reason(entry.effect)).collect();
    let mut seen = BTreeSet::new();
    reasons.retain(|reason| seen.insert(*reason));
    let part = |because: &&str| {
        let items = list(|effect| reason(effect) == Some(because));
        format!("{}\n{items}", mdoc::sentence(&format!("Because {because}")))
    };
    reasons.iter().map(part).collect::<Vec<_>>().join(".Pp\n")
}

/// What stands behind the name.
fn form(entry: &Entry) -> String {
    match entry.effect {
        Effect::Driver if entry.name == "hard" => String::new(),
        Effect::Driver => argument(form_of_our_own(entry.name)),
        Effect::Kernel(value) | Effect::Sshfs(value) | Effect::Ssh(value) => form_of_value(value),
        _ => String::new(),
    }
}

/// The options that the driver itself reads check their values where they are read.
fn form_of_our_own(name: &str) -> &'static str {
    match name {
        "sshcmd" => "remote",
        "port" => "number",
        "identity_file" | "password_file" => "path | name",
        "IdentityAgent" => "path",
        "password" => "text",
        "host_key" => "key",
        "read_ahead_kb" => "KiB | auto",
        "StrictHostKeyChecking" => "accept-new | yes | no",
        _ => panic!("say here what the value of '{name}' looks like"),
    }
}

fn argument(form: &str) -> String {
    if form.contains('|') { format!(" Ns = Ns Brq Ar {form}") } else { format!(" Ns = Ns Ar {form}") }
}

fn form_of_value(value: Value) -> String {
    match value {
        Value::Flag => String::new(),
        Value::Number => argument("number"),
        Value::Seconds => argument("seconds"),
        Value::Octal => argument("mode"),
        Value::OneOf(words) => format!(" Ns = Ns Brq Cm {}", words.join(" | ")),
        Value::ColonList(_) => " Ns = Ns Ar word Ns Op : Ns Ar word ...".to_owned(),
        Value::Word => argument("text"),
        Value::Context => argument("context"),
        Value::Jump => {
            " Ns = Ns Oo Ar user Ns @ Oc Ns Ar host Ns Oo : Ns Ar port Oc Ns Op , Ns ...".to_owned()
        }
        Value::RemoteProgram => argument("program"),
    }
}

fn description(entry: &Entry) -> String {
    let line = |text: &str| mdoc::sentence(text) + "\n";
    match entry.effect {
        Effect::Means(name) => format!("Another name of\n.Cm {name} .\n"),
        Effect::MeansNot(name) => format!("The opposite of\n.Cm {name} .\n"),
        Effect::MeansValue(name, value) => format!("The same as\n.Cm {name} Ns = Ns Cm {value} .\n"),
        Effect::MeansAll(names) => {
            format!("Sets\n.Cm {}\nunless they are set themselves.\n", names.join(" , "))
        }
        Effect::Impossible(reason) => line(reason),
        Effect::Sshfs(Value::ColonList(words)) => {
            line(entry.about) + "Words:\n.Cm " + &words.join(" , ") + " .\n"
        }
        _ => line(entry.about) + &default(entry.name),
    }
}

fn default(name: &str) -> String {
    match DEFAULTS.iter().find(|(known, _)| *known == name) {
        None => String::new(),
        Some((_, None)) => "On unless set.\n".to_owned(),
        Some((_, Some(value))) => format!("Default:\n.Cm {}\n", mdoc::text(value)),
    }
}
