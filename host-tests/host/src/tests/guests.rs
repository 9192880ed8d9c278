//! The modules. Memory: "q" at 0, "hello" at 16, header pairs at 32, scratch words from 256, allocations from 4096.

/// Sends "hello" from each of those header callbacks and pauses; all else continues.
pub(super) fn replies_in(callbacks: &[&str]) -> String {
    let header_callback = |name: &&str| {
        let (act, action) = if callbacks.contains(name) { ("(call $reply)", 1) } else { ("", 0) };
        format!(r#"(func (export "{name}") (param i32 i32 i32) (result i32) {act} (i32.const {action}))"#)
    };
    let headers: String =
        ["proxy_on_request_headers", "proxy_on_response_headers"].iter().map(header_callback).collect();
    REPLIES.replace("HEADERS", &headers)
}

macro_rules! guest {
    ($imports:literal, $body:literal) => {
        concat!(
            "(module ",
            $imports,
            r#"
  (memory (export "memory") 2)
  (data (i32.const 0) "q")
  (data (i32.const 16) "hello")
  (data (i32.const 32) "\01\00\00\00\01\00\00\00\02\00\00\00x\00yz\00")
  (global $free (mut i32) (i32.const 4096))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get $size))))"#,
            $body,
            ")"
        )
    };
}

const REPLIES: &str = guest!(
    r#"(import "env" "proxy_send_local_response"
         (func $send (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))"#,
    r#"(func $reply
         (drop (call $send (i32.const 200) (i32.const 0) (i32.const 1) (i32.const 16) (i32.const 5)
           (i32.const 32) (i32.const 17) (i32.const -1))))
       (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) (i32.const 0))
       HEADERS"#
);

pub(super) const ADDS_A_HEADER: &str = guest!(
    r#"(import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))"#,
    r#"(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
         (call $add (i32.const 2) (i32.const 44) (i32.const 1) (i32.const 46) (i32.const 2)))"#
);

/// Registers queue "q"; a request notes its context, enqueues and pauses; the notification resumes it.
pub(super) const PAUSES_UNTIL_WOKEN: &str = guest!(
    r#"(import "env" "proxy_register_shared_queue" (func $register (param i32 i32 i32) (result i32)))
       (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
       (import "env" "proxy_dequeue_shared_queue" (func $dequeue (param i32 i32 i32) (result i32)))
       (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
       (import "env" "proxy_continue_stream" (func $resume (param i32) (result i32)))"#,
    r#"(global $waiter (mut i32) (i32.const 0))
       (func (export "proxy_on_configure") (param i32 i32) (result i32)
         (drop (call $register (i32.const 0) (i32.const 1) (i32.const 256))) (i32.const 1))
       (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
         (global.set $waiter (local.get $id))
         (drop (call $enqueue (i32.load (i32.const 256)) (i32.const 16) (i32.const 5))) (i32.const 1))
       (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (i32.const 0))
       (func (export "proxy_on_queue_ready") (param i32) (param $token i32)
         (drop (call $dequeue (local.get $token) (i32.const 260) (i32.const 264)))
         (if (global.get $waiter) (then
           (drop (call $effective (global.get $waiter)))
           (drop (call $resume (i32.const 0))))))"#
);

pub(super) const STORES_A_KEY: &str = guest!(
    r#"(import "env" "proxy_set_shared_data" (func $set (param i32 i32 i32 i32 i32) (result i32)))"#,
    r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
         (call $set (i32.const 0) (i32.const 1) (i32.const 16) (i32.const 5) (i32.const 0)))"#
);

pub(super) const REFUSES_ITS_CONFIGURATION: &str = guest!(
    r#"(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))"#,
    r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
         (call $log (i32.const 4) (i32.const 16) (i32.const 5)))"#
);

/// Calls cluster "q" and logs the answer's body.
pub(super) const CALLS_A_CLUSTER: &str = guest!(
    r#"(import "env" "proxy_http_call"
         (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
       (import "env" "proxy_get_buffer_bytes" (func $bytes (param i32 i32 i32 i32 i32) (result i32)))
       (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))"#,
    r#"(data (i32.const 512) "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\01\00\00\00\0a\00\00\00\01\00\00\00:method\00GET\00:path\00/\00:authority\00q\00")
       (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
         (call $call (i32.const 0) (i32.const 1) (i32.const 512) (i32.const 61) (i32.const 0) (i32.const 0)
           (i32.const 0) (i32.const 0) (i32.const 9) (i32.const 256)))
       (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
         (drop (call $bytes (i32.const 4) (i32.const 0) (i32.const 100) (i32.const 260) (i32.const 264)))
         (drop (call $log (i32.const 2) (i32.load (i32.const 260)) (i32.load (i32.const 264)))))"#
);

pub(super) const TRAPS: &str =
    guest!("", r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) unreachable)"#);

pub(super) const RESUMES_AND_PAUSES: &str = guest!(
    r#"(import "env" "proxy_continue_stream" (func $resume (param i32) (result i32)))"#,
    r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
         (drop (call $resume (i32.const 0))) (i32.const 1))"#
);

/// Pauses each body chunk but the last, and puts "hello" before the whole.
pub(super) const GATHERS_THE_BODY: &str = guest!(
    r#"(import "env" "proxy_set_buffer_bytes" (func $set (param i32 i32 i32 i32 i32) (result i32)))"#,
    r#"(func (export "proxy_on_response_body") (param i32 i32) (param $end i32) (result i32)
         (if (i32.eqz (local.get $end)) (then (return (i32.const 1))))
         (call $set (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 5)))"#
);

/// Counts requests in counter "q" and asks for request headers in the response phase.
pub(super) const COUNTS_AND_LOOKS_BACK: &str = guest!(
    r#"(import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
       (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
       (import "env" "proxy_get_header_map_pairs" (func $pairs (param i32 i32 i32) (result i32)))"#,
    r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
         (drop (call $define (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 256))) (i32.const 1))
       (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
         (call $increment (i32.load (i32.const 256)) (i64.const 1)))
       (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
         (drop (call $pairs (i32.const 0) (i32.const 260) (i32.const 264))) (i32.const 0))"#
);

/// Answers the same stream's id from a tick, dead or alive.
pub(super) const REMEMBERS_A_STREAM: &str = guest!(
    r#"(import "env" "proxy_set_tick_period_milliseconds" (func $period (param i32) (result i32)))
       (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
       (import "env" "proxy_continue_stream" (func $resume (param i32) (result i32)))"#,
    r#"(global $waiter (mut i32) (i32.const 0))
       (func (export "proxy_on_configure") (param i32 i32) (result i32)
         (drop (call $period (i32.const 100))) (i32.const 1))
       (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
         (global.set $waiter (local.get $id)) (i32.const 1))
       (func (export "proxy_on_tick") (param i32)
         (if (global.get $waiter) (then
           (drop (call $effective (global.get $waiter)))
           (drop (call $resume (i32.const 0))))))"#
);
