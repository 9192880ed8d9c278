//! The least that a wasm filter can do to answer a request: read its head, ask the time, reply. `envoy/bench`
//! measures it beside the cache, because nothing that answers from wasm can be cheaper.
//!
//! It exports the same callbacks as the cache, which Envoy calls for its reply too. What it can have ready it has made before.

use std::sync::OnceLock;

/// A reply of the size that the request's path names.
static CONTENT: [u8; 100_000] = [b'x'; 100_000];

/// A field block as proxy-wasm takes it, with as many fields as the cache's reply has in the bench.
const FIELDS: [(&str, &str); 6] = [
    ("cache-control", "public, max-age=86400"),
    ("etag", "\"bench\""),
    ("content-type", "text/plain"),
    ("date", "Sat, 21 Nov 2026 11:00:00 GMT"),
    ("age", "5"),
    ("cache-status", "Floor; hit; ttl=86395; detail=worker"),
];

/// They in a row, made at the start.
static BLOCK: OnceLock<Vec<u8>> = OnceLock::new();

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
}

unsafe extern "C" {
    fn __wasm_call_ctors();
}

/// Runs first.
#[unsafe(no_mangle)]
pub extern "C" fn _initialize() {
    // SAFETY: the linker makes it; the host calls this once.
    unsafe { __wasm_call_ctors() };
}

/// Names the ABI.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_abi_version_0_2_1() {}

/// Memory for the request's head.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    let Ok(layout) = std::alloc::Layout::array::<u8>(size.max(1)) else { return std::ptr::null_mut() };
    // SAFETY: the layout has at least one byte.
    unsafe { std::alloc::alloc(layout) }
}

/// Nothing to make.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_context_create(_context: u32, _parent: u32) {}

/// Always ready.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_vm_start(_root: u32, _size: usize) -> u32 {
    1
}

/// Makes the reply's fields.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_configure(_root: u32, _size: usize) -> u32 {
    BLOCK.get_or_init(block);
    1
}

/// Answers.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_headers(_context: u32, _count: u32, _end_of_stream: u32) -> u32 {
    let (mut data, mut size, mut time) = (std::ptr::null_mut(), 0usize, 0u64);
    // SAFETY: the host writes to the places during the calls, and filled memory that we gave it.
    let head = unsafe {
        proxy_get_header_map_pairs(0, &raw mut data, &raw mut size);
        proxy_get_current_time_nanoseconds(&raw mut time);
        if data.is_null() { Vec::new() } else { Vec::from_raw_parts(data, size, size.max(1)) }
    };
    let content = CONTENT.get(..asked(&head)).unwrap_or_default();
    let block = BLOCK.get_or_init(block);
    let details = "floor";
    // SAFETY: the host reads everything during the call.
    unsafe {
        proxy_send_local_response(
            200,
            details.as_ptr(),
            details.len(),
            content.as_ptr(),
            content.len(),
            block.as_ptr(),
            block.len(),
            -1,
        )
    };
    1
}

/// Our own reply passes.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_headers(_context: u32, _count: u32, _end_of_stream: u32) -> u32 {
    0
}

/// Our own reply passes.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_body(_context: u32, _size: usize, _end_of_stream: u32) -> u32 {
    0
}

/// Nothing to forget.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_delete(_context: u32) {}

fn block() -> Vec<u8> {
    let mut block = (FIELDS.len() as u32).to_le_bytes().to_vec();
    for (name, value) in FIELDS {
        block.extend_from_slice(&(name.len() as u32).to_le_bytes());
        block.extend_from_slice(&(value.len() as u32).to_le_bytes());
    }
    for text in FIELDS.iter().flat_map(|(name, value)| [name, value]) {
        block.extend_from_slice(text.as_bytes());
        block.push(0);
    }
    block
}

/// How many bytes the request asks for: as the sizes of all names and values stand before them, it takes no search. The path's
/// length tells, since the bench asks for `/1000`, `/10000` and `/100000`.
fn asked(head: &[u8]) -> usize {
    let word = |at: usize| {
        head.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_le_bytes) as usize
    };
    let count = word(0);
    let mut at = 4 + 8 * count;
    for field in 0..count {
        let (name, value) = (word(4 + 8 * field), word(8 + 8 * field));
        if name == 5 && head.get(at..at + 5) == Some(b":path") {
            return match value {
                7 => 100_000,
                6 => 10_000,
                _ => 1000,
            };
        }
        at += name + value + 2;
    }
    1000
}
