//! What was measured, and comparing contestants round by round.

use crate::{contestant::Contestant, reason, settings::Settings};
use anyhow::Result;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Whether much is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    More,
    Less,
}

/// A thing that is measured.
#[derive(Clone, Debug)]
pub struct What {
    /// What is done.
    pub task: String,
    /// Under which condition: a round trip, a number of volumes.
    pub condition: String,
    pub unit: &'static str,
    pub better: Better,
}

impl What {
    pub fn new(task: impl Into<String>, condition: impl Into<String>, unit: &'static str) -> Self {
        let better = if unit.ends_with("/s") { Better::More } else { Better::Less };
        Self { task: task.into(), condition: condition.into(), unit, better }
    }
}

/// What came out for one contestant.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The values of all rounds, in the order of their size.
    Measured(Vec<f64>),
    /// Why there are none.
    Impossible(String),
}

impl Outcome {
    pub fn median(&self) -> Option<f64> {
        match self {
            Self::Measured(values) => values.get(values.len() / 2).copied(),
            Self::Impossible(_) => None,
        }
    }

    fn forget(&mut self) {
        if let Self::Measured(values) = self {
            values.clear();
        }
    }
}

/// A line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    pub group: String,
    pub what: What,
    pub outcomes: BTreeMap<Contestant, Outcome>,
}

/// Lines that have a table and a chart together.
#[derive(Clone, Debug)]
pub struct Chapter {
    pub name: String,
    /// What there is to know before the numbers: how much was moved, and between what.
    pub about: String,
}

/// All lines.
#[derive(Debug, Default)]
pub struct Results {
    pub chapters: Vec<Chapter>,
    pub rows: Vec<Row>,
    rounds: usize,
    warm_up: bool,
    longest: Duration,
}

impl Results {
    /// None yet; a quick run has no time for a warm-up.
    pub fn new(settings: &Settings) -> Self {
        Self {
            rounds: settings.rounds,
            warm_up: !settings.quick,
            longest: settings.longest,
            ..Self::default()
        }
    }

    /// What follows is of this group.
    pub fn begin(&mut self, name: &str, about: String) {
        self.chapters.push(Chapter { name: name.to_owned(), about });
    }

    fn group(&self) -> String {
        self.chapters.last().map(|chapter| chapter.name.clone()).unwrap_or_default()
    }

    /// Rows of a group.
    pub fn rows_of<'a>(&'a self, chapter: &'a Chapter) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(|row| row.group == chapter.name)
    }

    /// What the driver could not do, which it must be able to do, one sentence each.
    pub fn failures(&self) -> Vec<String> {
        let outcomes =
            self.rows.iter().flat_map(|row| row.outcomes.iter().map(move |outcome| (row, outcome)));
        let failure = |(row, (contestant, outcome)): (&Row, (&Contestant, &Outcome))| match outcome {
            Outcome::Impossible(reason) if contestant.options().is_some() => {
                Some(format!("{}: {}, {}: {reason}", row.group, row.what.task, contestant.name()))
            }
            _ => None,
        };
        outcomes.filter_map(failure).collect()
    }

    /// Has each contestant do the same in turn, so that a machine that gets slower does so for all. The first round is a
    /// warm-up and does not count, unless it took so long that nothing is left to be warmed up, and no time for another. Who
    /// fails once is out.
    pub fn compare(
        &mut self,
        what: What,
        contestants: &[Contestant],
        mut measure: impl FnMut(Contestant) -> Result<f64>,
    ) {
        let mut outcomes: BTreeMap<_, _> =
            contestants.iter().map(|contestant| (*contestant, Outcome::Measured(Vec::new()))).collect();
        let begun = Instant::now();
        for round in usize::from(!self.warm_up)..=self.rounds {
            for (contestant, outcome) in &mut outcomes {
                let Outcome::Measured(values) = outcome else { continue };
                match measure(*contestant) {
                    Ok(value) => values.push(value),
                    Err(error) => *outcome = Outcome::Impossible(reason::of(&error)),
                }
            }
            if begun.elapsed() > self.longest {
                break;
            }
            if round == 0 {
                outcomes.values_mut().for_each(Outcome::forget);
            }
        }
        for outcome in outcomes.values_mut() {
            if let Outcome::Measured(values) = outcome {
                values.sort_by(f64::total_cmp);
            }
        }
        self.add(what, outcomes);
    }

    /// Takes in what was measured once, or often by itself.
    pub fn note(&mut self, what: What, contestant: Contestant, mut values: Vec<f64>) {
        values.sort_by(f64::total_cmp);
        let outcome = Outcome::Measured(values);
        // Another contestant may have done the same before.
        let group = self.group();
        let same = |row: &&mut Row| {
            row.group == group && row.what.task == what.task && row.what.condition == what.condition
        };
        if let Some(row) = self.rows.iter_mut().find(same) {
            tell(&what, contestant, &outcome);
            row.outcomes.insert(contestant, outcome);
        } else {
            self.add(what, [(contestant, outcome)].into());
        }
    }

    /// Takes in why there is no value.
    pub fn impossible(&mut self, what: What, contestant: Contestant, why: &anyhow::Error) {
        self.add(what, [(contestant, Outcome::Impossible(reason::of(why)))].into());
    }

    /// How many lines have a value of the driver, or are about none of it.
    pub fn measured(&self) -> usize {
        let is_failure = |(contestant, outcome): (&Contestant, &Outcome)| {
            contestant.options().is_some() && outcome.median().is_none()
        };
        self.rows.iter().filter(|row| !row.outcomes.iter().any(is_failure)).count()
    }

    fn add(&mut self, what: What, outcomes: BTreeMap<Contestant, Outcome>) {
        for (contestant, outcome) in &outcomes {
            tell(&what, *contestant, outcome);
        }
        self.rows.push(Row { group: self.group(), what, outcomes });
    }
}

/// A run takes long: this is how one sees that it goes on.
fn tell(what: &What, contestant: Contestant, outcome: &Outcome) {
    let What { task, condition, unit, .. } = what;
    let value = match outcome {
        Outcome::Measured(_) => {
            outcome.median().map_or_else(String::new, |value| format!("{value:.3} {unit}"))
        }
        Outcome::Impossible(reason) => reason.clone(),
    };
    eprintln!("{task}, {condition}, {}: {value}", contestant.name());
}

/// The value below which this part of the values is.
pub fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a position among some thousand values"
    )]
    let position = ((values.len() as f64 * part) as usize).min(values.len().saturating_sub(1));
    values.get(position).copied().unwrap_or_default()
}
