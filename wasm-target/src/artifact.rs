use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Why there is no module to load.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The build script could not be started.
    #[error("cannot start {script}: {reason}")]
    NotStarted {
        /// The script.
        script: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// The build script ran and failed.
    #[error("wasm-target/build failed:\n{message}")]
    Failed {
        /// What the script wrote on its standard error.
        message: String,
    },
    /// The build script succeeded without naming a file that exists.
    #[error("wasm-target/build printed '{printed}', which is no file")]
    NoFile {
        /// The script's last line.
        printed: String,
    },
}

/// Builds the filter with `wasm-target/build`, once per process, and returns the path of `target/selvage.wasm`; or the path in
/// `SELVAGE_WASM`, if that is set, and builds nothing.
///
/// # Errors
/// The build failed, or could not be started. Every later call in the same process gives the same answer.
pub fn artifact() -> Result<PathBuf, Error> {
    static BUILT: OnceLock<Result<PathBuf, Error>> = OnceLock::new();
    BUILT
        .get_or_init(|| match std::env::var_os("SELVAGE_WASM") {
            Some(path) => Ok(PathBuf::from(path)),
            None => build(&script(), &[]),
        })
        .clone()
}

/// Builds the guest of the tests' own host, which uses the proxy-wasm SDK, and returns the path of `target/guest.wasm`.
///
/// # Errors
/// As [`artifact()`].
pub fn guest() -> Result<PathBuf, Error> {
    static BUILT: OnceLock<Result<PathBuf, Error>> = OnceLock::new();
    BUILT.get_or_init(|| build(&script(), &["--guest"])).clone()
}

/// Builds the playground and returns the path of `target/playground.html`.
///
/// # Errors
/// As [`artifact()`].
pub fn playground() -> Result<PathBuf, Error> {
    static BUILT: OnceLock<Result<PathBuf, Error>> = OnceLock::new();
    BUILT.get_or_init(|| build(&script(), &["--playground"])).clone()
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("build")
}

/// Runs a build script and takes the path from the last line of its output.
fn build(script: &Path, arguments: &[&str]) -> Result<PathBuf, Error> {
    let output = Command::new(script)
        .args(arguments)
        // Set by `cargo test` for the running test; the script's own cargo may be another version.
        .env_remove("LD_LIBRARY_PATH")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::NotStarted { script: script.to_path_buf(), reason: error.to_string() })?;
    if !output.status.success() {
        return Err(Error::Failed { message: String::from_utf8_lossy(&output.stderr).trim_end().to_owned() });
    }
    let printed = String::from_utf8_lossy(&output.stdout);
    let last = printed.trim_end().lines().next_back().unwrap_or_default();
    let path = PathBuf::from(last);
    if path.is_file() { Ok(path) } else { Err(Error::NoFile { printed: last.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_fails_is_reported_with_its_words() {
        let error = build(Path::new("/bin/false"), &[]).unwrap_err();
        assert_eq!(error, Error::Failed { message: String::new() });
    }

    #[test]
    fn a_script_that_names_no_file_is_an_error() {
        assert_eq!(build(Path::new("/bin/true"), &[]), Err(Error::NoFile { printed: String::new() }));
    }

    #[test]
    fn a_script_that_is_not_there_is_an_error() {
        assert!(matches!(build(Path::new("/no/such/script"), &[]), Err(Error::NotStarted { .. })));
    }
}
