//! Connections, all in one thread, bounded in number, in time and in bytes.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::Response;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use crate::pages::{self, Request};

const MAX_CONNECTIONS: usize = 512;
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// How long a connection may be idle, and the head or the body of a request under way.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a listener serves.
#[derive(Clone)]
pub enum Served {
    /// The origin, and how many requests have reached it.
    Origin(Arc<AtomicU64>),
    /// A page of one file.
    Page(Bytes),
}

/// Serves for ever.
pub async fn serve(listener: TcpListener, served: Served) {
    let seats = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // One too many is closed at once.
                if let Ok(seat) = Arc::clone(&seats).try_acquire_owned() {
                    tokio::spawn(converse(stream, served.clone(), seat));
                }
            }
            // Out of descriptors, most likely: they come back when connections end.
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Answers the requests of one connection until it closes.
async fn converse(stream: TcpStream, served: Served, _seat: OwnedSemaphorePermit) {
    let _ = stream.set_nodelay(true);
    // The peer went away or broke the protocol: nobody is left to tell.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service_fn(|request| answer(request, &served)))
        .await;
}

type Failure = Box<dyn Error + Send + Sync>;

/// Reads the body and forgets it, so that the next request on the connection is found, then answers.
async fn answer(request: Request<Incoming>, served: &Served) -> Result<Response<Full<Bytes>>, Failure> {
    let (head, body) = request.into_parts();
    let mut body = Limited::new(body, MAX_BODY_BYTES);
    tokio::time::timeout(PATIENCE, async {
        while let Some(frame) = body.frame().await {
            frame?;
        }
        Ok::<_, Failure>(())
    })
    .await??;
    let request = Request::from_parts(head, ());
    let count = match served {
        Served::Origin(count) => count,
        Served::Page(content) => return Ok(pages::whole(&request, content).map(Full::new)),
    };
    let counted = u64::from(pages::counts(&request));
    let count = count.fetch_add(counted, Ordering::Relaxed).saturating_add(counted);
    let delay = pages::delay(&request);
    if !delay.is_zero() {
        sleep(delay).await;
    }
    Ok(pages::respond(&request, count).map(Full::new))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};

    fn origin() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || crate::run(listener, None));
        address
    }

    #[test]
    fn a_page_is_served_beside_the_origin_and_may_not_be_framed() {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [_, address] = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        let [origin, page] = listeners;
        std::thread::spawn(move || crate::run(origin, Some((page, "a page".into()))));
        let answer = talk(address, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\na page"), "{answer}");
        assert!(answer.contains("content-type: text/html; charset=utf-8\r\n"), "{answer}");
        assert!(answer.contains("content-security-policy: frame-ancestors 'none'\r\n"), "{answer}");
        assert!(talk(address, "GET /x HTTP/1.1\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 404 "));
        assert!(talk(address, "POST / HTTP/1.1\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 405 "));
    }

    fn talk(address: SocketAddr, text: &str) -> String {
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
        assert!(talk(address, "GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 200 "));
    }

    #[test]
    fn the_answer_says_when_it_was_and_a_head_has_the_length_of_its_get() {
        let head = talk(origin(), "HEAD /large?bytes=9 HTTP/1.1\r\nConnection: close\r\n\r\n");
        assert!(head.contains("\r\ndate: ") && head.contains("content-length: 9\r\n"), "{head}");
        assert!(head.ends_with("\r\n\r\n"), "{head}");
    }

    #[test]
    fn a_large_response_comes_in_chunks_when_asked_for() {
        let answer = talk(origin(), "GET /large?bytes=3&chunked=1 HTTP/1.1\r\nConnection: close\r\n\r\n");
        assert!(answer.ends_with("\r\n\r\n3\r\n012\r\n0\r\n\r\n"), "{answer}");
        assert!(!answer.contains("content-length"), "{answer}");
    }
}
