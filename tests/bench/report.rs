//! The report: a table for people, the same for programs, and a plot for each group.

use crate::{
    machine, plot,
    results::{Chapter, Outcome, Results, Row},
    semantics::WORKS,
    settings::Settings,
};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fmt::Write, fs, path::Path};

/// Writes `benchmarks.md`, and in `benchmarks/` what belongs to it: `report.json` and `GROUP.svg`. Returns the text. Copied to
/// docs/ as they are, they are the page there.
pub fn write(results: &Results, settings: &Settings, directory: &Path) -> Result<String> {
    let beside = directory.join("benchmarks");
    fs::create_dir_all(&beside).with_context(|| format!("making {}", beside.display()))?;
    let mut text = head(settings);
    for chapter in &results.chapters {
        let rows: Vec<_> = results.rows_of(chapter).collect();
        // Of what works or not, there is nothing to draw.
        let chart = rows.iter().any(|row| row.what.unit != WORKS).then(|| format!("{}.svg", chapter.name));
        text += &table(chapter, &rows);
        if let Some(name) = chart {
            _ = writeln!(text, "\n![{} as bars](benchmarks/{name})", chapter.name);
            fs::write(beside.join(name), plot::chart(&chapter.name, &rows))?;
        }
    }
    fs::write(directory.join("benchmarks.md"), &text)?;
    let rows: Vec<_> = results.rows.iter().map(as_json).collect();
    let chapters: Vec<_> = results
        .chapters
        .iter()
        .map(|chapter| json!({"group": chapter.name, "about": chapter.about}))
        .collect();
    let all = json!({"machine": machine::words(), "groups": chapters, "rounds": settings.rounds, "quick": settings.quick, "rows": rows});
    fs::write(beside.join("report.json"), serde_json::to_string_pretty(&all)?)?;
    Ok(text)
}

fn head(settings: &Settings) -> String {
    let mut text = format!("# Benchmark\n\n{}. ", machine::words());
    text += if settings.quick {
        "A quick run, which shows that the benches run: these numbers mean nothing."
    } else {
        "Medians of several rounds after a warm-up, and in parentheses the smallest and the largest value. "
    };
    if !settings.quick {
        _ = write!(
            text,
            "Where one round of all took longer than {} s, it is the only one.",
            settings.longest.as_secs()
        );
    }
    text + "\n"
}

fn table(chapter: &Chapter, rows: &[&Row]) -> String {
    let columns: BTreeSet<_> = rows.iter().flat_map(|row| row.outcomes.keys().copied()).collect();
    let names: Vec<_> = columns.iter().map(|contestant| contestant.name()).collect();
    let mut text = format!("\n## {}\n\n{}\n\n", chapter.name, chapter.about);
    _ = writeln!(text, "| what | where | unit | {} |", names.join(" | "));
    _ = writeln!(text, "|---|---|---|{}", "---:|".repeat(columns.len()));
    let mut notes = Vec::new();
    for row in rows {
        _ = write!(text, "| {} | {} | {} |", row.what.task, row.what.condition, row.what.unit);
        for contestant in &columns {
            let cell = match row.outcomes.get(contestant) {
                None => String::new(),
                Some(Outcome::Impossible(reason)) => {
                    let note = format!("{} cannot: {reason}", contestant.name());
                    let place = notes.iter().position(|known| *known == note).unwrap_or_else(|| {
                        notes.push(note);
                        notes.len() - 1
                    });
                    format!("fails [{}]", place + 1)
                }
                Some(Outcome::Measured(_)) if row.what.unit == WORKS => "yes".to_owned(),
                Some(Outcome::Measured(values)) => value(values),
            };
            _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    if !notes.is_empty() {
        text.push('\n');
    }
    for (place, note) in notes.iter().enumerate() {
        _ = writeln!(text, "{}. {note}", place + 1);
    }
    text
}

fn value(values: &[f64]) -> String {
    let (Some(first), Some(last)) = (values.first(), values.last()) else { return String::new() };
    let median = short(values[values.len() / 2]);
    if values.len() == 1 { median } else { format!("{median} ({}–{})", short(*first), short(*last)) }
}

/// Three digits that count.
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn as_json(row: &Row) -> Value {
    let outcomes: serde_json::Map<_, _> = row
        .outcomes
        .iter()
        .map(|(contestant, outcome)| {
            let value = match outcome {
                Outcome::Measured(values) => json!({"median": outcome.median(), "values": values}),
                Outcome::Impossible(reason) => json!({"impossible": reason}),
            };
            (contestant.name().to_owned(), value)
        })
        .collect();
    json!({
        "group": row.group,
        "task": row.what.task,
        "condition": row.what.condition,
        "unit": row.what.unit,
        "more_is_better": row.what.better == crate::results::Better::More,
        "contestants": outcomes,
    })
}
