//! Everything that is generated, written or compared with what is there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::grafana::GENERATED;
use crate::table::Table;
use crate::{boards, rules};

/// The folder `dashboards` of the project.
#[must_use]
pub fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Each file's path below [`home`], and its text.
///
/// # Errors
///
/// If an expression names what the table does not have.
pub fn generate(table: &Table) -> Result<Vec<(String, String)>, String> {
    let mut files = Vec::new();
    for board in boards::all() {
        let json = serde_json::to_string_pretty(&board.json(table)?).map_err(|error| error.to_string())?;
        files.push((format!("grafana/{}.json", board.uid), json + "\n"));
    }
    files.push(("prometheus/recording.yml".to_owned(), rules::recordings_file(table)?));
    files.push(("prometheus/alerts.yml".to_owned(), rules::alerts_file(table)?));
    files.push(("prometheus/tests.yml".to_owned(), rules::tests_file(table)?));
    files.push(("provisioning/dashboards/sinkworks.yml".to_owned(), dashboards_provisioning()));
    files.push(("provisioning/datasources/prometheus.yml".to_owned(), datasource_provisioning()));
    Ok(files)
}

fn dashboards_provisioning() -> String {
    format!(
        "# {GENERATED}
# To /etc/grafana/provisioning/dashboards, and the folder dashboards/grafana to the path below.
apiVersion: 1
providers:
  - name: sinkworks
    folder: sinkworks
    type: file
    disableDeletion: true
    allowUiUpdates: false
    updateIntervalSeconds: 60
    options:
      path: /var/lib/grafana/dashboards/sinkworks
"
    )
}

fn datasource_provisioning() -> String {
    format!(
        "# {GENERATED}
# To /etc/grafana/provisioning/datasources, where Grafana has no Prometheus yet. timeInterval is the scrape interval: $__rate_interval,
# over which every rate is taken, is at least four times that.
apiVersion: 1
datasources:
  - name: Prometheus
    uid: sinkworks-prometheus
    type: prometheus
    access: proxy
    url: http://localhost:9090
    isDefault: true
    jsonData:
      httpMethod: POST
      timeInterval: 15s
"
    )
}

/// Writes them all.
///
/// # Errors
///
/// If one cannot be made or written.
pub fn write() -> Result<usize, String> {
    let files = generate(&Table::default())?;
    for (path, text) in &files {
        let path = home().join(path);
        let folder = path.parent().unwrap_or(&path);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, text))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(files.len())
}

/// What differs from what is there: files that are missing, different, or no longer made.
///
/// # Errors
///
/// If one cannot be made.
pub fn drift(home: &Path) -> Result<Vec<String>, String> {
    let files = generate(&Table::default())?;
    let mut findings = Vec::new();
    for (path, text) in &files {
        match fs::read_to_string(home.join(path)) {
            Ok(there) if there == *text => {}
            Ok(there) => {
                let line = there.lines().zip(text.lines()).take_while(|(a, b)| a == b).count() + 1;
                findings.push(format!("dashboards/{path} differs from what is generated, from line {line} on"));
            }
            Err(error) => findings.push(format!("dashboards/{path}: {error}")),
        }
    }
    for folder in ["grafana", "prometheus", "provisioning/dashboards", "provisioning/datasources"] {
        for entry in fs::read_dir(home.join(folder)).into_iter().flatten().flatten() {
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if !files.iter().any(|(made, _)| *made == path) {
                findings.push(format!("dashboards/{path} is not generated any more"));
            }
        }
    }
    Ok(findings)
}
