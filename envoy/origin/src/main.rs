//! A small HTTP/1.1 origin that shows what a cache does. It listens on 127.0.0.1 only.
//!
//! `selvage-demo-origin [--port N]`: port 0, the default, takes a free one. The address is the first line printed.
//! Every response says in `x-origin-count` how many requests have reached this process: a number that stands still
//! means that a cache answered. `/` lists the paths.

mod pages;
mod server;

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;

fn main() -> ExitCode {
    let port = match port(std::env::args().skip(1)) {
        Ok(port) => port,
        Err(message) => return refuse(&message),
    };
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(listener) => listener,
        Err(error) => {
            return refuse(&format!(
                "cannot listen on 127.0.0.1:{port}: {error}; choose another with --port"
            ));
        }
    };
    let Ok(address) = listener.local_addr() else { return refuse("the listener has no address") };
    // A reader that has gone away is no reason to stop serving.
    let _ = writeln!(std::io::stdout(), "origin http://{address}").and_then(|()| std::io::stdout().flush());
    match run(listener) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&format!("cannot serve: {error}")),
    }
}

/// Serves for ever, in this thread: the processor is for the cache in front.
fn run(listener: TcpListener) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        server::serve(tokio::net::TcpListener::from_std(listener)?).await;
        Ok(())
    })
}

/// The port asked for on the command line; 0 when none is.
fn port(mut arguments: impl Iterator<Item = String>) -> Result<u16, String> {
    match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (None, _, _) => Ok(0),
        (Some("--port"), Some(number), None) => {
            number.parse().map_err(|_| format!("--port takes a number from 0 to 65535, not '{number}'"))
        }
        _ => Err("usage: selvage-demo-origin [--port N]".to_owned()),
    }
}

fn refuse(message: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "origin: {message}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<u16, String> {
        port(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn the_port_is_free_to_choose_and_checked() {
        assert_eq!(parsed(&[]), Ok(0));
        assert_eq!(parsed(&["--port", "8080"]), Ok(8080));
        assert!(parsed(&["--port", "70000"]).is_err());
        assert!(parsed(&["--port"]).is_err());
        assert!(parsed(&["--help"]).is_err());
    }
}
