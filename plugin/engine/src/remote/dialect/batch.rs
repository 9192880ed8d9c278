//! Several commands as one call: lookups, with claims or without, or writes.
//!
//! webdis runs a script for them: it leaves out of an array what is nil and counts it all the same, so the values of an `MGET`
//! could not be told apart. The scripts answer with one string for each key: what a lookup found, nothing if it found nothing,
//! `+` for what is done, and `-` with the error's text. Their keys lie in one slot only by chance, so a Redis Cluster refuses
//! them; then every command goes alone.

use super::{Answer, Command, DialectError, Kind};
use crate::limits::lease::Script;

/// What is looked up: for each key a claim and its milliseconds, or `-` and 0.
pub(super) const LOOK_UP: Script = Script {
    text: "local o={} \
    for i,k in ipairs(KEYS) do \
    local c,r=ARGV[2*i-1] \
    if c=='-' then r=redis.pcall('GET',k) else r=redis.pcall('SET',k,c,'NX','GET','PX',ARGV[2*i]) end \
    if type(r)=='table' then r='-'..(r.err or '') end \
    o[i]=r or '' \
    end return o",
    digest: "3cee3f05501f43e14c553f00e28ddb4de738b6c4",
};

/// What is written: for each key the seconds to keep it (0 deletes it) and the length of its value; then all values in
/// a row behind one byte, since an argument must not be empty.
pub(super) const WRITE: Script = Script {
    text: "local o,p,b={},2,ARGV[#ARGV] \
    for i,k in ipairs(KEYS) do \
    local t,n,r=ARGV[2*i-1],tonumber(ARGV[2*i]) \
    if t=='0' then r=redis.pcall('DEL',k) else r=redis.pcall('SETEX',k,t,string.sub(b,p,p+n-1)) p=p+n end \
    o[i]=type(r)=='table' and r.err and '-'..r.err or '+' \
    end return o",
    digest: "5d037b41864646fd0e0639727e89150f3eb6d1cd",
};

impl DialectError {
    /// Whether this, as the answer to several commands in one call, may mean that they can only be sent one by one: the keys
    /// are in several slots, the user may not run scripts, the bridge knows no pipeline.
    pub fn refuses_batches(&self) -> bool {
        match self {
            Self::RedisError(text) => text.starts_with("CROSSSLOT") || text.starts_with("ERR"),
            Self::Unauthorized => true,
            Self::Status(status) => matches!(status, 400 | 404 | 405 | 501),
            _ => false,
        }
    }

    /// Whether Redis has forgotten a script that it knew.
    pub fn is_forgotten_script(&self) -> bool {
        matches!(self, Self::RedisError(text) if text.starts_with("NOSCRIPT"))
    }
}

/// The begin of such a path: the command, and the script by its text or its digest.
pub(super) fn script_words(script: &Script, is_known: bool) -> String {
    let mut path = String::from(if is_known { "/EVALSHA/" } else { "/EVAL/" });
    escape(if is_known { script.digest } else { script.text }, &mut path);
    path
}

