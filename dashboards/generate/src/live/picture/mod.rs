//! A dashboard as SVG, with the data that a run has left in Prometheus: about as Grafana draws it, since no Grafana runs here.

mod axis;
mod number;
mod place;

use std::fmt::Write;

use serde_json::Value;

use super::api::Series;
use super::coverage::{ask, queues};
use super::run::{Run, Times};
use crate::lint::queries;
use place::Place;

/// Pixels of a column and of a row of Grafana's grid, and between panels.
const COLUMN: f64 = 50.0;
const ROW: f64 = 30.0;
const GAP: f64 = 8.0;
const HEAD: f64 = 64.0;
const FOOT: f64 = 36.0;

pub(super) fn draw(run: &Run, board: &Value) -> Result<String, String> {
    let panels: Vec<&Value> = board["panels"].as_array().into_iter().flatten().collect();
    let rows = panels.iter().map(|panel| cell(panel, "y") + cell(panel, "h")).fold(0.0, f64::max);
    let (width, height) = (24.0 * COLUMN + GAP, HEAD + rows * ROW + FOOT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"DejaVu Sans, Verdana, sans-serif\" font-size=\"11\" fill=\"#24292e\">\n\
         <!-- Drawn from a real run by the task `picture` of the package dashboards-gen. -->\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#f4f5f5\"/>\n"
    );
    text(
        &mut svg,
        GAP + 4.0,
        27.0,
        "font-size=\"18\" font-weight=\"bold\"",
        board["title"].as_str().unwrap_or_default(),
    );
    let Times { began, down, up, settled, .. } = run.life.times;
    let about = format!(
        "{:.0} seconds of a real pipeline, scraped twice a second; the receiver is down from second {:.0} to {:.0} (shaded)",
        settled - began,
        down - began,
        up - began
    );
    text(&mut svg, GAP + 4.0, 49.0, "fill=\"#57606a\" font-size=\"12\"", &about);
    for panel in panels {
        let place = Place::of(panel);
        if panel["type"] == "row" {
            let title = panel["title"].as_str().unwrap_or_default();
            text(&mut svg, place.x + 4.0, place.y + 18.0, "font-size=\"13\" font-weight=\"bold\"", title);
            continue;
        }
        let mut series = Vec::new();
        for query in queries(board, panel) {
            for one in ask(run, &query, queues(board)[0])? {
                series.push((legend(&query.legend, &one), one));
            }
        }
        place.frame(&mut svg, panel["title"].as_str().unwrap_or_default());
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or_default();
        match panel["type"].as_str() {
            Some("stat") => place.number(&mut svg, panel, &series, unit, run.life.times),
            Some("state-timeline") => place.timeline(&mut svg, panel, &series, run.life.times),
            _ => place.lines(&mut svg, panel, &mut series, unit, run.life.times),
        }
    }
    let note = "Drawn by `dashboards picture` from the panels' own expressions, answered by a real Prometheus. Grafana draws them in its own style.";
    text(&mut svg, GAP + 4.0, height - 14.0, "fill=\"#57606a\"", note);
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn cell(panel: &Value, side: &str) -> f64 {
    panel["gridPos"][side].as_f64().unwrap_or_default()
}

fn text(svg: &mut String, x: f64, y: f64, style: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{words}</text>");
}

/// A series' name, as Grafana fills it in.
fn legend(template: &str, series: &Series) -> String {
    let fill = |text: String, (name, value): (&String, &String)| text.replace(&format!("{{{{{name}}}}}"), value);
    series.labels.iter().fold(template.to_owned(), fill)
}
