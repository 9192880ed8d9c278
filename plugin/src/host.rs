//! The host calls of proxy-wasm ABI 0.2.1, each wrapped once. No other file names one.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use selvage_driver::{Buffer, Calls, Level, Map, Metric, NotCalled};
use selvage_engine::host::CasMismatch;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, message: *const u8, size: usize) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_buffer_bytes(
        kind: u32,
        start: usize,
        max: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_set_buffer_bytes(kind: u32, start: usize, size: usize, data: *const u8, length: usize) -> u32;
    fn proxy_set_header_map_pairs(map: u32, data: *const u8, size: usize) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_add_header_map_value(
        map: u32,
        key: *const u8,
        key_size: usize,
        value: *const u8,
        size: usize,
    ) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        key: *const u8,
        key_size: usize,
        value: *const u8,
        size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, key: *const u8, key_size: usize) -> u32;
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
    fn proxy_continue_stream(kind: u32) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_get_property(path: *const u8, path_size: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
        cas: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(key: *const u8, key_size: usize, value: *const u8, size: usize, cas: u32)
    -> u32;
    fn proxy_register_shared_queue(name: *const u8, size: usize, token: *mut u32) -> u32;
    fn proxy_enqueue_shared_queue(token: u32, value: *const u8, size: usize) -> u32;
    fn proxy_dequeue_shared_queue(token: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_http_call(
        cluster: *const u8,
        cluster_size: usize,
        headers: *const u8,
        headers_size: usize,
        body: *const u8,
        body_size: usize,
        trailers: *const u8,
        trailers_size: usize,
        timeout: u32,
        token: *mut u32,
    ) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, by: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
    fn proxy_get_metric(id: u32, value: *mut u64) -> u32;
}

/// Memory that the host fills and [`adopt`] takes over. Null if there is none.
pub fn allocate(size: usize) -> *mut u8 {
    let Ok(layout) = std::alloc::Layout::array::<u8>(size.max(1)) else { return std::ptr::null_mut() };
    // SAFETY: the layout has at least one byte.
    unsafe { std::alloc::alloc(layout) }
}

/// Makes a vector of memory that [`allocate`] gave to the host.
fn adopt(data: *mut u8, size: usize) -> Option<Vec<u8>> {
    if data.is_null() {
        return None;
    }
    // SAFETY: the host got `data` from `allocate(size)` in this very call and has filled it.
    Some(unsafe { Vec::from_raw_parts(data, size, size.max(1)) })
}

/// Runs a call that gives bytes. `None` if the host refuses, or has nothing.
fn bytes(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Option<Vec<u8>> {
    let (mut data, mut size) = (std::ptr::null_mut(), 0);
    (call(&raw mut data, &raw mut size) == OK).then(|| adopt(data, size))?
}

/// The host of a real Envoy.
pub struct Real;

impl Calls for Real {
    fn log(level: Level, message: &str) {
        // SAFETY: the host reads `message` during the call.
        unsafe { proxy_log(level as u32, message.as_ptr(), message.len()) };
    }

    fn random() -> u64 {
        RandomState::new().build_hasher().finish()
    }

    fn nanoseconds() -> u64 {
        let mut nanoseconds = 0;
        // SAFETY: the host writes to `nanoseconds` during the call.
        unsafe { proxy_get_current_time_nanoseconds(&raw mut nanoseconds) };
        nanoseconds
    }

    fn memory_bytes() -> usize {
        #[cfg(target_arch = "wasm32")]
        let pages = core::arch::wasm32::memory_size::<0>();
        #[cfg(not(target_arch = "wasm32"))]
        let pages = 0_usize;
        pages.saturating_mul(65_536)
    }

    fn set_tick_period(milliseconds: u32) {
        // SAFETY: no memory is passed.
        unsafe { proxy_set_tick_period_milliseconds(milliseconds) };
    }

    fn buffer(kind: Buffer, start: usize, size: usize) -> Option<Vec<u8>> {
        // SAFETY: the host writes to the two places during the call.
        bytes(|data, length| unsafe { proxy_get_buffer_bytes(kind as u32, start, size, data, length) })
    }

    fn set_buffer(kind: Buffer, size: usize, bytes: &[u8]) -> bool {
        // SAFETY: the host reads the bytes during the call.
        unsafe { proxy_set_buffer_bytes(kind as u32, 0, size, bytes.as_ptr(), bytes.len()) == OK }
    }

    fn set_header_pairs(map: Map, block: &[u8]) {
        // SAFETY: the host reads the block during the call.
        unsafe { proxy_set_header_map_pairs(map as u32, block.as_ptr(), block.len()) };
    }

    fn header_pairs(map: Map) -> Option<Vec<u8>> {
        // SAFETY: the host writes to the two places during the call.
        bytes(|data, size| unsafe { proxy_get_header_map_pairs(map as u32, data, size) })
    }

    fn header(map: Map, name: &str) -> Option<Vec<u8>> {
        // SAFETY: the host reads the name, and writes to the two places, during the call.
        bytes(|data, size| unsafe {
            proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), data, size)
        })
    }

    fn add_header(map: Map, name: &str, value: &[u8]) {
        // SAFETY: the host reads both during the call.
        unsafe {
            proxy_add_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
        };
    }

    fn set_header(map: Map, name: &str, value: &[u8]) {
        // SAFETY: the host reads both during the call.
        unsafe {
            proxy_replace_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
        };
    }

    fn remove_header(map: Map, name: &str) {
        // SAFETY: the host reads the name during the call.
        unsafe { proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) };
    }

    fn reply(status: u16, details: &str, fields: &[u8], body: &[u8]) {
        const NOT_GRPC: i32 = -1;
        // SAFETY: the host reads everything during the call.
        unsafe {
            proxy_send_local_response(
                u32::from(status),
                details.as_ptr(),
                details.len(),
                body.as_ptr(),
                body.len(),
                fields.as_ptr(),
                fields.len(),
                NOT_GRPC,
            )
        };
    }

    fn act_for(context: u32) -> bool {
        // SAFETY: no memory is passed.
        unsafe { proxy_set_effective_context(context) == OK }
    }

    fn resume_request() {
        const REQUEST: u32 = 0;
        // SAFETY: no memory is passed.
        unsafe { proxy_continue_stream(REQUEST) };
    }

    fn resume_response() {
        const RESPONSE: u32 = 1;
        // SAFETY: no memory is passed.
        unsafe { proxy_continue_stream(RESPONSE) };
    }

    fn http_call(cluster: &str, headers: &[u8], body: &[u8], timeout: Duration) -> Result<u32, NotCalled> {
        let mut token = 0;
        // 0 would mean no limit.
        let timeout = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1);
        // SAFETY: the host reads everything and writes to `token` during the call.
        let status = unsafe {
            proxy_http_call(
                cluster.as_ptr(),
                cluster.len(),
                headers.as_ptr(),
                headers.len(),
                body.as_ptr(),
                body.len(),
                std::ptr::null(),
                0,
                timeout,
                &raw mut token,
            )
        };
        match status {
            OK => Ok(token),
            BAD_ARGUMENT => Err(NotCalled::UnknownCluster),
            _ => Err(NotCalled::Unreachable),
        }
    }

    fn property(path: &str) -> Option<Vec<u8>> {
        // SAFETY: the host reads `path` and writes to the two places during the call.
        bytes(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) })
    }

    fn shared_data(key: &str) -> Option<(Vec<u8>, u32)> {
        let mut cas = 0;
        let (mut data, mut size) = (std::ptr::null_mut(), 0);
        // SAFETY: the host reads `key` and writes to the three places during the call.
        let status = unsafe {
            proxy_get_shared_data(key.as_ptr(), key.len(), &raw mut data, &raw mut size, &raw mut cas)
        };
        // An emptied value comes without memory.
        (status == OK).then(|| (adopt(data, size).unwrap_or_default(), cas))
    }

    fn set_shared_data(key: &str, value: &[u8], cas: u32) -> Result<(), CasMismatch> {
        // SAFETY: the host reads both during the call.
        let status =
            unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) };
        if status == OK { Ok(()) } else { Err(CasMismatch) }
    }

    fn register_queue(name: &str) -> Option<u32> {
        let mut token = 0;
        // SAFETY: the host reads `name` and writes to `token` during the call.
        (unsafe { proxy_register_shared_queue(name.as_ptr(), name.len(), &raw mut token) } == OK)
            .then_some(token)
    }

    fn ring(token: u32) {
        // SAFETY: the host reads the byte during the call.
        unsafe { proxy_enqueue_shared_queue(token, b"!".as_ptr(), 1) };
    }

    fn answer(token: u32) -> bool {
        // SAFETY: the host writes to the two places during the call.
        bytes(|data, size| unsafe { proxy_dequeue_shared_queue(token, data, size) }).is_some()
    }

    fn define_metric(kind: Metric, name: &str) -> Option<u32> {
        let mut id = 0;
        // SAFETY: the host reads `name` and writes to `id` during the call.
        (unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &raw mut id) } == OK)
            .then_some(id)
    }

    fn increment(id: u32, by: i64) {
        // SAFETY: no memory is passed.
        unsafe { proxy_increment_metric(id, by) };
    }

    fn record(id: u32, value: u64) {
        // SAFETY: no memory is passed.
        unsafe { proxy_record_metric(id, value) };
    }

    fn metric(id: u32) -> Option<u64> {
        let mut value = 0;
        // SAFETY: the host writes to `value` during the call.
        (unsafe { proxy_get_metric(id, &raw mut value) } == OK).then_some(value)
    }
}

const OK: u32 = 0;
const BAD_ARGUMENT: u32 = 2;
