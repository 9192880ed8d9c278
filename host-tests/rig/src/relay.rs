//! A bridge that hands everything on to the real one, until it is told to lie: then the bytes are its own.

use std::{
    io::{self, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use crate::envoy::Response;
use crate::http1::{read_request, read_response};
use crate::scripted::Received;

/// How a bridge can answer wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Bytes that are no HTTP, to everything.
    Garbage,
    /// The first half of each record, with the right framing. Writes are handed on.
    Half,
    /// The well-formed record of another key. Writes are handed on.
    Wrong,
    /// 200 and the text of an error, to everything.
    ErrorText,
    /// 4 MiB at 1 MiB/s, to everything.
    Drip,
    /// What is right, this much later.
    Slow(Duration),
    /// A body that does not end, about 60 MiB/s on each connection, to everything.
    Endless,
}

/// The bridge. It listens as long as the process lives.
pub struct Relay {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    lie: Option<Lie>,
    /// The last record that was handed on, and the request for it.
    last: Option<(String, Vec<u8>)>,
}

impl Relay {
    /// Listens in front of the bridge on this port.
    pub fn start(bridge: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Self { port: listener.local_addr().unwrap().port(), state: Arc::default() };
        let state = Arc::clone(&relay.state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = Arc::clone(&state);
                thread::spawn(move || {
                    // It ends when either side closes.
                    let _ = serve(client, bridge, &state);
                });
            }
        });
        relay
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lies from now on, or not any more.
    pub fn set(&self, lie: Option<Lie>) {
        self.state.lock().unwrap().lie = lie;
    }
}

fn serve(client: TcpStream, bridge: u16, state: &Mutex<State>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut to = client.try_clone()?;
    let mut from = BufReader::new(client);
    let mut upstream = None;
    for turn in 0usize.. {
        let request = read_request(&mut from)?;
        let lie = state.lock().unwrap().lie;
        let read = request.method == "GET";
        match lie {
            Some(Lie::Garbage) => {
                let bytes: Vec<u8> =
                    (0..700u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
                return to.write_all(&bytes);
            }
            Some(Lie::ErrorText) => {
                let text = match (read, turn % 2) {
                    (true, 0) => "-ERR max number of clients reached\r\n",
                    (true, _) => "ERR something is wrong",
                    (false, _) => r#"{"SETEX":[false,"ERR something is wrong"]}"#,
                };
                respond(&mut to, 200, text.as_bytes())?;
            }
            Some(lie @ (Lie::Drip | Lie::Endless)) => return pour(&mut to, lie, state),
            _ => {
                if let Some(Lie::Slow(late)) = lie {
                    thread::sleep(late);
                }
                let answer = hand_on(&mut upstream, bridge, &request)?;
                let mut body = answer.body;
                let mut status = answer.status;
                // `/GET/KEY.bin`, or `/SET/KEY/CLAIM/NX/GET/PX/5000.bin`.
                let key =
                    request.target.split('/').nth(2).unwrap_or_default().trim_end_matches(".bin").to_owned();
                let lookup = ["/GET/", "/SET/"].iter().any(|begin| request.target.starts_with(begin));
                if read && lookup {
                    match lie {
                        Some(Lie::Half) if status == 200 => body.truncate(body.len() / 2),
                        Some(Lie::Wrong) => {
                            let other = state.lock().unwrap().last.clone();
                            if let Some((_, record)) = other.filter(|(known, _)| *known != key) {
                                (status, body) = (200, record);
                            }
                        }
                        _ if status == 200 => {
                            state.lock().unwrap().last = Some((key, body.clone()));
                        }
                        _ => {}
                    }
                }
                respond(&mut to, status, &body)?;
            }
        }
    }
    Ok(())
}

/// What the real bridge answers. One that was started anew since the last request does not answer on the old connection.
fn hand_on(
    upstream: &mut Option<BufReader<TcpStream>>,
    bridge: u16,
    request: &Received,
) -> io::Result<Response> {
    let head = format!(
        "{} {} HTTP/1.1\r\nhost: redis\r\ncontent-length: {}\r\n\r\n",
        request.method,
        request.target,
        request.body.len()
    );
    let message = [head.as_bytes(), &request.body].concat();
    let exchange = |stream: &mut BufReader<TcpStream>| {
        stream.get_mut().write_all(&message)?;
        read_response(stream, false)
    };
    if let Some(Ok(answer)) = upstream.as_mut().map(exchange) {
        return Ok(answer);
    }
    let stream = TcpStream::connect(("127.0.0.1", bridge))?;
    stream.set_nodelay(true)?;
    exchange(upstream.insert(BufReader::new(stream)))
}

fn respond(to: &mut TcpStream, status: u16, body: &[u8]) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status} Relayed\r\ncontent-length: {}\r\n\r\n", body.len());
    to.write_all(&[head.as_bytes(), body].concat())
}

/// Sends a slow or an endless body, as long as it is wanted and the lie is told.
fn pour(to: &mut TcpStream, lie: Lie, state: &Mutex<State>) -> io::Result<()> {
    let (head, piece, pause) = if lie == Lie::Drip {
        ("content-length: 4194304", vec![b'x'; 16 << 10], Duration::from_micros(15_625))
    } else {
        let chunk = [b"10000\r\n".to_vec(), vec![b'x'; 64 << 10], b"\r\n".to_vec()].concat();
        ("transfer-encoding: chunked", chunk, Duration::from_millis(1))
    };
    to.write_all(format!("HTTP/1.1 200 Relayed\r\n{head}\r\n\r\n").as_bytes())?;
    let mut left = if lie == Lie::Drip { (4 << 20) / piece.len() } else { usize::MAX };
    while left > 0 && state.lock().unwrap().lie == Some(lie) {
        to.write_all(&piece)?;
        thread::sleep(pause);
        left -= 1;
    }
    Ok(())
}
