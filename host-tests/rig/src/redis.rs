//! A real Redis and the webdis in front of it, on free loopback ports, and what can happen to them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
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
#[derive(Clone, Copy, Default)]
pub struct Access {
    /// The password that Redis wants.
    pub redis: &'static str,
    /// The password that webdis gives to Redis.
    pub webdis: &'static str,
    /// The `user:password` that webdis wants.
    pub basic: &'static str,
}

/// Redis and webdis. They end with it, or one by one before.
pub struct Bridge {
    redis_port: u16,
    port: u16,
    access: Access,
    redis: Option<Running>,
    webdis: Option<Running>,
    configuration: PathBuf,
}

/// One of the two programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The store.
    Redis,
    /// What makes HTTP of it.
    Webdis,
}

impl Bridge {
    /// Starts both for everybody on this machine, with nothing kept on disk.
    ///
    /// # Panics
    /// One of them is not installed or does not start; what it wrote is shown.
    pub fn start() -> Self {
        Self::guarded(Access::default())
    }

    /// Starts both, with nothing kept on disk.
    ///
    /// # Panics
    /// As [`Bridge::start`].
    pub fn guarded(access: Access) -> Self {
        let (redis_port, port) = (free_port(), free_port());
        let configuration =
            std::env::temp_dir().join(format!("selvage-webdis-{}-{port}.json", std::process::id()));
        let mut bridge = Self { redis_port, port, access, redis: None, webdis: None, configuration };
        bridge.start_redis();
        bridge.start_webdis();
        bridge
    }

    /// Where webdis listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where Redis itself listens.
    pub fn redis_port(&self) -> u16 {
        self.redis_port
    }

    /// Starts Redis, again if it has ended: on the same port, with nothing in it.
    pub fn start_redis(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(["--port", &self.redis_port.to_string()]);
        if !self.access.redis.is_empty() {
            command.args(["--requirepass", self.access.redis]);
        }
        self.redis = Some(await_port(&command, self.redis_port));
    }

    /// Starts webdis, again if it has ended, on the same port.
    pub fn start_webdis(&mut self) {
        self.start_webdis_with(self.access.webdis);
    }

    /// Starts webdis with this password for Redis, whether it is right or not.
    pub fn start_webdis_with(&mut self, password: &str) {
        let (redis_port, port) = (self.redis_port, self.port);
        let login = if password.is_empty() { "null".to_owned() } else { format!("{password:?}") };
        let whom = match self.access.basic {
            "" => String::new(),
            basic => format!(r#""http_basic_auth": {basic:?}, "#),
        };
        let text = format!(
            r#"{{ "redis_host": "127.0.0.1", "redis_port": {redis_port}, "redis_auth": {login},
                "http_host": "127.0.0.1", "http_port": {port},
                "threads": 1, "pool_size": 9, "daemonize": false, "database": 0, "verbosity": 1, "logfile": "/dev/null",
                "http_max_request_size": 33554432,
                "acl": [{{ "disabled": ["*"] }}, {{ {whom}"enabled": ["GET", "SET", "SETEX", "DEL", "EVAL", "EVALSHA", "PING"] }}] }}"#
        );
        fs::write(&self.configuration, text).unwrap();
        let mut command = Command::new("webdis");
        command.arg(&self.configuration);
        self.webdis = Some(await_port(&command, port));
    }

    /// Ends Redis and leaves webdis.
    pub fn end_redis(&mut self) {
        self.redis = None;
    }

    /// Ends webdis.
    pub fn end_webdis(&mut self) {
        self.webdis = None;
    }

    /// Kills one of them at once, as a crash would.
    pub fn kill(&mut self, part: Part) {
        self.signal(part, "KILL");
        match part {
            Part::Redis => self.redis = None,
            Part::Webdis => self.webdis = None,
        }
    }

    /// Stops one of them where it is: its connections stay, and nothing is answered.
    pub fn stall(&self, part: Part) {
        self.signal(part, "STOP");
    }

    /// Lets one that was stalled go on.
    pub fn resume(&self, part: Part) {
        self.signal(part, "CONT");
    }

    /// The first line of Redis's answer to a command without spaces in its arguments.
    pub fn command(&self, words: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.redis_port)).unwrap();
        let password = self.access.redis;
        if !password.is_empty() {
            stream.write_all(format!("AUTH {password}\r\n").as_bytes()).unwrap();
        }
        stream.write_all(format!("{words}\r\n").as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
        lines.nth(usize::from(!password.is_empty())).unwrap()
    }

    /// How often Redis has run a command, by its name in lower case.
    pub fn calls(&self, command: &str) -> u64 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.redis_port)).unwrap();
        stream.write_all(b"INFO commandstats\r\nQUIT\r\n").unwrap();
        let begin = format!("cmdstat_{command}:calls=");
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let count =
            lines.find_map(|line| Some(line.strip_prefix(&begin)?.split(',').next()?.parse().unwrap()));
        count.unwrap_or_default()
    }

    /// The keys that fit a pattern of Redis's.
    pub fn keys(&self, pattern: &str) -> Vec<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.redis_port)).unwrap();
        stream.write_all(format!("KEYS {pattern}\r\nQUIT\r\n").as_bytes()).unwrap();
        let lines = BufReader::new(stream).lines().map(Result::unwrap);
        lines.filter(|line| !line.starts_with(['*', '$', '+'])).collect()
    }

    fn signal(&self, part: Part, name: &str) {
        let (running, program) = match part {
            Part::Redis => (&self.redis, "redis-server"),
            Part::Webdis => (&self.webdis, "webdis"),
        };
        if let Some(process) = running.as_ref().and_then(|running| running.process(program)) {
            signal(process, name);
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // A process that is stopped does not end when it is told to.
        self.resume(Part::Redis);
        self.resume(Part::Webdis);
        let _ = fs::remove_file(&self.configuration);
    }
}

/// Sends a signal, such as `KILL`, to a process.
pub fn signal(process: u32, name: &str) {
    let _ = Command::new("bash").args(["-c", &format!("kill -{name} {process}")]).status();
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
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
