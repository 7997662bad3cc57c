//! In a process of its own, since a global recorder is for good.
#![cfg(feature = "prometheus")]

use sinkworks::telemetry::{Exporter, ServeError, serve};

#[test]
fn another_global_recorder_is_a_typed_error_and_the_port_is_left_alone() {
    metrics_util::debugging::DebuggingRecorder::new().install().expect("the first recorder");
    assert!(matches!(Exporter::install(), Err(ServeError::RecorderInstalled)));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(matches!(serve(port), Err(ServeError::RecorderInstalled)));
    assert!(std::net::TcpListener::bind(port).is_ok());
}
