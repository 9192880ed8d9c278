//! One request over HTTP/2 in plain text, for what HTTP/1.1 cannot say: a `:scheme` that is not the connection's.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use selvage_rig::envoy::Response;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Types and flags of frames (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Sends a request without content. The answer's fields stay empty: to read them takes Huffman's code and a table,
/// and its status is known only where the static table has it.
///
/// # Errors
/// The connection or the stream ended before the answer did.
pub fn send(
    address: SocketAddr,
    scheme: &str,
    method: &str,
    path: &str,
    fields: &[(&str, String)],
) -> io::Result<Response> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut block = Vec::new();
    let pseudo = [(":method", method), (":scheme", scheme), (":authority", "example.test"), (":path", path)];
    pseudo.iter().for_each(|(name, value)| literal(&mut block, name, value));
    fields.iter().for_each(|(name, value)| literal(&mut block, &name.to_ascii_lowercase(), value));
    stream.write_all(PREFACE)?;
    write_frame(&mut stream, SETTINGS, 0, 0, &[])?;
    write_frame(&mut stream, HEADERS, END_STREAM | END_HEADERS, 1, &block)?;
    let mut response =
        Response { status: 0, fields: Vec::new(), body: Vec::new(), complete: true, interim: Vec::new() };
    loop {
        let (kind, flags, content) = read_frame(&mut stream)?;
        match kind {
            SETTINGS if flags & ACK == 0 => write_frame(&mut stream, SETTINGS, ACK, 0, &[])?,
            HEADERS => response.status = status(&content),
            DATA => response.body.extend_from_slice(&content),
            RST_STREAM | GOAWAY => return Err(io::Error::other("the stream was reset")),
            _ => {}
        }
        if (kind == HEADERS || kind == DATA) && flags & END_STREAM != 0 {
            return Ok(response);
        }
    }
}

/// A field line without a place in the table (RFC 7541 §6.2.2).
fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        // A length of seven bits; no text here is longer.
        assert!(text.len() < 127, "{text}");
        block.push(text.len() as u8);
        block.extend_from_slice(text.as_bytes());
    }
}

/// The status, if the block begins with one of the static table (RFC 7541 §A).
fn status(block: &[u8]) -> u16 {
    // The table's size may be set first (§6.3).
    let first = block.iter().find(|byte| **byte & 0xe0 != 0x20);
    match first {
        Some(0x88) => 200,
        Some(0x89) => 204,
        Some(0x8a) => 206,
        Some(0x8b) => 304,
        Some(0x8c) => 400,
        Some(0x8d) => 404,
        Some(0x8e) => 500,
        _ => 0,
    }
}

fn write_frame(to: &mut impl Write, kind: u8, flags: u8, stream: u32, content: &[u8]) -> io::Result<()> {
    let length = content.len() as u32;
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(content);
    to.write_all(&frame)
}

fn read_frame(from: &mut impl Read) -> io::Result<(u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    from.read_exact(&mut head)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let mut content = vec![0; length];
    from.read_exact(&mut content)?;
    Ok((head[3], head[4], content))
}
