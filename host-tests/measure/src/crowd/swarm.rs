//! Thousands of clients in one thread.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::event::{Timespec, epoll};
use rustix::net::sockopt::set_socket_linger;

use super::answer::{Answer, Parsed};

/// Connections that are kept, each with one request at a time.
pub struct Swarm {
    epoll: OwnedFd,
    clients: Vec<Client>,
    ready: Vec<epoll::Event>,
    /// What is read at once.
    piece: Box<[u8]>,
}

struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
    input: Vec<u8>,
    /// When the request was due whose answer is waited for.
    asked: Option<Instant>,
    /// When the first bytes of the answer came.
    began: Option<Instant>,
    /// It was a HEAD.
    bodiless: bool,
}

/// What became of a request.
pub struct Finished {
    /// Whose it was.
    pub client: usize,
    /// Since it was due.
    pub latency: Duration,
    /// From then to the first bytes of the answer; as long as all of it when none came.
    pub head: Duration,
    /// The whole response, or what was wrong.
    pub answer: Result<Answer, &'static str>,
    /// What came that was no answer.
    pub came: Vec<u8>,
}

/// A GET of this target.
pub fn get(target: &str) -> Vec<u8> {
    get_with(target, "")
}

/// The same with more field lines, each with its end.
pub fn get_with(target: &str, fields: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nhost: {HOST}\r\n{fields}\r\n").into_bytes()
}

/// A POST of this content to a target, with more field lines, each with its end.
pub fn post_with(target: &str, fields: &str, content: &str) -> Vec<u8> {
    let length = content.len();
    format!("POST {target} HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {length}\r\n{fields}\r\n{content}")
        .into_bytes()
}

/// Whom they ask for: what somebody else has stored for them was asked for by the same name.
pub const HOST: &str = "herd.example";

impl Swarm {
    /// So many clients of these addresses in turns. Each connects when it first asks.
    pub fn new(addresses: &[SocketAddr], count: usize) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let client = |address: &SocketAddr| Client {
            address: *address,
            stream: None,
            input: Vec::new(),
            asked: None,
            began: None,
            bodiless: false,
        };
        let clients = addresses.iter().cycle().take(count).map(client).collect();
        let piece = vec![0; 64 << 10].into_boxed_slice();
        Self { epoll, clients, ready: Vec::with_capacity(512), piece }
    }

    /// Opens so many connections, to these addresses in turns.
    pub fn open(addresses: &[SocketAddr], count: usize) -> Self {
        let mut swarm = Self::new(addresses, count);
        for number in 0..count {
            swarm.connect(number).unwrap();
        }
        swarm
    }

    fn connect(&mut self, number: usize) -> io::Result<()> {
        let client = &mut self.clients[number];
        let stream = TcpStream::connect(client.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
        epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(number as u64), flags)?;
        client.stream = Some(stream);
        Ok(())
    }

    /// Sends a request of a client that has none under way. Latency counts from `due`.
    pub fn ask(&mut self, number: usize, request: &[u8], due: Instant) -> Option<Finished> {
        if self.clients[number].stream.is_none() && self.connect(number).is_err() {
            return Some(self.clients[number].finish(number, due, Err("cannot connect")));
        }
        let client = &mut self.clients[number];
        let mut stream = client.stream.as_ref()?;
        client.asked = Some(due);
        client.began = None;
        client.bodiless = request.starts_with(b"HEAD ");
        client.input.clear();
        // What is written into an idle connection fits. A connection that is closed is seen when it is read.
        let _ = stream.write_all(request);
        None
    }

    /// The client goes away, without waiting for its answer. It connects anew when it asks again.
    pub fn hang_up(&mut self, number: usize) {
        let client = &mut self.clients[number];
        client.asked = None;
        client.stream = None;
    }

    /// Takes in what has come, waiting for it until a moment at most.
    pub fn poll(&mut self, until: Instant, mut finished: impl FnMut(Finished)) {
        let patience = until.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
        self.ready.clear();
        let space = rustix::buffer::spare_capacity(&mut self.ready);
        if epoll::wait(&self.epoll, space, Some(&timeout)).is_err() {
            return;
        }
        for event in &self.ready {
            let number = event.data.u64() as usize;
            if let Some(done) = self.clients[number].read(number, &mut self.piece) {
                finished(done);
            }
        }
    }
}

impl Client {
    /// Reads what is there; gives the response when it is whole.
    fn read(&mut self, number: usize, piece: &mut [u8]) -> Option<Finished> {
        let stream = self.stream.as_mut()?;
        let ended = loop {
            match stream.read(piece) {
                Ok(0) => break Some("closed"),
                Ok(length) => {
                    self.began.get_or_insert_with(Instant::now);
                    self.input.extend_from_slice(&piece[..length]);
                    // Less than there was room for is all there is; if more has come since, it is told of anew.
                    if length < piece.len() {
                        break None;
                    }
                }
                Err(problem) if problem.kind() == io::ErrorKind::WouldBlock => break None,
                Err(_) => break Some("reset"),
            }
        };
        let answer = match (Answer::take(&mut self.input, self.bodiless), ended) {
            (Parsed::Whole(answer), _) => Ok(answer),
            (Parsed::Strange, _) => Err("no HTTP/1.1, or more than was promised"),
            (Parsed::Partial, Some(_)) if !self.input.is_empty() => Err("broken off"),
            (Parsed::Partial, Some(problem)) => Err(problem),
            (Parsed::Partial, None) => return None,
        };
        let closes = ended.is_some()
            || answer.as_ref().map_or(true, |answer| answer.field("connection") == Some(b"close"));
        if closes {
            self.stream = None;
        }
        let due = self.asked.take()?;
        Some(self.finish(number, due, answer))
    }

    fn finish(&self, client: usize, due: Instant, answer: Result<Answer, &'static str>) -> Finished {
        let latency = due.elapsed();
        let head = self.began.map_or(latency, |began| began.saturating_duration_since(due));
        let came = if answer.is_err() { self.input.clone() } else { Vec::new() };
        Finished { client, latency, head, answer, came }
    }
}

impl Drop for Swarm {
    /// Thousands of closed connections would hold their ports for a minute.
    fn drop(&mut self) {
        for stream in self.clients.iter().filter_map(|client| client.stream.as_ref()) {
            let _ = set_socket_linger(stream, Some(Duration::ZERO));
        }
    }
}
