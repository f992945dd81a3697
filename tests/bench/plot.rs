//! A bar chart of a group as SVG. Each task has a scale of its own: what is compared stands together.
//!
//! It has a background, and says the colour of its text: readers show it on white or on black.

use crate::{
    contestant::Contestant,
    report::short,
    results::{Better, Outcome, Row},
};
use std::fmt::Write;

const LONGEST: f64 = 420.0;
const LINE: u32 = 18;
/// A character of the text is hardly wider, in pixels.
const CHARACTER: u32 = 7;
/// Room for the value behind the longest bar.
const VALUE: u32 = 80;

/// From this on, the smaller of two bars would hardly be seen on a linear scale.
const DECADES: f64 = 30.0;

/// The chart of these rows.
pub fn chart(group: &str, rows: &[&Row]) -> String {
    let (mut body, mut y) = (String::new(), 50);
    // Rows of one task need not follow each other: a task is measured under one condition after another.
    let mut tasks: Vec<&str> = Vec::new();
    for row in rows {
        if !tasks.contains(&row.what.task.as_str()) {
            tasks.push(&row.what.task);
        }
    }
    let labels = rows.iter().flat_map(|row| row.outcomes.keys().map(|contestant| label(row, *contestant)));
    let left = labels.map(|label| pixels(&label)).max().unwrap_or_default() + 18;
    let mut width = left + 420 + VALUE;
    for task in tasks {
        let of_task: Vec<_> = rows.iter().copied().filter(|row| row.what.task == task).collect();
        let section = section(&mut body, y, left, &of_task);
        (y, width) = (section.0, width.max(section.1));
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{y}\" viewBox=\"0 0 {width} {y}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"black\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"26\" font-size=\"18\">{}</text>\n{body}</svg>\n",
        escape(group)
    )
}

/// Draws one task and returns where the next begins, and how wide its title is.
fn section(body: &mut String, mut y: u32, left: u32, rows: &[&Row]) -> (u32, u32) {
    let Some(first) = rows.first() else { return (y, 0) };
    let direction = match first.what.better {
        Better::More => "longer is better",
        Better::Less => "shorter is better",
    };
    let medians: Vec<_> =
        rows.iter().flat_map(|row| row.outcomes.values()).filter_map(Outcome::median).collect();
    let scale = Scale::of(&medians);
    let kind = scale.least.map_or_else(String::new, |least| format!(", logarithmic from {least}"));
    let title = format!("{} ({}, {direction}{kind})", first.what.task, first.what.unit);
    y += LINE;
    _ = writeln!(body, "<text x=\"10\" y=\"{y}\" font-weight=\"bold\">{}</text>", escape(&title));
    y += 6;
    for row in rows {
        for (contestant, outcome) in &row.outcomes {
            let (length, value) = match outcome.median() {
                Some(median) => (scale.length(median), short(median)),
                None => (0.0, "cannot".to_owned()),
            };
            let (text_y, end) = (y + 13, f64::from(left) + length + 6.0);
            _ = writeln!(
                body,
                "<text x=\"{}\" y=\"{text_y}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"{left}\" y=\"{}\" width=\"{length:.1}\" height=\"13\" fill=\"{}\"/>\
                 <text x=\"{end:.1}\" y=\"{text_y}\">{value}</text>",
                left - 8,
                escape(&label(row, *contestant)),
                y + 2,
                colour(*contestant),
            );
            y += LINE;
        }
        // Conditions stand apart.
        y += 4;
    }
    // Bold letters are wider.
    (y + 8, pixels(&title) * 11 / 10 + 20)
}

/// How long a bar is.
struct Scale {
    most: f64,
    /// Where a logarithmic scale begins; None for a linear one.
    least: Option<f64>,
}

impl Scale {
    fn of(values: &[f64]) -> Self {
        let most = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let smallest = values.iter().copied().filter(|value| *value > 0.0).fold(most, f64::min);
        // A power of ten below it, so that the smallest can be seen.
        let least = (most / smallest > DECADES).then(|| 10_f64.powf((smallest / 2.0).log10().floor()));
        Self { most, least }
    }

    fn length(&self, value: f64) -> f64 {
        let part = match self.least {
            Some(least) if value > least => (value / least).ln() / (self.most / least).ln(),
            Some(_) => 0.0,
            None => value / self.most,
        };
        part * LONGEST
    }
}

fn label(row: &Row, contestant: Contestant) -> String {
    let condition = &row.what.condition;
    let comma = if condition.is_empty() { "" } else { ", " };
    format!("{condition}{comma}{}", contestant.name())
}

fn pixels(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX / CHARACTER) * CHARACTER
}

/// Colours that people who see fewer of them can tell apart as well (Okabe and Ito).
fn colour(contestant: Contestant) -> &'static str {
    match contestant {
        Contestant::Ours => "#0072b2",
        Contestant::OurOptions => "#56b4e9",
        Contestant::Sshfs => "#e69f00",
        Contestant::Rclone => "#009e73",
        Contestant::RcloneCache => "#cc79a7",
        Contestant::Limit => "#999999",
        Contestant::Variant(variant) => match variant.place() {
            0 => "#0072b2",
            1 => "#e69f00",
            2 => "#009e73",
            3 => "#cc79a7",
            _ => "#56b4e9",
        },
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
