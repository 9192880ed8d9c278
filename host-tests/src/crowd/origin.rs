//! An origin that takes its time for thousands of requests at once, in one thread.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use rustix::event::{Timespec, epoll};
use rustix::net::{listen, sockopt::set_socket_linger};

use crate::{http1::read_request, scripted::Received};

/// It runs as long as the process does.
#[derive(Clone)]
pub struct Origin {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    script: Box<dyn Fn(&Received) -> Plan + Send>,
    fetches: HashMap<String, Vec<Instant>>,
    /// Whether fetches are remembered.
    recording: bool,
    up: bool,
}

/// What it does with a request.
#[derive(Default)]
pub struct Plan {
    /// Before the head.
    pub delay: Duration,
    /// Of the head.
    pub status: u16,
    /// Field lines, each with its end.
    pub fields: String,
    /// The content.
    pub body: Vec<u8>,
    /// It sends so much of the body, and resets the connection after this pause.
    pub breaks: Option<(usize, Duration)>,
    /// It sends so much of the body, and the rest after this pause.
    pub rests: Option<(usize, Duration)>,
}

impl Origin {
    /// Starts it on a free port. The script is told the path and how many requests for it came before.
    pub fn start(script: fn(&str, usize) -> Plan) -> Self {
        Self::attentive(move |request| script(&request.target, request.before))
    }

    /// Starts it on a free port. The script is told all of a request.
    pub fn attentive(script: impl Fn(&Received) -> Plan + Send + 'static) -> Self {
        Self::begin(script, true)
    }

    /// The same, and remembers no requests: for very many of them.
    pub fn forgetful(script: impl Fn(&Received) -> Plan + Send + 'static) -> Self {
        Self::begin(script, false)
    }

    fn begin(script: impl Fn(&Received) -> Plan + Send + 'static, recording: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            script: Box::new(script),
            fetches: HashMap::new(),
            recording,
            up: true,
        }));
        let origin = Self { address, state: Arc::clone(&state) };
        thread::spawn(move || Server::new(state, address, listener).run());
        origin
    }

    /// Its address for `--origin`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// When requests for this path came.
    pub fn fetches(&self, path: &str) -> Vec<Instant> {
        self.state.lock().unwrap().fetches.get(path).cloned().unwrap_or_default()
    }

    /// When requests for paths that begin so came.
    pub fn fetches_below(&self, start: &str) -> Vec<Instant> {
        let state = self.state.lock().unwrap();
        let below = state.fetches.iter().filter(|(path, _)| path.starts_with(start));
        below.flat_map(|(_, times)| times).copied().collect()
    }

    /// When requests came at all.
    pub fn all_fetches(&self) -> Vec<Instant> {
        let mut all: Vec<Instant> = self.state.lock().unwrap().fetches.values().flatten().copied().collect();
        all.sort();
        all
    }

    /// Refuses connections from now on and resets those that are open, or listens again.
    pub fn set_up(&self, up: bool) {
        self.state.lock().unwrap().up = up;
    }
}

struct Server {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    listener: Option<TcpListener>,
    epoll: std::os::fd::OwnedFd,
    /// By their numbers, which are never used again.
    connections: HashMap<u64, Connection>,
    count: u64,
    due: BinaryHeap<Reverse<(Instant, u64)>>,
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    next: Option<Next>,
}

/// What a connection does when it is due.
enum Next {
    Answer {
        plan: Plan,
        /// None of the body is sent, because of what was asked or answered.
        bodiless: bool,
    },
    /// It sends this.
    Rest(Vec<u8>),
    Reset,
}

const LISTENER: u64 = u64::MAX;
/// How long a change of mind takes at most.
const LOOK: Duration = Duration::from_millis(5);

