//! Numbers for people.

/// A number in its unit, short.
pub(super) fn number(value: f64, unit: &str) -> String {
    let short = |value: f64| match value.abs() {
        size if size >= 1e6 => format!("{:.3}M", value / 1e6),
        size if size >= 1e4 => format!("{:.1}k", value / 1e3),
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    match unit {
        "percentunit" => format!("{:.0} %", value * 100.0),
        "cps" => format!("{}/s", short(value)),
        "bytes" if value.abs() >= 1024.0 * 1024.0 => format!("{:.1} MiB", value / 1024.0 / 1024.0),
        "bytes" if value.abs() >= 1024.0 => format!("{:.0} KiB", value / 1024.0),
        "bytes" => format!("{value:.0} B"),
        "s" if value != 0.0 && value.abs() < 1e-3 => format!("{:.0} µs", value * 1e6),
        "s" if value != 0.0 && value.abs() < 1.0 => format!("{:.0} ms", value * 1e3),
        "s" => format!("{} s", short(value)),
        _ => short(value),
    }
}

/// A round number that is not below.
pub(super) fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 2.5, 4.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|round| *round >= value).unwrap_or(value)
}
