//! Markdown.

use std::fmt::Write;

use compare::figure::Figure;
use compare::marks::{Judged, judge};

use crate::groups::Group;

/// A row for each contender, a column for each scenario; in a cell the figure, and the ratio in parentheses. `None` without figures.
pub fn of(group: &Group, figures: &[Figure]) -> Option<String> {
    let columns = measured_columns(group, figures);
    let contenders = contenders(&columns, figures);
    if contenders.is_empty() {
        return None;
    }
    let heads = columns.iter().map(|column| match unit(column, figures) {
        // The others have theirs in the title.
        unit if !group.plotted => format!("{column}, {unit}"),
        _ => (*column).to_owned(),
    });
    let mut table =
        format!("| contender | {} |\n|---|{}\n", heads.collect::<Vec<_>>().join(" | "), "---|".repeat(columns.len()));
    for contender in contenders {
        table += &format!("| {contender} |");
        for column in &columns {
            let cell = find(column, contender, figures).map_or(String::new(), cell);
            table += &format!(" {cell} |");
        }
        table += "\n";
    }
    Some(table)
}

/// A row for each mark.
pub fn of_marks(figures: &[Figure]) -> String {
    let mut table =
        String::from("| scenario | ours | beside | ratio, or figure | at most | |\n|---|---|---|---|---|---|\n");
    for judged in judge(figures) {
        let verdict = if judged.is_met() { "met" } else { "**missed**" };
        let Judged { scenario, whose, contender, at_most, value } = judged;
        let row = writeln!(table, "| {scenario} | {whose} | {contender} | {value:.2} | {at_most} | {verdict} |");
        row.expect("a string takes it");
    }
    table
}

pub fn measured_columns(group: &Group, figures: &[Figure]) -> Vec<&'static str> {
    let is_measured = |column: &&&str| figures.iter().any(|figure| figure.scenario == ***column);
    group.columns.iter().filter(is_measured).copied().collect()
}

/// In the order in which they were measured.
pub fn contenders<'f>(columns: &[&str], figures: &'f [Figure]) -> Vec<&'f str> {
    let mut found = Vec::new();
    for figure in figures.iter().filter(|figure| columns.contains(&figure.scenario.as_str())) {
        if !found.contains(&figure.contender.as_str()) {
            found.push(figure.contender.as_str());
        }
    }
    found
}

pub fn find<'f>(scenario: &str, contender: &str, figures: &'f [Figure]) -> Option<&'f Figure> {
    figures.iter().find(|figure| figure.scenario == scenario && figure.contender == contender)
}

fn unit<'f>(scenario: &str, figures: &'f [Figure]) -> &'f str {
    figures.iter().find(|figure| figure.scenario == scenario).map_or("", |figure| &figure.unit)
}

fn cell(figure: &Figure) -> String {
    let Figure { value, ratio, .. } = figure;
    let digits = match value {
        value if *value < 1.0 => 3,
        value if *value < 100.0 => 1,
        _ => 0,
    };
    match figure.contender == compare::figure::OURS {
        true => format!("**{value:.digits$}**"),
        false if ratio.is_finite() => format!("{value:.digits$} ({ratio:.2})"),
        false => format!("{value:.digits$}"),
    }
}
