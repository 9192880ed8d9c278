//! A real Redis and the webdis in front of it, on free loopback ports.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use crate::envoy::Running;

/// A Redis of its own, with nothing kept on disk.
pub struct Redis {
    port: u16,
    _running: Running,
}

impl Redis {
    /// Starts it with more lines of its configuration, which may name its port and change what this sets.
    ///
    /// # Panics
    /// It is not installed or does not start; what it wrote is shown.
    pub fn start(more: impl FnOnce(u16) -> String) -> Self {
        let port = free_port();
        let file = std::env::temp_dir().join(format!("selvage-redis-{}-{port}.conf", std::process::id()));
        let more = more(port);
        fs::write(&file, format!("bind 127.0.0.1\nport {port}\nsave \"\"\nappendonly no\n{more}\n")).unwrap();
        let mut command = Command::new("redis-server");
        command.arg(&file);
        let running = await_port(&command, port);
        let _ = fs::remove_file(file);
        Self { port, _running: running }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sends commands, one on a line, on a connection of their own, and returns all that comes back.
    pub fn say(&self, commands: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(format!("{}\r\nQUIT\r\n", commands.replace('\n', "\r\n")).as_bytes()).unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        answers
    }
}

/// Who may use a [`Bridge`]. Empty: everybody on this machine.
#[derive(Default)]
pub struct Access<'a> {
    /// The password that Redis wants.
    pub redis: &'a str,
    /// The password that webdis gives to Redis.
    pub webdis: &'a str,
    /// The `user:password` that webdis wants.
    pub basic: &'a str,
}

/// Redis and webdis. They end with it, or one by one before.
pub struct Bridge {
    port: u16,
    redis_port: u16,
    redis: Option<Running>,
    webdis: Option<Running>,
    configuration: PathBuf,
}

impl Bridge {
    /// Starts both for everybody on this machine, with nothing kept on disk.
    ///
    /// # Panics
    /// One of them is not installed or does not start; what it wrote is shown.
    pub fn start() -> Self {
        Self::guarded(&Access::default())
    }

    /// Starts both, with nothing kept on disk.
    ///
    /// # Panics
    /// One of them is not installed or does not start; what it wrote is shown.
    pub fn guarded(access: &Access<'_>) -> Self {
        let (redis_port, port) = (free_port(), free_port());
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(["--port", &redis_port.to_string()]);
        if !access.redis.is_empty() {
            command.args(["--requirepass", access.redis]);
        }
        let redis = await_port(&command, redis_port);
        let configuration =
            std::env::temp_dir().join(format!("selvage-webdis-{}-{port}.json", std::process::id()));
        let quoted = |text: &str| if text.is_empty() { "null".to_owned() } else { format!("{text:?}") };
        let login = quoted(access.webdis);
        let whom = match access.basic {
            "" => String::new(),
            basic => format!(r#""http_basic_auth": {basic:?}, "#),
        };
        let text = format!(
            r#"{{ "redis_host": "127.0.0.1", "redis_port": {redis_port}, "redis_auth": {login},
                "http_host": "127.0.0.1", "http_port": {port},
                "threads": 1, "pool_size": 9, "daemonize": false, "database": 0, "verbosity": 1, "logfile": "/dev/null",
                "http_max_request_size": 33554432,
                "acl": [{{ "disabled": ["*"] }}, {{ {whom}"enabled": ["GET", "SETEX", "DEL", "PING"] }}] }}"#
        );
        fs::write(&configuration, text).unwrap();
        let mut command = Command::new("webdis");
        command.arg(&configuration);
        let webdis = await_port(&command, port);
        Self { port, redis_port, redis: Some(redis), webdis: Some(webdis), configuration }
    }

    /// Where webdis listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where Redis itself listens.
    pub fn redis_port(&self) -> u16 {
        self.redis_port
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

/// Starts a program that listens on this port, and waits until it does.
pub(crate) fn await_port(command: &Command, port: u16) -> Running {
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
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
