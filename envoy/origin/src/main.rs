//! A small HTTP/1.1 origin that shows what a cache does. It listens on 127.0.0.1 only.
//!
//! `selvage-demo-origin [--port N] [--page FILE [--page-port N]]`: port 0, the default, takes a free one. The address is
//! printed, and before it that of a second listener, if there is a page to serve there: the playground, a file that needs nothing else.
//! Every response says in `x-origin-count` how many requests have reached this process: a number that stands still
//! means that a cache answered. `/` lists the paths.

mod pages;
mod server;

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;

use hyper::body::Bytes;
use server::Served;

fn main() -> ExitCode {
    let told = match Arguments::parse(std::env::args().skip(1)) {
        Ok(told) => told,
        Err(message) => return refuse(&message),
    };
    let origin = match listen(told.port, "--port") {
        Ok(origin) => origin,
        Err(message) => return refuse(&message),
    };
    let page = match told.page.map(|file| page(&file, told.page_port)).transpose() {
        Ok(page) => page,
        Err(message) => return refuse(&message),
    };
    let mut lines = String::new();
    for (word, listener) in
        [("playground", page.as_ref().map(|(listener, _)| listener)), ("origin", Some(&origin))]
    {
        if let Some(Ok(address)) = listener.map(TcpListener::local_addr) {
            lines.push_str(&format!("{word} http://{address}{}\n", if word == "origin" { "" } else { "/" }));
        }
    }
    // A reader that has gone away is no reason to stop serving.
    let _ = std::io::stdout().write_all(lines.as_bytes()).and_then(|()| std::io::stdout().flush());
    match run(origin, page) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&format!("cannot serve: {error}")),
    }
}

/// Serves for ever, in this thread: the processor is for the cache in front.
fn run(origin: TcpListener, page: Option<(TcpListener, Bytes)>) -> std::io::Result<()> {
    let ready = |listener: TcpListener| {
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener)
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        if let Some((listener, content)) = page {
            tokio::spawn(server::serve(ready(listener)?, Served::Page(content)));
        }
        server::serve(ready(origin)?, Served::Origin(Arc::default())).await;
        Ok(())
    })
}

fn listen(port: u16, option: &str) -> Result<TcpListener, String> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .map_err(|error| format!("cannot listen on 127.0.0.1:{port}: {error}; choose another with {option}"))
}

/// A page of one file, and where it is served.
fn page(file: &str, port: u16) -> Result<(TcpListener, Bytes), String> {
    let content = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    Ok((listen(port, "--page-port")?, content.into()))
}

/// What the command line says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Arguments {
    port: u16,
    page: Option<String>,
    page_port: u16,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut told = Self::default();
        let number = |option: &str, number: String| {
            number.parse().map_err(|_| format!("{option} takes a number from 0 to 65535, not '{number}'"))
        };
        while let Some(option) = words.next() {
            let value = words.next().ok_or(USAGE)?;
            match option.as_str() {
                "--port" => told.port = number(&option, value)?,
                "--page-port" => told.page_port = number(&option, value)?,
                "--page" => told.page = Some(value),
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(told)
    }
}

const USAGE: &str = "usage: selvage-demo-origin [--port N] [--page FILE [--page-port N]]";

fn refuse(message: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "origin: {message}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Arguments, String> {
        Arguments::parse(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn the_ports_are_free_to_choose_and_checked() {
        assert_eq!(parsed(&[]), Ok(Arguments::default()));
        assert_eq!(parsed(&["--port", "8080"]).map(|told| told.port), Ok(8080));
        let page = Arguments { page: Some("a.html".into()), page_port: 8081, port: 0 };
        assert_eq!(parsed(&["--page", "a.html", "--page-port", "8081"]), Ok(page));
        for wrong in [&["--port", "70000"][..], &["--port"], &["--help"], &["--pages", "1"]] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }
}
