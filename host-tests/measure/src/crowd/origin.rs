//! An origin that takes its time for thousands of requests at once, in one thread.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Either, Full, channel::Channel};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_LENGTH, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::Builder,
    sync::watch,
    task::JoinSet,
    time::sleep,
};

use selvage_rig::scripted::Received;

/// It runs as long as the process does.
#[derive(Clone)]
pub struct Origin {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    up: watch::Sender<bool>,
}

struct State {
    script: Box<dyn Fn(&Received) -> Plan + Send>,
    fetches: HashMap<String, Vec<Instant>>,
    /// Whether fetches are remembered.
    recording: bool,
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
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let listener = {
            let _entered = runtime.enter();
            listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap()
        };
        let address = listener.local_addr().unwrap();
        let state = State { script: Box::new(script), fetches: HashMap::new(), recording };
        let origin = Self { address, state: Arc::new(Mutex::new(state)), up: watch::Sender::new(true) };
        let (state, up) = (Arc::clone(&origin.state), origin.up.subscribe());
        thread::spawn(move || runtime.block_on(run(listener, address, state, up)));
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
        self.up.send_replace(up);
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    // A connection that finds no room here would be tried again a second later.
    socket.listen(4096)
}

async fn run(
    first: TcpListener,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    mut up: watch::Receiver<bool>,
) {
    let mut listener = Some(first);
    // Whoever could change their mind has gone when a wait fails: then it stays as it is.
    loop {
        let listener = listener.take().unwrap_or_else(|| listen(address).unwrap());
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        if up.wait_for(|up| !up).await.is_err() {
            let _ = accepting.await;
            return;
        }
        accepting.abort();
        let _ = accepting.await;
        if up.wait_for(|up| *up).await.is_err() {
            return;
        }
    }
}

/// Its connections end with it.
async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            connections.spawn(converse(stream, Arc::clone(&state)));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: TcpStream, state: Arc<Mutex<State>>) {
    let _ = stream.set_nodelay(true);
    // One that ends before the client has closed it is reset.
    let _ = stream.set_zero_linger();
    let service = service_fn(|request| answer(request, &state));
    let _ =
        http1::Builder::new().auto_date_header(false).serve_connection(TokioIo::new(stream), service).await;
}

type Content = Either<Full<Bytes>, Channel<Bytes, io::Error>>;

async fn answer(request: Request<Incoming>, state: &Mutex<State>) -> Result<Response<Content>, hyper::Error> {
    let (head, body) = request.into_parts();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut request = Received {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        fields: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: body.collect().await?.to_bytes().into(),
        before: 0,
    };
    let plan = {
        let mut state = state.lock().unwrap();
        if state.recording {
            let earlier = state.fetches.entry(request.target.clone()).or_default();
            request.before = earlier.len();
            earlier.push(Instant::now());
        }
        (state.script)(&request)
    };
    if !plan.delay.is_zero() {
        sleep(plan.delay).await;
    }
    Ok(plan.response())
}

impl Plan {
    fn response(self) -> Response<Content> {
        let bytes = Bytes::from(self.body);
        let mut response = Response::new(Either::Left(Full::new(bytes.clone())));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap();
        for line in self.fields.lines() {
            let (name, value) = line.split_once(':').unwrap();
            let value = HeaderValue::from_bytes(value.trim().as_bytes()).unwrap();
            response.headers_mut().append(HeaderName::try_from(name).unwrap(), value);
        }
        let Some((sent, pause)) = self.breaks.or(self.rests) else { return response };
        response.headers_mut().insert(CONTENT_LENGTH, bytes.len().into());
        let (mut to, content) = Channel::new(1);
        *response.body_mut() = Either::Right(content);
        tokio::spawn(async move {
            // Whoever has gone away, or asked for the head only, gets no more.
            let _ = to.send_data(bytes.slice(..sent)).await;
            sleep(pause).await;
            if self.breaks.is_some() {
                to.abort(io::ErrorKind::ConnectionReset.into());
            } else {
                let _ = to.send_data(bytes.slice(sent..)).await;
            }
        });
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvage_rig::envoy::{Ask, Response};

    fn ask(origin: &Origin, method: &str, target: &str) -> io::Result<Response> {
        Ask::new(origin.address, method, target).try_send()
    }

    #[test]
    fn it_answers_as_planned_and_remembers_what_was_asked_for() {
        let origin = Origin::start(|path, before| Plan {
            status: if path == "/304" { 304 } else { 200 },
            fields: format!("x-before: {before}\r\ncache-control: max-age=1\r\n"),
            body: b"abcdef".to_vec(),
            breaks: (path == "/breaks").then_some((2, Duration::from_millis(20))),
            rests: (path == "/rests").then_some((2, Duration::from_millis(20))),
            ..Plan::default()
        });
        let whole = ask(&origin, "GET", "/a").unwrap();
        assert_eq!((whole.text().as_str(), whole.complete), ("abcdef", true));
        assert_eq!((whole.header("x-before").as_deref(), whole.header("date")), (Some("0"), None));
        let head = ask(&origin, "HEAD", "/a").unwrap();
        assert_eq!((head.header("content-length").as_deref(), head.text().as_str()), (Some("6"), ""));
        assert_eq!(ask(&origin, "GET", "/304").unwrap().text(), "");
        let rest = ask(&origin, "GET", "/rests").unwrap();
        assert_eq!((rest.text().as_str(), rest.complete), ("abcdef", true));
        let broken = ask(&origin, "GET", "/breaks").unwrap();
        assert_eq!((broken.text().as_str(), broken.complete), ("ab", false));
        assert_eq!((origin.fetches("/a").len(), origin.all_fetches().len()), (2, 5));
    }

    #[test]
    fn one_that_is_down_refuses_and_comes_back_where_it_was() {
        let origin = Origin::start(|_, _| Plan { status: 200, ..Plan::default() });
        let until = |up: bool| {
            origin.set_up(up);
            let end = Instant::now() + Duration::from_secs(20);
            while ask(&origin, "GET", "/").is_ok() != up {
                assert!(Instant::now() < end, "{up}");
            }
        };
        until(true);
        until(false);
        until(true);
    }
}
