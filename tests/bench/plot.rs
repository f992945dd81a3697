//! A bar chart of a group as SVG. Each task has a scale of its own: what is compared stands together.

use crate::{
    contestant::Contestant,
    report::short,
    results::{Better, Outcome, Row},
};
use std::fmt::Write;

const WIDTH: u32 = 820;
/// Where the bars begin.
const LEFT: u32 = 270;
const LONGEST: f64 = 420.0;
const LINE: u32 = 18;

/// The chart of these rows.
pub fn chart(group: &str, rows: &[Row]) -> String {
    let (mut body, mut y) = (String::new(), 50);
    // Rows of one task need not follow each other: a task is measured under one condition after another.
    let mut tasks: Vec<&str> = Vec::new();
    for row in rows {
        if !tasks.contains(&row.what.task.as_str()) {
            tasks.push(&row.what.task);
        }
    }
    for task in tasks {
        let of_task: Vec<_> = rows.iter().filter(|row| row.what.task == task).collect();
        y = section(&mut body, y, &of_task);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{y}\" viewBox=\"0 0 {WIDTH} {y}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"26\" font-size=\"18\">{}</text>\n{body}</svg>\n",
        escape(group)
    )
}

/// Draws one task and returns where the next begins.
fn section(body: &mut String, mut y: u32, rows: &[&Row]) -> u32 {
    let Some(first) = rows.first() else { return y };
    let direction = match first.what.better {
        Better::More => "longer is better",
        Better::Less => "shorter is better",
    };
    let title = format!("{} ({}, {direction})", first.what.task, first.what.unit);
    y += LINE;
    _ = writeln!(body, "<text x=\"10\" y=\"{y}\" font-weight=\"bold\">{}</text>", escape(&title));
    y += 6;
    let medians = rows.iter().flat_map(|row| row.outcomes.values()).filter_map(Outcome::median);
    let most = medians.fold(f64::MIN_POSITIVE, f64::max);
    for row in rows {
        for (contestant, outcome) in &row.outcomes {
            let label = format!("{}, {}", row.what.condition, contestant.name());
            let (length, value) = match outcome.median() {
                Some(median) => (median / most * LONGEST, short(median)),
                None => (0.0, "cannot".to_owned()),
            };
            let (text_y, end) = (y + 13, f64::from(LEFT) + length + 6.0);
            _ = writeln!(
                body,
                "<text x=\"{}\" y=\"{text_y}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"{LEFT}\" y=\"{}\" width=\"{length:.1}\" height=\"13\" fill=\"{}\"/>\
                 <text x=\"{end:.1}\" y=\"{text_y}\">{value}</text>",
                LEFT - 8,
                escape(&label),
                y + 2,
                colour(*contestant),
            );
            y += LINE;
        }
    }
    y + 12
}

fn colour(contestant: Contestant) -> &'static str {
    match contestant {
        Contestant::Ours => "#1f77b4",
        Contestant::OurOptions => "#9ecae1",
        Contestant::Sshfs => "#ff7f0e",
        Contestant::Rclone => "#2ca02c",
        Contestant::RcloneCache => "#98df8a",
        Contestant::Limit => "#999999",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
