//! One line for each figure: `scenario contender figure unit ratio`. The ratio is ours / theirs; below 1 is better for us; `-` where one of them is nothing.
//! Other lines begin with `#`.

use std::fmt;

use crate::rounds::Measured;

/// How our own lines are called. Every other contender is compared with this one.
pub const OURS: &str = "sinkworks";

#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    pub scenario: String,
    pub contender: String,
    pub value: f64,
    pub unit: String,
    pub ratio: f64,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, contender, value, unit, ratio } = self;
        let digits = if *value < 10.0 { 3 } else { 1 };
        write!(f, "{scenario} {contender} {value:.digits$} {unit} ")?;
        if ratio.is_finite() && *ratio > 0.0 { write!(f, "{ratio:.3}") } else { write!(f, "-") }
    }
}

impl Figure {
    /// Reads a line; `None` for what is no figure.
    pub fn parse(line: &str) -> Option<Self> {
        let [scenario, contender, value, unit, ratio] = line.split_whitespace().collect::<Vec<_>>().try_into().ok()?;
        let (value, ratio) = (value.parse().ok()?, if ratio == "-" { f64::NAN } else { ratio.parse().ok()? });
        Some(Self { scenario: scenario.into(), contender: contender.into(), value, unit: unit.into(), ratio })
    }
}

/// Prints one scenario: `figures` are the suffix and the unit of each value that its rounds have.
pub fn print(scenario: &str, figures: &[(&str, &str)], measured: &[Measured]) {
    let ours = measured.iter().find(|measured| measured.name == OURS).expect("ours is always measured");
    for (at, (suffix, unit)) in figures.iter().enumerate() {
        // Go does not measure everything.
        for one in measured.iter().filter(|one| one.has(at)) {
            let value = one.median(at);
            let figure = Figure {
                scenario: format!("{scenario}{suffix}"),
                contender: one.name.clone(),
                value,
                unit: (*unit).into(),
                ratio: ours.median(at) / value,
            };
            let (low, high) = one.quartiles(at);
            println!("{figure}\n# quartiles {low:.3} {high:.3}");
        }
    }
}

/// Prints a figure that has no rounds.
pub fn print_one(scenario: &str, contender: &str, value: f64, unit: &str, ours: f64) {
    let ratio = if contender == OURS { 1.0 } else { ours / value };
    println!("{}", Figure { scenario: scenario.into(), contender: contender.into(), value, unit: unit.into(), ratio });
}
