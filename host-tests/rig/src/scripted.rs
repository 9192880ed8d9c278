//! An origin that does as it is told, byte for byte, so that it can also lie, stall and break off: no library writes that.

use std::{
    collections::HashMap,
    io::{self, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, SystemTime},
};

use crate::http1::read_request;

/// A listening origin. It answers each path with its script, and all others with 404.
#[derive(Clone)]
pub struct Origin {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    scripts: HashMap<String, Script>,
    fallback: Option<Script>,
    received: HashMap<String, Vec<Received>>,
    recording: bool,
}

type Script = Arc<dyn Fn(&Received) -> Answer + Send + Sync>;

/// A request as the origin got it.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Field lines in order, names in lower case.
    pub fields: Vec<(String, String)>,
    /// Its content.
    pub body: Vec<u8>,
    /// How many requests for this path came before it.
    pub before: usize,
}

impl Received {
    /// The value of a field, several lines joined with `, `.
    pub fn header(&self, name: &str) -> Option<String> {
        let lines = self.fields.iter().filter(|(line, _)| line == name);
        let lines: Vec<&str> = lines.map(|(_, value)| value.as_str()).collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }
}

/// What the origin sends.
#[derive(Default)]
pub struct Answer {
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
    content: Vec<u8>,
    framing: Framing,
    delays: Option<Gate>,
    breaks: Option<Break>,
    halts: Option<Halt>,
}

/// So many bytes of the framed content go out with the head, the rest once this has returned.
struct Halt(usize, Box<dyn Fn() + Send + Sync>);

#[derive(Default)]
enum Framing {
    /// `Content-Length` that is true.
    #[default]
    Length,
    /// `Content-Length` with this value whatever the content.
    Claim(u64),
    /// Chunks of this size, and these trailers.
    Chunked(usize, Vec<(String, String)>),
    /// Up to the end of the connection.
    Close,
    /// The content is all that is sent, head included.
    Raw,
}

enum Break {
    BeforeHead,
    /// After the head and so many bytes of the content.
    After(usize),
}

/// Something that happens when the test says so.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// A gate that is shut.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everyone through from now on.
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let shut = self.0.0.lock().unwrap();
        let _open = self.0.1.wait_timeout_while(shut, Duration::from_secs(20), |open| !*open).unwrap();
    }
}

impl Answer {
    /// An answer with this status, a `Date` and an empty content.
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// A 200 with this content.
    pub fn ok(content: impl AsRef<[u8]>) -> Self {
        Self::new(200).body(content)
    }

    /// A 200 with this content that is fresh for an hour.
    pub fn fresh(content: impl AsRef<[u8]>) -> Self {
        Self::ok(content).header("cache-control", "max-age=3600")
    }

