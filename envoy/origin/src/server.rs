//! Connections: one thread each, bounded in number, in time and in bytes.

use std::io::{BufReader, BufWriter, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::message::{Framing, Request, Response};
use crate::pages;

const MAX_CONNECTIONS: usize = 512;
const THREAD_STACK_BYTES: usize = 256 * 1024;
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What all connections share.
#[derive(Default)]
struct Shared {
    requests: AtomicU64,
    connections: AtomicUsize,
}

/// Counts one open connection for as long as it lives.
struct Seat(Arc<Shared>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves for ever.
pub fn serve(listener: &TcpListener) -> ExitCode {
    let shared = Arc::new(Shared::default());
    loop {
        match listener.accept() {
            Ok((stream, _)) => admit(stream, &shared),
            // Out of descriptors, most likely: they come back when connections end.
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Gives the connection a thread, or closes it when there are too many.
fn admit(stream: TcpStream, shared: &Arc<Shared>) {
    let seat = Seat(Arc::clone(shared));
    if shared.connections.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
        return;
    }
    // A thread that cannot be started drops its seat and its stream, which closes the connection.
    let _ = thread::Builder::new().stack_size(THREAD_STACK_BYTES).spawn(move || {
        // The peer went away or broke the protocol: nobody is left to tell.
        let _ = converse(&stream, &seat.0);
    });
}

/// Answers the requests of one connection until it closes.
fn converse(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let (mut reader, mut writer) = (BufReader::new(stream), BufWriter::new(stream));
    loop {
        let request = match Request::read(&mut reader) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                let response = Response {
                    status: 400,
                    fields: Vec::new(),
                    body: format!("{error}\n").into_bytes(),
                    framing: Framing::Length,
                };
                return response.write(&mut writer, &Request::default());
            }
            Err(error) => return Err(error),
        };
        if request.expects_continue() {
            writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            writer.flush()?;
        }
        request.drain_body(&mut reader)?;
        let count = if pages::counts(&request) {
            shared.requests.fetch_add(1, Ordering::Relaxed).saturating_add(1)
        } else {
            shared.requests.load(Ordering::Relaxed)
        };
        thread::sleep(pages::delay(&request));
        pages::respond(&request, count).write(&mut writer, &request)?;
        if !request.keep_alive() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn origin() -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || serve(&listener));
        address
    }

    fn talk(address: std::net::SocketAddr, text: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn one_connection_carries_several_requests_and_the_count_follows() {
        let address = origin();
        let answer = talk(
            address,
            "GET /fresh HTTP/1.1\r\n\r\nPOST /fresh HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi\
             GET /count HTTP/1.1\r\nConnection: close\r\n\r\n",
        );
        assert!(answer.contains("x-origin-count: 1\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n2\n"), "{answer}");
    }

    #[test]
    fn nonsense_is_answered_400_and_the_next_connection_still_works() {
        let address = origin();
        assert!(talk(address, "nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
        assert!(talk(address, "GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 200 "));
    }
}
