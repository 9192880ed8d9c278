//! A client that shows exactly what came: every field line, in order, and whether the content was complete.

use std::{
    io::{self, BufReader, Write},
    marker::PhantomData,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::http1::read_response;

/// A request to be sent.
pub struct Ask<'a> {
    address: SocketAddr,
    method: String,
    target: Vec<u8>,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    content: Content,
    gateway: PhantomData<&'a ()>,
}

enum Content {
    None,
    Whole(Vec<u8>),
    Chunks(Vec<Vec<u8>>),
}

/// A response as it came.
#[derive(Debug, Clone)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its field lines in order, names in lower case.
    pub fields: Vec<(String, Vec<u8>)>,
    /// Its content, without transfer coding.
    pub body: Vec<u8>,
    /// Whether the content was as long as promised.
    pub complete: bool,
    /// The statuses of interim responses before it.
    pub interim: Vec<u16>,
}

/// A connection that several requests use.
pub struct Connection {
    address: SocketAddr,
    stream: BufReader<TcpStream>,
}

/// Nothing here takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

impl Ask<'_> {
    /// A request to an address of its own.
    pub fn new(address: SocketAddr, method: &str, target: &str) -> Self {
        Self {
            address,
            method: method.to_owned(),
            target: target.as_bytes().to_vec(),
            fields: vec![(b"Host".to_vec(), b"example.test".to_vec())],
            content: Content::None,
            gateway: PhantomData,
        }
    }

    /// Adds a field line; `host` replaces the one that is there.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        if name.eq_ignore_ascii_case("host") {
            self.fields.clear();
        }
        self.fields.push((name.as_bytes().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Sends content with its length.
    pub fn body(mut self, content: impl AsRef<[u8]>) -> Self {
        self.content = Content::Whole(content.as_ref().to_vec());
        self
    }

    /// Sends content in chunks, each in a packet of its own.
    pub fn chunks(mut self, chunks: &[&[u8]]) -> Self {
        self.content = Content::Chunks(chunks.iter().map(|chunk| chunk.to_vec()).collect());
        self
    }

    /// Sends it on a new connection and reads the response.
    ///
    /// # Panics
    /// If no response comes.
    #[track_caller]
    pub fn send(self) -> Response {
        let what = format!("{} {}", self.method, String::from_utf8_lossy(&self.target));
        self.try_send().unwrap_or_else(|problem| panic!("{what}: {problem}"))
    }

    /// Sends it on a new connection and reads the response.
    ///
    /// # Errors
    /// The connection ended before a response came.
    pub fn try_send(self) -> io::Result<Response> {
        let mut connection = Connection::try_open(self.address, PATIENCE)?;
        connection.try_send(self)
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut head = self.method.as_bytes().to_vec();
        head.push(b' ');
        head.extend_from_slice(&self.target);
        head.extend_from_slice(b" HTTP/1.1\r\n");
        for (name, value) in &self.fields {
            head.extend_from_slice(name);
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        }
        match &self.content {
            Content::None => head.extend_from_slice(b"\r\n"),
            Content::Whole(content) => {
                head.extend_from_slice(format!("Content-Length: {}\r\n\r\n", content.len()).as_bytes());
                head.extend_from_slice(content);
            }
            Content::Chunks(chunks) => {
                head.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                to.write_all(&head)?;
                for chunk in chunks {
                    let mut framed = format!("{:x}\r\n", chunk.len()).into_bytes();
                    framed.extend_from_slice(chunk);
                    framed.extend_from_slice(b"\r\n");
                    to.write_all(&framed)?;
                    to.flush()?;
                }
                head = b"0\r\n\r\n".to_vec();
            }
        }
        to.write_all(&head)
    }
}

impl Connection {
    pub(super) fn open(address: SocketAddr) -> Self {
        Self::try_open(address, PATIENCE).unwrap()
    }

    /// Connects. Nothing may take longer than `patience`.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn try_open(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self { address, stream: BufReader::new(stream) })
    }

    /// Begins a request; give it to [`Connection::send`].
    pub fn ask(&self, method: &str, target: &str) -> Ask<'static> {
        Ask::new(self.address, method, target)
    }

    /// Begins a GET.
    pub fn get(&self, target: &str) -> Ask<'static> {
        self.ask("GET", target)
    }

    /// Sends a request and reads its response.
    #[track_caller]
    pub fn send(&mut self, ask: Ask<'_>) -> Response {
        self.try_send(ask).unwrap()
    }

    /// Sends a request and reads its response.
    ///
    /// # Errors
    /// The connection ended before a response came.
    pub fn try_send(&mut self, ask: Ask<'_>) -> io::Result<Response> {
        // A server that has answered already may not read the rest of a request.
        let written = ask.write(self.stream.get_mut());
        let bodiless = ask.method == "HEAD";
        read_response(&mut self.stream, bodiless).map_err(|problem| written.err().unwrap_or(problem))
    }

    /// Sends bytes as they are and closes the connection.
    ///
    /// # Errors
    /// It was closed before.
    pub fn abandon(mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }
}

impl Response {
    /// The value of a field, several lines joined with `, `.
    pub fn header(&self, name: &str) -> Option<String> {
        let lines = self.all(name);
        (!lines.is_empty()).then(|| lines.join(", "))
    }

    /// The lines of a field, one by one.
    pub fn all(&self, name: &str) -> Vec<String> {
        let lines = self.fields.iter().filter(|(line, _)| line == name);
        lines.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    /// What the cache says happened; empty if it says nothing.
    pub fn cache_status(&self) -> String {
        self.header("cache-status").unwrap_or_default()
    }

    /// Whether the cache says it answered.
    pub fn is_hit(&self) -> bool {
        self.cache_status().contains("; hit")
    }

    /// The content as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
