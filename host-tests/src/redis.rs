//! A real Redis and the webdis in front of it, on free loopback ports.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use crate::envoy::Running;

/// Redis and webdis. They end with it, or one by one before.
pub struct Bridge {
    port: u16,
    redis: Option<Running>,
    webdis: Option<Running>,
    configuration: PathBuf,
}

impl Bridge {
    /// Starts both, with nothing kept on disk.
    ///
    /// # Panics
    /// One of them is not installed or does not start; what it wrote is shown.
    pub fn start() -> Self {
        let (redis_port, port) = (free_port(), free_port());
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(["--port", &redis_port.to_string()]);
        let redis = await_port(&command, redis_port);
        let configuration =
            std::env::temp_dir().join(format!("selvage-webdis-{}-{port}.json", std::process::id()));
        let text = format!(
            r#"{{ "redis_host": "127.0.0.1", "redis_port": {redis_port}, "http_host": "127.0.0.1", "http_port": {port},
                "threads": 1, "pool_size": 9, "daemonize": false, "database": 0, "verbosity": 1, "logfile": "/dev/null",
                "http_max_request_size": 33554432,
                "acl": [{{ "disabled": ["*"] }}, {{ "enabled": ["GET", "SETEX", "DEL", "PING"] }}] }}"#
        );
        fs::write(&configuration, text).unwrap();
        let mut command = Command::new("webdis");
        command.arg(&configuration);
        let webdis = await_port(&command, port);
        Self { port, redis: Some(redis), webdis: Some(webdis), configuration }
    }

    /// Where webdis listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends Redis and leaves webdis.
    pub fn end_redis(&mut self) {
        self.redis = None;
    }

    /// Ends webdis.
    pub fn end_webdis(&mut self) {
        self.webdis = None;
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.configuration);
    }
}

fn await_port(command: &Command, port: u16) -> Running {
    let found = Running::start(command).ready(|_| TcpStream::connect(("127.0.0.1", port)).ok().map(drop));
    match found {
        Ok((running, ())) => running,
        Err(refused) => panic!(
            "{:?} did not start; ./host-tests/run installs it (Debian packages redis-server and webdis):\n{}",
            command.get_program(),
            refused.output
        ),
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
