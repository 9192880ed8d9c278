//! One client that looks at when the parts of an answer come, and figures of many answers.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use selvage_measure::measured::quantile;

/// The head of the table of runs.
pub const HEAD: &str = "| run | answers | answers/s | of a core | p50, p99, longest, ms | to the first byte p50, p99, ms |\n|---|---|---|---|---|---|\n";

/// A connection that is kept.
pub struct Client(TcpStream);

/// When the parts of an answer came, since it was asked for.
pub struct Came {
    /// The first byte of its content.
    pub first: Duration,
    pub whole: Duration,
    /// With its framing.
    pub content: Vec<u8>,
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self(stream))
    }

    /// Asks, and reads an answer in chunks to its end.
    pub fn ask(&mut self, request: &[u8]) -> io::Result<Came> {
        let asked = Instant::now();
        self.0.write_all(request)?;
        let (mut bytes, mut piece) = (Vec::new(), [0; 16 << 10]);
        let (mut content, mut first) = (None, None);
        loop {
            let length = self.0.read(&mut piece)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(&piece[..length]);
            if content.is_none() {
                content = bytes.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4);
            }
            let Some(start) = content else { continue };
            if bytes.len() > start {
                first.get_or_insert_with(|| asked.elapsed());
            }
            if bytes[start..].ends_with(b"\r\n0\r\n\r\n") {
                let whole = asked.elapsed();
                return Ok(Came { first: first.unwrap_or(whole), whole, content: bytes.split_off(start) });
            }
        }
    }
}

/// Figures of answers. Times in milliseconds.
#[derive(Default)]
pub struct Figures {
    pub latencies: Vec<f64>,
    pub firsts: Vec<f64>,
    pub lasting: Duration,
    /// Of the process that has answered.
    pub processor: Option<Duration>,
}

impl Figures {
    /// Answers in a second.
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.lasting.as_secs_f64()
    }

    /// Answers in a second of processor time.
    pub fn of_a_core(&self) -> Option<f64> {
        Some(self.latencies.len() as f64 / self.processor?.as_secs_f64().max(0.001))
    }

    pub fn latency(&mut self, part: f64) -> f64 {
        quantile(&mut self.latencies, part)
    }

    pub fn first(&mut self, part: f64) -> f64 {
        quantile(&mut self.firsts, part)
    }

    /// A line of the table of runs.
    pub fn line(&mut self, title: &str) -> String {
        let core = self.of_a_core().map_or("–".to_owned(), |rate| format!("{rate:.0}"));
        let firsts = if self.firsts.is_empty() {
            "–".to_owned()
        } else {
            format!("{:.2}, {:.2}", self.first(0.5), self.first(0.99))
        };
        format!(
            "| {title} | {} | {:.0} | {core} | {:.2}, {:.2}, {:.1} | {firsts} |\n",
            self.latencies.len(),
            self.rate(),
            self.latency(0.5),
            self.latency(0.99),
            self.latency(1.0)
        )
    }
}
