//! A field with a time axis, and lines in it.

use std::fmt::Write;

use super::text;
use crate::live::coverage::STEP;
use crate::live::run::Times;

/// A field with a time axis.
pub(super) struct Axis {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
    pub(super) times: Times,
}

impl Axis {
    pub(super) fn x(&self, time: f64) -> f64 {
        let part = (time - self.times.began) / (self.times.settled - self.times.began);
        self.left + part * (self.right - self.left)
    }

    /// The outage.
    pub(super) fn shade(&self, svg: &mut String) {
        let (from, to) = (self.x(self.times.down), self.x(self.times.up));
        let _ = writeln!(
            svg,
            "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#e02f44\" opacity=\"0.08\"/>",
            self.top,
            to - from,
            self.bottom - self.top
        );
    }

    pub(super) fn seconds(&self, svg: &mut String) {
        for second in
            (0..).step_by(5).map(f64::from).take_while(|second| self.times.began + second <= self.times.settled)
        {
            let x = self.x(self.times.began + second);
            let style = "text-anchor=\"middle\" fill=\"#57606a\" font-size=\"10\"";
            text(svg, x, self.bottom + 14.0, style, &format!("{second:.0} s"));
        }
    }

    /// The samples, in as many pieces as they have gaps.
    pub(super) fn line(&self, svg: &mut String, samples: &[(f64, f64)], top: f64, color: &str, filled: bool) {
        let finite: Vec<(f64, f64)> = samples.iter().copied().filter(|(_, value)| value.is_finite()).collect();
        for piece in finite.chunk_by(|a, b| b.0 - a.0 < 1.5 * STEP) {
            let y = |value: f64| self.bottom - (value / top).min(1.0) * (self.bottom - self.top);
            let mut points = String::new();
            for (time, value) in piece {
                let _ = write!(points, "{:.1},{:.1} ", self.x(*time), y(*value));
            }
            if filled {
                let (from, to) = (self.x(piece[0].0), self.x(piece[piece.len() - 1].0));
                let _ = writeln!(
                    svg,
                    "<polygon points=\"{from:.1},{0:.1} {points}{to:.1},{0:.1}\" fill=\"{color}\" opacity=\"0.25\"/>",
                    self.bottom
                );
            }
            let _ =
                writeln!(svg, "<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.6\"/>");
        }
    }
}