    /// These bytes and nothing else.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self { framing: Framing::Raw, ..Self::ok(bytes) }
    }

    /// Adds a field line.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Sets the content.
    pub fn body(mut self, content: impl AsRef<[u8]>) -> Self {
        self.content = content.as_ref().to_vec();
        self
    }

    /// Sends the content in chunks of this size, then these trailers.
    pub fn chunked(mut self, size: usize, trailers: &[(&str, &str)]) -> Self {
        let trailers = trailers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.framing = Framing::Chunked(size, trailers.collect());
        self
    }

    /// Claims another length than the content has; the connection is closed after it.
    pub fn claiming(mut self, length: u64) -> Self {
        self.framing = Framing::Claim(length);
        self
    }

    /// Sends the content without a length, up to the end of the connection.
    pub fn until_close(mut self) -> Self {
        self.framing = Framing::Close;
        self
    }

    /// Closes the connection instead of answering.
    pub fn breaks_before_the_head(mut self) -> Self {
        self.breaks = Some(Break::BeforeHead);
        self
    }

    /// Closes the connection after the head and so many bytes of the framed content.
    pub fn breaks_after(mut self, bytes: usize) -> Self {
        self.breaks = Some(Break::After(bytes));
        self
    }

    /// Sends nothing before the gate is open.
    pub fn waits_for(mut self, gate: &Gate) -> Self {
        self.delays = Some(gate.clone());
        self
    }

    /// Sends the head and so many bytes of the framed content, then does this before the rest.
    pub fn halts_after(mut self, bytes: usize, meanwhile: impl Fn() + Send + Sync + 'static) -> Self {
        self.halts = Some(Halt(bytes, Box::new(meanwhile)));
        self
    }

    /// Sends it. True when the connection may be used again.
    fn send(&self, bodiless: bool, to: &mut TcpStream) -> io::Result<bool> {
        if let Some(gate) = &self.delays {
            gate.pass();
        }
        if matches!(self.breaks, Some(Break::BeforeHead)) {
            return Ok(false);
        }
        if matches!(self.framing, Framing::Raw) {
            to.write_all(&self.content)?;
            return Ok(false);
        }
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status).into_bytes();
        let mut line = |name: &str, value: &[u8]| {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        };
        for (name, value) in &self.fields {
            line(name, value);
        }
        if !self.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("date")) {
            line("date", httpdate::fmt_http_date(SystemTime::now()).as_bytes());
        }
        let without = self.status == 204 || self.status == 304;
        match &self.framing {
            Framing::Length if !without => {
                line("content-length", self.content.len().to_string().as_bytes());
            }
            Framing::Claim(length) => line("content-length", length.to_string().as_bytes()),
            Framing::Chunked(..) => line("transfer-encoding", b"chunked"),
            Framing::Close => line("connection", b"close"),
            Framing::Length | Framing::Raw => {}
        }
        head.extend_from_slice(b"\r\n");
        let mut content = if bodiless || without { Vec::new() } else { self.framed() };
        if let Some(Break::After(bytes)) = self.breaks {
            content.truncate(bytes);
        }
        let mut rest = Vec::new();
        if let Some(Halt(bytes, _)) = &self.halts {
            rest = content.split_off(content.len().min(*bytes));
        }
        head.extend_from_slice(&content);
        to.write_all(&head)?;
        if let Some(Halt(_, meanwhile)) = &self.halts {
            meanwhile();
            to.write_all(&rest)?;
        }
        Ok(self.breaks.is_none() && matches!(self.framing, Framing::Length | Framing::Chunked(..)))
    }

    fn framed(&self) -> Vec<u8> {
        let Framing::Chunked(size, trailers) = &self.framing else { return self.content.clone() };
        let mut framed = Vec::new();
        for chunk in self.content.chunks((*size).max(1)) {
            framed.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            framed.extend_from_slice(chunk);
            framed.extend_from_slice(b"\r\n");
        }
        framed.extend_from_slice(b"0\r\n");
        for (name, value) in trailers {
            framed.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        framed.extend_from_slice(b"\r\n");
        framed
    }
}

impl Origin {
    /// Listens on a free port of this machine.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new(State { recording: true, ..State::default() })),
        };
        let state = Arc::clone(&origin.state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&state);
                thread::spawn(move || serve(stream, &state));
            }
        });
        origin
    }

    /// Its address for `--origin`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers this path with the script.
    pub fn on(&self, path: &str, script: impl Fn(&Received) -> Answer + Send + Sync + 'static) {
        self.state.lock().unwrap().scripts.insert(path.to_owned(), Arc::new(script));
    }

    /// Answers every path that has no script of its own.
    pub fn otherwise(&self, script: impl Fn(&Received) -> Answer + Send + Sync + 'static) {
        self.state.lock().unwrap().fallback = Some(Arc::new(script));
    }

    /// Remembers no more requests: for very many of them.
    pub fn forget(&self) {
        let mut state = self.state.lock().unwrap();
        state.recording = false;
        state.received.clear();
    }

    /// The requests for a path, whatever their query.
    pub fn received(&self, path: &str) -> Vec<Received> {
        self.state.lock().unwrap().received.get(path).cloned().unwrap_or_default()
    }

    /// How many requests for a path there were.
    pub fn count(&self, path: &str) -> usize {
        self.received(path).len()
    }
}

/// Answers the requests on one connection.
fn serve(stream: TcpStream, state: &Mutex<State>) {
    let _ = stream.set_nodelay(true);
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    while let Ok(mut request) = read_request(&mut reader) {
        let path = request.target.split('?').next().unwrap_or_default().to_owned();
        let script = {
            let mut state = state.lock().unwrap();
            if state.recording {
                let earlier = state.received.entry(path.clone()).or_default();
                request.before = earlier.len();
                earlier.push(request.clone());
            }
            state.scripts.get(&path).or(state.fallback.as_ref()).cloned()
        };
        let answer = match script {
            Some(script) => script(&request),
            None => Answer::new(404).header("cache-control", "no-store").body("no script"),
        };
        if !answer.send(request.method == "HEAD", &mut writer).unwrap_or(false) {
            return;
        }
    }
}