/// Writes a word of a path with all that is no letter or digit escaped.
pub(super) fn escape(word: &str, path: &mut String) {
    for byte in word.bytes() {
        if byte.is_ascii_alphanumeric() {
            path.push(char::from(byte));
        } else {
            path.push('%');
            for digit in [byte >> 4, byte & 15] {
                path.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
        }
    }
}

/// The path of a call that runs a script, by its text or its digest, and answers as bytes.
#[inline(never)]
pub(super) fn script_path(script: &Script, is_known: bool, commands: &[Command<'_>]) -> String {
    let mut path = script_words(script, is_known);
    let mut digits = itoa::Buffer::new();
    let mut add = |word: &str| {
        path.push('/');
        path.push_str(word);
    };
    add(digits.format(commands.len()));
    commands.iter().for_each(|command| add(key(command)));
    for command in commands {
        let second = match command {
            Command::Claim { claim, millis, .. } => {
                add(claim);
                (*millis).max(1)
            }
            Command::Set { value, ttl_seconds, .. } => {
                add(digits.format((*ttl_seconds).max(1)));
                value.len() as u64
            }
            Command::Delete { .. } => {
                add("0");
                0
            }
            _ => {
                add("-");
                0
            }
        };
        add(digits.format(second));
    }
    path.push_str(".raw");
    path
}

/// The values of what is written, in a row behind one byte.
pub(super) fn packed(commands: &[Command<'_>]) -> Vec<u8> {
    let mut body = vec![b'.'];
    for command in commands {
        if let Command::Set { value, .. } = command {
            body.extend_from_slice(value);
        }
    }
    body
}

/// The key that a command is about; a probe has none.
pub(super) const fn key<'a>(command: &Command<'a>) -> &'a str {
    match command {
        Command::Get { key }
        | Command::Set { key, .. }
        | Command::Claim { key, .. }
        | Command::Delete { key }
        | Command::Lease { key, .. }
        | Command::Add { key, .. } => key,
        Command::Probe => "",
    }
}

/// The answers in an array of Redis' own form, one for each command.
#[inline(never)]
pub(super) fn answers(
    kinds: &[Kind],
    body: &[u8],
    max_bytes: usize,
) -> Result<Vec<Result<Answer, DialectError>>, DialectError> {
    if let Some(text) = super::webdis::error_text(body) {
        return Err(DialectError::of_redis(text.trim_end()));
    }
    let mut elements = Elements::read(body, kinds.len()).ok_or(DialectError::Malformed)?;
    let told = kinds
        .iter()
        .map(|kind| Some(answer(*kind, elements.next()?, max_bytes)))
        .collect::<Option<Vec<_>>>()
        .ok_or(DialectError::Malformed)?;
    if elements.rest.is_empty() { Ok(told) } else { Err(DialectError::Malformed) }
}

fn answer(kind: Kind, element: &[u8], max_bytes: usize) -> Result<Answer, DialectError> {
    if let Some(text) = super::webdis::error_text(element) {
        return Err(DialectError::of_redis(text));
    }
    match (kind, element) {
        (Kind::Get | Kind::Claim, b"") => Ok(Answer::Absent),
        (Kind::Get | Kind::Claim, value) if value.len() > max_bytes => Err(DialectError::TooLarge),
        (Kind::Get | Kind::Claim, value) => Ok(Answer::Value(value.to_vec())),
        (Kind::Set | Kind::Delete, b"+") => Ok(Answer::Done),
        _ => Err(DialectError::Malformed),
    }
}

/// The strings of an array.
struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    /// Reads the head of an array of so many strings.
    fn read(bytes: &'a [u8], count: usize) -> Option<Self> {
        let mut elements = Self { rest: bytes };
        (elements.number(b'*')? == count).then_some(elements)
    }

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = self.number(b'$')?;
        let (element, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest.strip_prefix(b"\r\n")?;
        Some(element)
    }

    /// A line of this kind: a number of at most nine digits.
    fn number(&mut self, kind: u8) -> Option<usize> {
        let (first, rest) = self.rest.split_first()?;
        let end = rest.iter().take(10).position(|byte| *byte == b'\r')?;
        let (digits, rest) = rest.split_at_checked(end)?;
        self.rest = rest.strip_prefix(b"\r\n")?;
        let well_formed = *first == kind && !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        well_formed.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: [Kind; 2] = [Kind::Get, Kind::Claim];

    fn value(bytes: &[u8]) -> Result<Answer, DialectError> {
        Ok(Answer::Value(bytes.to_vec()))
    }

    #[test]
    fn each_command_has_its_own_answer_whatever_bytes_it_is() {
        let told = answers(&TWO, b"*2\r\n$7\r\n\r\n$0\r\n\xff\r\n$0\r\n\r\n", 10);
        assert_eq!(told, Ok(vec![value(b"\r\n$0\r\n\xff"), Ok(Answer::Absent)]));
        let told = answers(&TWO, b"*2\r\n$11\r\nelevenbytes\r\n$6\r\n-ERR x\r\n", 10);
        let error = DialectError::RedisError("ERR x".to_owned());
        assert_eq!(told, Ok(vec![Err(DialectError::TooLarge), Err(error)]));
        let told = answers(&[Kind::Set, Kind::Delete], b"*2\r\n$1\r\n+\r\n$4\r\n-OOM\r\n", 10);
        assert_eq!(told, Ok(vec![Ok(Answer::Done), Err(DialectError::RedisError("OOM".to_owned()))]));
    }

    #[test]
    fn what_is_no_array_of_as_many_strings_answers_nothing() {
        for body in [
            &b""[..],
            b"*",
            b"*2\r\n",
            b"*1\r\n$1\r\na\r\n",
            b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n",
            b"*2\r\n$1\r\na\r\n$1\r\nb\r\nmore",
            b"*2\r\n$1\r\na\r\n$9\r\nb\r\n",
            b"*2\r\n$1\r\na\r\n$-1\r\n",
            b"*2\r\n$1\r\na\r\n:1\r\n",
            b"*2\r\n$1\r\na\r\n$99999999999999999999\r\nb\r\n",
            b"*+2\r\n$1\r\na\r\n$1\r\nb\r\n",
            b"*2\n$1\na\n$1\nb\n",
            b"SLVG",
        ] {
            assert_eq!(answers(&TWO, body, 10), Err(DialectError::Malformed), "{body:?}");
        }
        let odd = answers(&[Kind::Set], b"*1\r\n$2\r\nOK\r\n", 10);
        assert_eq!(odd, Ok(vec![Err(DialectError::Malformed)]));
    }

    #[test]
    fn what_cannot_run_together_is_told_from_what_fails() {
        let of = |body: &[u8]| answers(&TWO, body, 10).unwrap_err();
        let refused = of(b"-CROSSSLOT Keys in request don't hash to the same slot\r\n");
        assert!(refused.refuses_batches());
        assert!(of(b"-NOPERM this user has no permissions to run the 'eval' command\r\n").refuses_batches());
        assert!(of(b"-ERR unknown command 'EVAL'\r\n").refuses_batches());
        assert!(DialectError::Status(404).refuses_batches());
        for error in [of(b"-LOADING Redis is loading the dataset in memory\r\n"), of(b"*1\r\n$1\r\na\r\n")] {
            assert!(!error.refuses_batches(), "{error:?}");
        }
        assert!(!DialectError::Timeout.refuses_batches());
        // Redis' words for a user who may run scripts and not what is in them.
        let inner =
            b"*1\r\n$71\r\n-ERR The user executing the script can't run this command or subcommand\r\n";
        assert_eq!(answers(&[Kind::Claim], inner, 10), Ok(vec![Err(DialectError::Unauthorized)]));
    }

    #[test]
    fn scripts_are_known_by_their_digests() {
        use sha1::{Digest, Sha1};
        for script in [LOOK_UP, WRITE] {
            let digest: String = Sha1::digest(script.text).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(digest, script.digest);
        }
    }

    #[test]
    fn a_path_has_the_keys_and_then_what_is_to_be_done_with_each() {
        let claim = Command::Claim { key: "p:b", claim: "claim:7", millis: 500 };
        let script = Script { text: "a b.c", digest: "0f" };
        let path = script_path(&script, false, &[Command::Get { key: "p:a" }, claim]);
        assert_eq!(path, "/EVAL/a%20b%2ec/2/p:a/p:b/-/0/claim:7/500.raw");
        let set = Command::Set { key: "p:a", value: b"xyz", ttl_seconds: 0 };
        let commands = [set, Command::Delete { key: "p:b" }];
        assert_eq!(script_path(&script, true, &commands), "/EVALSHA/0f/2/p:a/p:b/1/3/0/0.raw");
        assert_eq!(packed(&commands), b".xyz");
    }
}
