//! One HTTP/2 connection with many streams, as much of it as this needs (RFC 9113): nothing is decoded but the status.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// What became of the streams of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Answered with 200, to the end.
    pub well: usize,
    /// Answered with another status, to the end.
    pub otherwise: usize,
    /// Reset, or left without an answer.
    pub unanswered: usize,
}

/// A connection with its streams under way.
pub struct Streams {
    connection: TcpStream,
    count: usize,
}

/// A frame's type (RFC 9113 §6).
mod frame {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const CONTINUATION: u8 = 9;
}

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
/// The most a frame may hold that a peer has not asked for more (RFC 9113 §6.5.2).
const FRAME_BYTES: usize = 16_384;
/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(180);

impl Streams {
    /// Connects, and sends so many GETs for this path, each with a field of this many bytes.
    pub fn open(address: SocketAddr, path: &str, count: usize, field_bytes: usize) -> io::Result<Self> {
        let mut connection = TcpStream::connect(address)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_write_timeout(Some(PATIENCE))?;
        connection.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        connection.write_all(&head(frame::SETTINGS, 0, 0, 0))?;
        let block = block(path, field_bytes);
        for number in 0..count {
            connection.write_all(&request(&block, 2 * number as u32 + 1))?;
        }
        Ok(Self { connection, count })
    }

    /// Waits until all have been answered.
    pub fn finish(mut self) -> Tally {
        let mut tally = Tally::default();
        // By number: whether the status was 200.
        let mut well = vec![false; self.count];
        let mut left = self.count;
        while left > 0 {
            let Ok((kind, flags, stream, payload)) = self.read() else { break };
            let number = (stream as usize).saturating_sub(1) / 2;
            match kind {
                frame::SETTINGS if flags & ACK == 0 => {
                    let _ = self.connection.write_all(&head(frame::SETTINGS, ACK, 0, 0));
                }
                frame::PING if flags & ACK == 0 => {
                    let answer = [&head(frame::PING, ACK, 0, payload.len())[..], &payload].concat();
                    let _ = self.connection.write_all(&answer);
                }
                frame::GOAWAY => break,
                frame::RST_STREAM => {
                    tally.unanswered += 1;
                    left -= 1;
                }
                frame::HEADERS => well[number] = is_200(&payload),
                _ => {}
            }
            if matches!(kind, frame::HEADERS | frame::DATA) && flags & END_STREAM != 0 {
                left -= 1;
                if well[number] { tally.well += 1 } else { tally.otherwise += 1 }
            }
        }
        tally.unanswered += left;
        tally
    }

    fn read(&mut self) -> io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.connection.read_exact(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.connection.read_exact(&mut payload)?;
        Ok((kind, flags, u32::from_be_bytes(stream) & 0x7fff_ffff, payload))
    }
}

/// Whether a field block begins with `:status: 200`, which is number 8 of the static table (RFC 7541 appendix A); changes of the
/// dynamic table's size may stand before it.
fn is_200(block: &[u8]) -> bool {
    block.iter().find(|byte| **byte & 0b1110_0000 != 0b0010_0000) == Some(&0x88)
}

fn head(kind: u8, flags: u8, stream: u32, length: usize) -> [u8; 9] {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    [a, b, c, kind, flags, d, e, f, g]
}

/// HEADERS and as many CONTINUATIONs as the block needs.
fn request(block: &[u8], stream: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len() + 64);
    let last = block.chunks(FRAME_BYTES).count() - 1;
    for (nth, part) in block.chunks(FRAME_BYTES).enumerate() {
        let kind = if nth == 0 { frame::HEADERS } else { frame::CONTINUATION };
        let end = if nth == last { END_HEADERS } else { 0 };
        let flags = end | if nth == 0 { END_STREAM } else { 0 };
        out.extend(head(kind, flags, stream, part.len()));
        out.extend(part);
    }
    out
}

/// A field block that nobody keeps in a table: literals without indexing (RFC 7541 §6.2.2).
fn block(path: &str, field_bytes: usize) -> Vec<u8> {
    // `:method: GET` and `:scheme: http` of the static table.
    let mut out = vec![0x82, 0x86];
    for (name, value) in [
        (":path", path.to_owned()),
        (":authority", "waiting.example".to_owned()),
        ("x-large", "x".repeat(field_bytes)),
    ] {
        out.push(0);
        text(&mut out, name);
        text(&mut out, &value);
    }
    out
}

/// A length of seven bits and more (RFC 7541 §5.1), and the bytes as they are.
fn text(out: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    if length < 127 {
        out.push(length as u8);
    } else {
        out.push(127);
        length -= 127;
        while length >= 128 {
            out.push((length % 128) as u8 | 128);
            length /= 128;
        }
        out.push(length as u8);
    }
    out.extend_from_slice(text.as_bytes());
}
