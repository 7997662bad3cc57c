//! One plot for each group: its scenarios from left to right, a line for each contender, on a logarithmic scale.

use std::error::Error;
use std::path::Path;

use compare::figure::{Figure, OURS};
use plotters::prelude::*;

use crate::groups::Group;
use crate::table::{contenders, find, measured_columns};

/// Says whether there was something to draw.
pub fn draw(group: &Group, figures: &[Figure], file: &Path) -> Result<bool, Box<dyn Error + Send + Sync>> {
    let columns = measured_columns(group, figures);
    let contenders = contenders(&columns, figures);
    let values =
        || figures.iter().filter(|figure| columns.contains(&figure.scenario.as_str())).map(|figure| figure.value);
    let (low, high) =
        values().fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), value| (low.min(value), high.max(value)));
    if !group.plotted || columns.is_empty() || low <= 0.0 {
        return Ok(false);
    }
    let area = SVGBackend::new(file, (1000, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    #[expect(clippy::cast_precision_loss, reason = "a few")]
    let places = columns.len() as f64;
    let mut chart = ChartBuilder::on(&area)
        .caption(group.title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(70)
        // The names of the contenders stand to the right of the lines.
        .build_cartesian_2d(-0.2..places - 1.0 + places * 0.3, (low * 0.8..high * 1.25).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .max_light_lines(0)
        .x_labels(columns.len() * 4)
        .x_label_formatter(&|place| label(*place, &columns))
        .y_label_formatter(&|value| format!("{value}"))
        .draw()?;
    for (number, contender) in contenders.iter().enumerate() {
        let color = if *contender == OURS { BLACK.to_rgba() } else { hue(number, contenders.len()) };
        let style = color.stroke_width(if *contender == OURS { 3 } else { 1 });
        #[expect(clippy::cast_precision_loss, reason = "a few")]
        let points = columns
            .iter()
            .enumerate()
            .filter_map(|(place, column)| Some((place as f64, find(column, contender, figures)?.value)));
        let points: Vec<_> = points.collect();
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, color.filled())))?;
        chart
            .draw_series(LineSeries::new(points, style))?
            .label(*contender)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::MiddleRight)
        .background_style(WHITE.mix(0.8))
        .border_style(TRANSPARENT)
        .draw()?;
    area.present()?;
    Ok(true)
}

/// The scenario at this place, without its number.
fn label(place: f64, columns: &[&str]) -> String {
    let nearest = place.round();
    if (place - nearest).abs() > 0.01 || nearest < 0.0 {
        return String::new();
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let column = columns.get(nearest as usize);
    column.map_or(String::new(), |column| column.split_once('-').map_or(*column, |(_, rest)| rest).to_owned())
}

/// Colours as far from each other as can be.
fn hue(number: usize, of: usize) -> RGBAColor {
    #[expect(clippy::cast_precision_loss, reason = "a few")]
    let share = number as f64 / of as f64;
    HSLColor(share, 0.9, 0.42).to_rgba()
}
