//! The numbers of proxy-wasm 0.2.1, and its wire form of a header map.

use crate::Headers;

/// What a hostcall returns: the `WasmResult` of Envoy's proxy-wasm host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// No such key, header, queue or buffer.
    NotFound = 1,
    /// An argument out of range, or a map that the phase does not offer.
    BadArgument = 2,
    /// A pointer outside the guest's memory.
    InvalidMemoryAccess = 6,
    /// A queue without items.
    Empty = 7,
    /// The value changed since the given compare-and-swap number was read.
    CasMismatch = 8,
    /// The host could not do it (for a callout: no healthy host, no callback follows).
    InternalFailure = 10,
    /// Not offered by this host.
    Unimplemented = 12,
}

/// What a stream callback returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Pass on.
    Continue,
    /// Hold until `proxy_continue_stream`.
    Pause,
}

/// The way of a message through the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Request,
    Response,
}

impl Direction {
    /// The `WasmStreamType` number, if it is an HTTP one.
    pub(crate) fn from_stream_type(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Request),
            1 => Some(Self::Response),
            _ => None,
        }
    }
}

/// The header maps by their ABI number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MapKind {
    Headers(Direction),
    Trailers(Direction),
    CalloutHeaders,
    CalloutTrailers,
    Grpc,
}

impl MapKind {
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Headers(Direction::Request),
            1 => Self::Trailers(Direction::Request),
            2 => Self::Headers(Direction::Response),
            3 => Self::Trailers(Direction::Response),
            4 | 5 => Self::Grpc,
            6 => Self::CalloutHeaders,
            7 => Self::CalloutTrailers,
            _ => return None,
        })
    }
}

/// The buffers by their ABI number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BufferKind {
    Body(Direction),
    CalloutBody,
    VmConfiguration,
    PluginConfiguration,
    Other,
}

impl BufferKind {
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Body(Direction::Request),
            1 => Self::Body(Direction::Response),
            4 => Self::CalloutBody,
            6 => Self::VmConfiguration,
            7 => Self::PluginConfiguration,
            2 | 3 | 5 | 8 => Self::Other,
            _ => return None,
        })
    }
}

/// Envoy reads a block above this as an empty list, silently.
pub(crate) const MAX_BLOCK_BYTES: usize = 1024 * 1024;
/// Envoy reads a block of more pairs as an empty list, silently.
pub(crate) const MAX_PAIRS: usize = 1024;

/// The wire form of a map: count, lengths, then each name and value with a closing NUL. An empty map has no bytes.
pub(crate) fn encode_pairs(headers: &Headers) -> Vec<u8> {
    if headers.is_empty() {
        return Vec::new();
    }
    let mut block = Vec::new();
    block.extend_from_slice(&(headers.len() as u32).to_le_bytes());
    for (name, value) in headers.raw() {
        block.extend_from_slice(&(name.len() as u32).to_le_bytes());
        block.extend_from_slice(&(value.len() as u32).to_le_bytes());
    }
    for (name, value) in headers.raw() {
        block.extend_from_slice(name);
        block.push(0);
        block.extend_from_slice(value);
        block.push(0);
    }
    block
}

/// Reads a block that the guest made.
///
/// # Errors
/// A sentence for whatever Envoy would turn into an empty list, or would refuse as a header.
pub(crate) fn decode_pairs(block: &[u8]) -> Result<Headers, String> {
    if block.is_empty() {
        return Ok(Headers::new());
    }
    if block.len() > MAX_BLOCK_BYTES {
        return Err(format!("a header block of {} bytes, Envoy takes 1 MiB", block.len()));
    }
    let word = |at: usize| -> Result<usize, String> {
        let bytes = block.get(at..at + 4).ok_or("a header block that ends within its lengths")?;
        Ok(u32::from_le_bytes(bytes.try_into().unwrap()) as usize)
    };
    let count = word(0)?;
    if count > MAX_PAIRS {
        return Err(format!("a header block of {count} pairs, Envoy takes {MAX_PAIRS}"));
    }
    let mut at = 4 + count * 8;
    let mut headers = Headers::new();
    for index in 0..count {
        let mut next = |length: usize| -> Result<Vec<u8>, String> {
            let bytes = block.get(at..at + length).ok_or("a header block shorter than its lengths say")?;
            if block.get(at + length) != Some(&0) {
                return Err("a header block without a NUL after a name or value".to_owned());
            }
            at += length + 1;
            Ok(bytes.to_vec())
        };
        let name = next(word(4 + index * 8)?)?;
        let value = next(word(8 + index * 8)?)?;
        check_header(&name, &value)?;
        headers.push_raw(name, value);
    }
    if at != block.len() {
        return Err(format!("a header block with {} bytes after its last value", block.len() - at));
    }
    Ok(headers)
}

/// Envoy's codec asserts on these bytes in a value, and on an empty or upper-case name.
///
/// # Errors
/// A sentence that names the header.
pub(crate) fn check_header(name: &[u8], value: &[u8]) -> Result<(), String> {
    let shown = String::from_utf8_lossy(name);
    if name.is_empty() {
        return Err("a header without a name".to_owned());
    }
    if value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
        return Err(format!("NUL, CR or LF in the value of header {shown:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_survives_the_wire() {
        let headers = Headers::from([("set-cookie", "a"), ("set-cookie", "b"), ("x-empty", "")]);
        assert_eq!(decode_pairs(&encode_pairs(&headers)).unwrap(), headers);
    }

    #[test]
    fn what_envoy_reads_as_an_empty_list_is_an_error() {
        let many = (0..1025).fold(Headers::new(), |map, index| map.with(&format!("x-{index}"), "1"));
        assert!(decode_pairs(&encode_pairs(&many)).unwrap_err().contains("1025 pairs"));
        assert!(decode_pairs(&[1, 0, 0, 0, 9]).is_err());
    }
}
