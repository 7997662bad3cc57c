//! One panel: its frame, and what is in it.

use std::fmt::Write;

use serde_json::Value;

use super::axis::Axis;
use super::number::{number, round_up};
use super::{COLUMN, GAP, HEAD, ROW, cell, text};
use crate::live::api::Series;
use crate::live::coverage::STEP;
use crate::live::run::Times;

/// Of the legend's letters, about.
const LETTER: f64 = 6.1;

const PALETTE: [&str; 8] = ["#3274d9", "#e0752d", "#2e8b57", "#8f3bb8", "#b8860b", "#c4162a", "#0a8a8a", "#6b6b6b"];

pub(super) type Named = (String, Series);

/// Where a panel is, in pixels.
pub(super) struct Place {
    pub(super) x: f64,
    pub(super) y: f64,
    width: f64,
    height: f64,
}

impl Place {
    pub(super) fn of(panel: &Value) -> Self {
        Self {
            x: GAP + cell(panel, "x") * COLUMN,
            y: HEAD + cell(panel, "y") * ROW,
            width: cell(panel, "w") * COLUMN - GAP,
            height: cell(panel, "h") * ROW - GAP,
        }
    }

    pub(super) fn frame(&self, svg: &mut String, title: &str) {
        let Self { x, y, width, height } = self;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"3\" fill=\"white\" stroke=\"#d0d7de\"/>"
        );
        text(svg, x + 10.0, y + 19.0, "font-size=\"12\" font-weight=\"bold\"", title);
    }

    /// The part of the panel that has a time axis, between `top` and `bottom` pixels from its edges.
    fn axis(&self, left: f64, top: f64, bottom: f64, times: Times) -> Axis {
        Axis {
            left: self.x + left,
            right: self.x + self.width - 12.0,
            top: self.y + top,
            bottom: self.y + self.height - bottom,
            times,
        }
    }

    pub(super) fn number(&self, svg: &mut String, panel: &Value, series: &[Named], unit: &str, times: Times) {
        let axis = self.axis(12.0, 60.0, 8.0, times);
        let samples: Vec<_> = series.first().map(|(_, one)| one.samples.clone()).unwrap_or_default();
        let last = samples.iter().rfind(|(_, value)| value.is_finite()).map(|(_, value)| *value);
        let steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"].as_array();
        let is_alarm = steps.is_some_and(|steps| steps.len() > 1);
        let color = match (is_alarm, last) {
            (false, _) => "#24292e",
            (true, Some(value)) if value > 0.0 => "#c4162a",
            _ => "#2e8b57",
        };
        let top = samples.iter().map(|(_, value)| *value).filter(|value| value.is_finite()).fold(0.0, f64::max);
        axis.shade(svg);
        axis.line(svg, &samples, top.max(1e-9) * 1.05, color, true);
        let style = format!("font-size=\"26\" fill=\"{color}\" font-weight=\"bold\"");
        text(
            svg,
            self.x + 10.0,
            self.y + 50.0,
            &style,
            &last.map_or("no data".to_owned(), |value| number(value, unit)),
        );
    }

    pub(super) fn timeline(&self, svg: &mut String, panel: &Value, series: &[Named], times: Times) {
        let mappings = panel["fieldConfig"]["defaults"]["mappings"].as_array().cloned().unwrap_or_default();
        let longest = series.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        #[allow(clippy::cast_precision_loss, reason = "a few letters")]
        let axis = self.axis(18.0 + longest as f64 * LETTER, 32.0, 46.0, times);
        axis.seconds(svg);
        #[allow(clippy::cast_precision_loss, reason = "a few lines")]
        let lane = (axis.bottom - axis.top) / series.len().max(1) as f64;
        let mut y = axis.top;
        for (name, one) in series {
            text(svg, self.x + 10.0, y + lane / 2.0 + 4.0, "", name);
            for run in one.samples.chunk_by(|a, b| a.1.total_cmp(&b.1).is_eq()) {
                let ((first, value), (last, _)) = (run[0], run[run.len() - 1]);
                let (from, to) = (axis.x(first), axis.x(last + STEP).min(axis.right));
                let mapping = mappings.iter().map(|mapping| &mapping["options"]).find(|range| {
                    range["from"].as_f64().is_some_and(|from| value >= from)
                        && range["to"].as_f64().is_some_and(|to| value <= to)
                });
                let color = color_of(mapping.and_then(|mapping| mapping["result"]["color"].as_str()));
                let (top, height) = (y + 3.0, lane - 6.0);
                let _ = writeln!(
                    svg,
                    "<rect x=\"{from:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{color}\"/>",
                    to - from
                );
            }
            y += lane;
        }
        let mut x = self.x + 12.0;
        for mapping in mappings.iter().map(|mapping| &mapping["options"]["result"]) {
            let name = mapping["text"].as_str().unwrap_or_default();
            x += self.key(svg, x, 0.0, color_of(mapping["color"].as_str()), name);
        }
    }

    pub(super) fn lines(&self, svg: &mut String, panel: &Value, series: &mut [Named], unit: &str, times: Times) {
        series.sort_by(|a, b| a.0.cmp(&b.0));
        let stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal";
        if stacked {
            stack(series);
        }
        let values = series.iter().flat_map(|(_, one)| &one.samples).map(|(_, value)| *value);
        let highest = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        let top = round_up(highest.max(1e-6));
        let lines = self.legend_lines(series);
        let axis = self.axis(62.0, 32.0, 30.0 + lines * 15.0, times);
        axis.shade(svg);
        for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
            let y = axis.bottom - part * (axis.bottom - axis.top);
            let _ = writeln!(
                svg,
                "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#e1e4e8\"/>",
                axis.left, axis.right
            );
            text(
                svg,
                axis.left - 6.0,
                y + 4.0,
                "text-anchor=\"end\" fill=\"#57606a\" font-size=\"10\"",
                &number(part * top, unit),
            );
        }
        axis.seconds(svg);
        // The largest of a stack first, so that the others lie on it.
        let colored: Vec<_> = series.iter().zip(PALETTE.iter().cycle()).collect();
        for ((_, one), color) in colored.iter().rev() {
            axis.line(svg, &one.samples, top, color, stacked);
        }
        let (mut x, mut line) = (self.x + 12.0, lines - 1.0);
        for ((name, _), color) in colored {
            if x + key_width(name) > self.x + self.width && x > self.x + 12.0 {
                (x, line) = (self.x + 12.0, line - 1.0);
            }
            x += self.key(svg, x, line, color, name);
        }
    }

    fn legend_lines(&self, series: &[Named]) -> f64 {
        let (mut x, mut lines) = (12.0, 1.0);
        for (name, _) in series {
            if x + key_width(name) > self.width && x > 12.0 {
                (x, lines) = (12.0, lines + 1.0);
            }
            x += key_width(name);
        }
        lines
    }

    /// An entry of the legend, so many lines above the last. Its width.
    fn key(&self, svg: &mut String, x: f64, line: f64, color: &str, name: &str) -> f64 {
        let y = self.y + self.height - 9.0 - line * 15.0;
        let _ = writeln!(svg, "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"10\" height=\"4\" fill=\"{color}\"/>", y - 6.0);
        text(svg, x + 14.0, y, "font-size=\"10\"", name);
        key_width(name)
    }
}

#[allow(clippy::cast_precision_loss, reason = "a few letters")]
fn key_width(name: &str) -> f64 {
    name.chars().count() as f64 * LETTER + 28.0
}

fn color_of(name: Option<&str>) -> &'static str {
    match name {
        Some("green") => "#73bf69",
        Some("yellow") => "#f2cc0c",
        Some("red") => "#e02f44",
        _ => "#cccccc",
    }
}

/// Each series on top of those before it. All have the same times, or a series begins later.
fn stack(series: &mut [Named]) {
    for index in 1..series.len() {
        let below = series[index - 1].1.samples.clone();
        for (time, value) in &mut series[index].1.samples {
            *value += below.iter().find(|(t, _)| t == time).map_or(0.0, |(_, v)| *v);
        }
    }
}