impl Server {
    fn new(state: Arc<Mutex<State>>, address: SocketAddr, listener: TcpListener) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let (connections, due) = (HashMap::new(), BinaryHeap::new());
        let mut server = Self { state, address, listener: None, epoll, connections, count: 0, due };
        server.listen(listener);
        server
    }

    fn listen(&mut self, listener: TcpListener) {
        listener.set_nonblocking(true).unwrap();
        // A connection that finds no room here would be tried again a second later.
        listen(&listener, 4096).unwrap();
        self.watch(&listener, LISTENER).unwrap();
        self.listener = Some(listener);
    }

    fn watch(&self, source: impl std::os::fd::AsFd, number: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, source, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?)
    }

    fn run(mut self) {
        let mut ready: Vec<epoll::Event> = Vec::with_capacity(512);
        loop {
            let next = self.due.peek().map(|Reverse((at, _))| at.saturating_duration_since(Instant::now()));
            let patience = next.unwrap_or(LOOK).min(LOOK);
            let timeout = Timespec { tv_sec: 0, tv_nsec: patience.subsec_nanos().into() };
            ready.clear();
            if epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut ready), Some(&timeout)).is_err() {
                continue;
            }
            for event in &ready {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    number => self.read(number),
                }
            }
            while self.due.peek().is_some_and(|Reverse((at, _))| *at <= Instant::now()) {
                if let Some(Reverse((_, number))) = self.due.pop() {
                    self.act(number);
                }
            }
            let up = self.state.lock().unwrap().up;
            match (up, &self.listener) {
                (false, Some(_)) => {
                    self.listener = None;
                    let numbers: Vec<u64> = self.connections.keys().copied().collect();
                    numbers.into_iter().for_each(|number| self.reset(number));
                }
                (true, None) => self.listen(TcpListener::bind(self.address).unwrap()),
                _ => {}
            }
        }
    }

    fn accept(&mut self) {
        while let Some(Ok((stream, _))) = self.listener.as_ref().map(TcpListener::accept) {
            stream.set_nonblocking(true).unwrap();
            let _ = stream.set_nodelay(true);
            self.count += 1;
            self.watch(&stream, self.count).unwrap();
            self.connections.insert(self.count, Connection { stream, input: Vec::new(), next: None });
        }
    }

    fn read(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let mut piece = [0; 4096];
        loop {
            match connection.stream.read(&mut piece) {
                Ok(length) if length > 0 => connection.input.extend_from_slice(&piece[..length]),
                Err(problem) if problem.kind() == io::ErrorKind::WouldBlock => break,
                _ => {
                    self.connections.remove(&number);
                    return;
                }
            }
        }
        if connection.next.is_some() {
            return;
        }
        let Some(mut request) = whole_request(&connection.input) else { return };
        connection.input.clear();
        let mut state = self.state.lock().unwrap();
        if state.recording {
            let earlier = state.fetches.entry(request.target.clone()).or_default();
            request.before = earlier.len();
            earlier.push(Instant::now());
        }
        let plan = (state.script)(&request);
        let bodiless = request.method == "HEAD" || matches!(plan.status, 204 | 304);
        self.due.push(Reverse((Instant::now() + plan.delay, number)));
        connection.next = Some(Next::Answer { plan, bodiless });
    }

    fn act(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let (message, then) = match connection.next.take() {
            Some(Next::Answer { plan, bodiless }) => plan.message(bodiless),
            Some(Next::Rest(rest)) => (rest, None),
            Some(Next::Reset) | None => return self.reset(number),
        };
        if connection.stream.write_all(&message).is_err() {
            self.connections.remove(&number);
        } else if let Some((next, pause)) = then {
            connection.next = Some(next);
            self.due.push(Reverse((Instant::now() + pause, number)));
        }
    }

    fn reset(&mut self, number: u64) {
        if let Some(connection) = self.connections.remove(&number) {
            let _ = set_socket_linger(&connection.stream, Some(Duration::ZERO));
        }
    }
}

/// The request that these bytes are, once all of it is there.
fn whole_request(bytes: &[u8]) -> Option<Received> {
    if !bytes.windows(4).any(|piece| piece == b"\r\n\r\n") {
        return None;
    }
    let request = read_request(&mut &bytes[..]).ok()?;
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    (request.body.len() >= length).then_some(request)
}

impl Plan {
    /// What is sent first, and what comes after it, how much later.
    fn message(self, bodiless: bool) -> (Vec<u8>, Option<(Next, Duration)>) {
        let length = self.body.len();
        let framing = match self.status {
            204 | 304 => String::new(),
            _ => format!("content-length: {length}\r\n"),
        };
        let mut message =
            format!("HTTP/1.1 {} Planned\r\n{}{framing}\r\n", self.status, self.fields).into_bytes();
        if bodiless {
            return (message, None);
        }
        let (sent, then) = match (self.breaks, self.rests) {
            (Some((sent, pause)), _) => (sent, Some((Next::Reset, pause))),
            (None, Some((sent, pause))) => (sent, Some((Next::Rest(self.body[sent..].to_vec()), pause))),
            (None, None) => (length, None),
        };
        message.extend_from_slice(&self.body[..sent]);
        (message, then)
    }
}
