//! What Prometheus' own tool says of the rules and of the exposition.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::files;

pub(super) fn check_rules() -> Result<(), String> {
    let folder = files::home().join("prometheus");
    let path = |name: &str| folder.join(name).display().to_string();
    promtool(&["check", "rules", &path("recording.yml"), &path("alerts.yml")], "")?;
    promtool(&["test", "rules", &path("tests.yml")], "")
}

pub(super) fn check_metrics(exposition: &str) -> Result<(), String> {
    promtool(&["check", "metrics"], exposition)
}

fn promtool(arguments: &[&str], input: &str) -> Result<(), String> {
    let what = format!("promtool {} {}", arguments[0], arguments[1]);
    let failed = |error: std::io::Error| format!("{what}: {error}");
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    if !output.status.success() {
        return Err(format!("{what} failed:\n{said}"));
    }
    println!("{what}: well");
    Ok(())
}
