//! A small filter built with the proxy-wasm SDK. The host of the tests was written by who wrote the filter, by one reading of
//! the ABI; the SDK follows another. What this guest does uses what the filter uses: configuration, maps, bodies, local
//! responses, calls, shared data, queues, ticks, metrics, properties, logs.

#![allow(missing_docs, reason = "the SDK's macro exports a function without any")]

use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, MetricType, Status};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

#[derive(Default)]
struct Root {
    greeting: String,
    queue: u32,
    ticks: u32,
    heard: u32,
}

struct Stream {
    greeting: String,
    queue: u32,
    calls: bool,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let written = self.get_plugin_configuration().unwrap_or_default();
        self.greeting = String::from_utf8_lossy(&written).into_owned();
        if self.greeting.is_empty() {
            log::error!("a greeting is wanted");
            return false;
        }
        self.queue = self.register_shared_queue("guest");
        self.ticks = hostcalls::define_metric(MetricType::Counter, "guest.ticks").unwrap_or_default();
        self.heard = hostcalls::define_metric(MetricType::Gauge, "guest.heard").unwrap_or_default();
        self.set_tick_period(Duration::from_millis(100));
        true
    }

    fn on_tick(&mut self) {
        let _ = hostcalls::increment_metric(self.ticks, 1);
    }

    fn on_queue_ready(&mut self, queue: u32) {
        while let Ok(Some(said)) = self.dequeue_shared_queue(queue) {
            let _ = hostcalls::record_metric(self.heard, said.len() as u64);
            log::info!("heard {}", String::from_utf8_lossy(&said));
        }
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { greeting: self.greeting.clone(), queue: self.queue, calls: false }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Stream {
    /// Counts in shared data, whoever else does at the same time.
    fn count(&self) -> u64 {
        loop {
            let (bytes, cas) = self.get_shared_data("guest.count");
            let known = bytes.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
            let next = known.saturating_add(1);
            match self.set_shared_data("guest.count", Some(&next.to_le_bytes()), cas) {
                Err(Status::CasMismatch) => {}
                _ => return next,
            }
        }
    }

    fn answer(&self, body: &str) -> Action {
        self.send_http_response(200, vec![("x-guest", &self.greeting)], Some(body.as_bytes()));
        Action::Pause
    }
}

impl Context for Stream {
    fn on_http_call_response(&mut self, _token: u32, _headers: usize, body_size: usize, _trailers: usize) {
        let status = self.get_http_call_response_header(":status").unwrap_or_default();
        let body = self.get_http_call_response_body(0, body_size).unwrap_or_default();
        self.set_http_request_header(
            "x-called",
            Some(&format!("{status} {}", String::from_utf8_lossy(&body))),
        );
        self.resume_http_request();
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        match self.get_http_request_header(":path").unwrap_or_default().as_str() {
            "/hello" => self.answer("hello"),
            "/count" => self.answer(&self.count().to_string()),
            "/say" => {
                let _ = self.enqueue_shared_queue(self.queue, Some(b"said"));
                self.answer("")
            }
            "/worker" => {
                let name = self.get_property(vec!["plugin_root_id"]);
                self.answer(&format!("{:?}", name.map(|name| String::from_utf8_lossy(&name).into_owned())))
            }
            "/call" => {
                let head = vec![(":method", "GET"), (":path", "/asked"), (":authority", "guest")];
                let sent = self.dispatch_http_call("known", head, None, vec![], Duration::from_secs(1));
                self.calls = sent.is_ok();
                if self.calls { Action::Pause } else { self.answer("not sent") }
            }
            _ => {
                self.add_http_request_header("x-guest", "one");
                self.add_http_request_header("x-guest", "two");
                Action::Continue
            }
        }
    }

    fn on_http_response_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        self.set_http_response_header("content-length", None);
        self.set_http_response_header("x-fields", Some(&self.get_http_response_headers().len().to_string()));
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if !end_of_stream {
            return Action::Pause;
        }
        let body = self.get_http_response_body(0, size).unwrap_or_default();
        self.set_http_response_body(0, size, &body.to_ascii_uppercase());
        Action::Continue
    }

    fn on_log(&mut self) {
        log::info!("the end of a stream");
    }
}
