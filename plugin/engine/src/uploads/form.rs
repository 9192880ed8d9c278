//! The parts of `multipart/form-data` (RFC 7578), read as they come.
//!
//! Readers of forms differ in what they forgive: a line that ends with LF alone, a boundary that is longer than it should be, a
//! field of a part twice. Where one would see a file that another does not, the form is refused, so what is let through is
//! read alike by all. Memory is bounded: the head of a part, or its first bytes.

use super::media::{Media, begins_with, is_token, split};
use super::{Objection, judge, kinds, takes};
use crate::config::Upload;

/// A form of which some has been read.
pub(super) struct Form {
    /// `--` and the boundary.
    delimiter: Vec<u8>,
    state: State,
    line: Line,
    /// So much of the delimiter stands at the beginning of this line.
    matched: usize,
    /// Not all readers see that a line begins there.
    is_doubtful: bool,
    /// The type that the file at hand is said to have.
    stated: Option<Box<[u8]>>,
    /// The head of a part, or what a file begins with.
    kept: Vec<u8>,
    /// Bytes read so far, as far as they matter.
    read: usize,
    has_file: bool,
}

#[derive(Clone, Copy)]
enum State {
    /// Before the first delimiter.
    Preamble,
    /// Behind a delimiter: so much of `CR LF`.
    Behind(u8),
    /// Behind a delimiter and a dash.
    Closing,
    /// In the head of a part.
    Head,
    /// In the content of a part of which nothing is to be seen.
    Content,
    /// In the content of a part that may have none.
    Empty,
    /// At the beginning of a file: so many bytes of it decide.
    File(usize),
    /// Behind the last delimiter.
    Epilogue,
}

/// How what is before the next byte ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// In the midst of a line.
    Within,
    /// With CR LF, or it is the beginning of the body.
    Begun,
    /// With CR.
    Return,
    /// With LF alone, or with the end of a head.
    Doubtful,
}

impl Form {
    pub fn new(boundary: &[u8]) -> Self {
        Self {
            delimiter: [b"--", boundary].concat(),
            state: State::Preamble,
            line: Line::Begun,
            matched: 0,
            is_doubtful: false,
            stated: None,
            kept: Vec::new(),
            read: 0,
            has_file: false,
        }
    }

    pub fn kept_bytes(&self) -> usize {
        self.kept.capacity().saturating_add(self.delimiter.capacity())
    }

    /// Whether what has come has to wait for more: a file has begun, or its head, or nothing is known of any file yet.
    pub fn is_open(&self) -> bool {
        match self.state {
            State::Head | State::File(_) | State::Empty => true,
            State::Epilogue => false,
            _ => !self.has_file && self.read < LATEST_FILE,
        }
    }

    /// So many of the last bytes that were read have to wait, where it is open: the head of a part, what a file begins with, or all.
    pub fn open_bytes(&self) -> usize {
        match self.state {
            State::Head | State::File(_) | State::Empty => self.kept.len(),
            _ => self.read,
        }
    }

    /// Whether no more is waited for before the head of the request goes on.
    pub fn is_past_beginning(&self) -> bool {
        self.read >= LATEST_FILE
    }

    /// Reads on.
    pub fn read(&mut self, chunk: &[u8], is_last: bool, upload: &Upload) -> Result<(), Objection> {
        self.read = self.read.saturating_add(chunk.len());
        let mut rest = chunk;
        while let Some((byte, after)) = rest.split_first() {
            // Most of a file is passed over.
            if matches!(self.state, State::Content | State::Epilogue | State::Preamble)
                && self.line == Line::Within
                && self.matched == 0
                && !matches!(byte, b'\r' | b'\n')
            {
                let length =
                    after.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(after.len());
                rest = after.get(length..).unwrap_or_default();
                continue;
            }
            self.step(*byte, upload)?;
            rest = after;
        }
        if matches!(self.state, State::Preamble) && self.read > LATEST_FILE {
            return Err(Objection::Form);
        }
        if is_last { self.end() } else { Ok(()) }
    }

    fn step(&mut self, byte: u8, upload: &Upload) -> Result<(), Objection> {
        match self.state {
            State::Behind(seen) => {
                self.state = match (seen, byte) {
                    (0, b'\r') => State::Behind(1),
                    (0, b'-') => State::Closing,
                    (1, b'\n') => State::Head,
                    // White space, or a longer line that some would take for a delimiter.
                    _ => return Err(Objection::Form),
                };
                return Ok(());
            }
            State::Closing => {
                self.state = if byte == b'-' { State::Epilogue } else { return Err(Objection::Form) };
                self.line = Line::Within;
                return Ok(());
            }
            State::Head => return self.in_head(byte, upload),
            State::File(_) | State::Empty => self.kept.push(byte),
            State::Preamble | State::Content | State::Epilogue => {}
        }
        if self.is_delimiter(byte)? {
            return self.at_delimiter(upload);
        }
        match self.state {
            State::File(wanted) => {
                // What could be the next delimiter is none of the content.
                if self.kept.len() >= wanted + self.delimiter.len() + 2 {
                    self.kept.truncate(wanted);
                    return self.judge(upload);
                }
                Ok(())
            }
            State::Empty if self.kept.len() > self.delimiter.len() + 2 => Err(Objection::Type),
            _ => Ok(()),
        }
    }

    /// Whether a delimiter ends with this byte.
    fn is_delimiter(&mut self, byte: u8) -> Result<bool, Objection> {
        let begins = self.matched == 0 && self.line != Line::Within;
        if (begins || self.matched > 0) && self.delimiter.get(self.matched) == Some(&byte) {
            if begins {
                self.is_doubtful = self.line != Line::Begun;
            }
            self.line = Line::Within;
            self.matched += 1;
            if self.matched < self.delimiter.len() {
                return Ok(false);
            }
            self.matched = 0;
            // Some readers end a part there, and some do not.
            return if self.is_doubtful { Err(Objection::Form) } else { Ok(true) };
        }
        self.matched = 0;
        self.line = match (byte, self.line) {
            (b'\n', Line::Return) => Line::Begun,
            (b'\n', _) => Line::Doubtful,
            (b'\r', _) => Line::Return,
            _ => Line::Within,
        };
        Ok(false)
    }

    fn at_delimiter(&mut self, upload: &Upload) -> Result<(), Objection> {
        let content = self.kept.len().saturating_sub(self.delimiter.len() + 2);
        match self.state {
            // What comes after the last one is for nobody.
            State::Epilogue => return Err(Objection::Form),
            State::Empty if content > 0 => return Err(Objection::Type),
            State::File(_) => {
                self.kept.truncate(content);
                self.judge(upload)?;
            }
            _ => {}
        }
        self.kept.clear();
        self.state = State::Behind(0);
        Ok(())
    }

    /// A file has begun.
    fn judge(&mut self, upload: &Upload) -> Result<(), Objection> {
        judge(self.stated.take().as_deref(), &self.kept, upload)?;
        self.kept = Vec::new();
        self.has_file = true;
        self.state = State::Content;
        Ok(())
    }

    fn in_head(&mut self, byte: u8, upload: &Upload) -> Result<(), Objection> {
        self.kept.push(byte);
        if self.kept.len() > LONGEST_HEAD {
            return Err(Objection::Form);
        }
        let Some(head) = self.kept.strip_suffix(b"\r\n\r\n") else { return Ok(()) };
        let Part { stated, is_file, is_named } = Part::parse(head)?;
        self.kept.clear();
        self.line = Line::Doubtful;
        let is_taken = match &stated {
            Some(stated) => takes(upload, &stated.essence),
            None => upload.sniff,
        };
        let stated: Option<Box<[u8]>> = stated.map(|stated| stated.essence.into());
        self.state = match (is_file, is_taken) {
            (false, _) => State::Content,
            (true, false) if is_named => return Err(Objection::Type),
            // A browser sends so what nobody has chosen a file for.
            (true, false) => State::Empty,
            (true, true) if upload.sniff => State::File(kinds::wanted(stated.as_deref())),
            (true, true) => {
                self.has_file = true;
                State::Content
            }
        };
        self.stated = stated;
        Ok(())
    }

    /// The body has ended.
    fn end(&self) -> Result<(), Objection> {
        match self.state {
            State::Epilogue => Ok(()),
            _ if self.read == 0 => Ok(()),
            _ => Err(Objection::Form),
        }
    }
}

/// What the head of a part says.
struct Part {
    stated: Option<Media>,
    /// It is a file, or some reader may take it for one.
    is_file: bool,
    /// The file has a name. One without a name is no file if it is empty.
    is_named: bool,
}

impl Part {
    /// Reads the lines of a head, without the empty one.
    fn parse(head: &[u8]) -> Result<Self, Objection> {
        let (mut disposition, mut stated) = (None, None);
        for line in lines(head) {
            let colon = line.iter().position(|byte| *byte == b':').ok_or(Objection::Form)?;
            let (Some(name), Some(value)) = (line.get(..colon), line.get(colon + 1..)) else {
                return Err(Objection::Form);
            };
            // A line that goes on, or ends with CR or LF alone, is none to all readers.
            if !is_token(name) || value.iter().any(|byte| matches!(byte, 0..=8 | 10..=31 | 127)) {
                return Err(Objection::Form);
            }
            let value = value.trim_ascii();
            let lower = name.to_ascii_lowercase();
            let once = match lower.as_slice() {
                b"content-disposition" => disposition.replace(value).is_none(),
                b"content-type" => stated.replace(Media::parse(value).ok_or(Objection::Type)?).is_none(),
                b"content-transfer-encoding" | b"content-encoding" => {
                    if ![&b"binary"[..], b"8bit", b"7bit", b"identity"]
                        .iter()
                        .any(|plain| value.eq_ignore_ascii_case(plain))
                    {
                        return Err(Objection::Coding);
                    }
                    true
                }
                _ => true,
            };
            if !once {
                return Err(Objection::Form);
            }
        }
        // Forms within forms are a thing of the past (RFC 7578 §4.3), and few readers look into them.
        if stated.as_ref().is_some_and(|stated: &Media| {
            stated.essence.starts_with(b"multipart/") || stated.essence.starts_with(b"message/")
        }) {
            return Err(Objection::Type);
        }
        let disposition = disposition.ok_or(Objection::Form)?;
        let (kind, parameters) = split(disposition).ok_or(Objection::Form)?;
        let named = |name: &[u8]| parameters.iter().filter(|one| one.name.eq_ignore_ascii_case(name)).count();
        if !kind.eq_ignore_ascii_case(b"form-data")
            || named(b"filename") > 1
            || named(b"filename*") > 1
            || named(b"name") > 1
        {
            return Err(Objection::Form);
        }
        let files = || parameters.iter().filter(|one| begins_with(one.name, b"filename"));
        // Readers that know no `\"` see where a text ends otherwise.
        let hidden = disposition.contains(&b'\\') && contains(&disposition.to_ascii_lowercase(), b"filename");
        let is_text = stated.as_ref().is_none_or(|stated| stated.essence == b"text/plain");
        Ok(Self {
            is_named: hidden || files().any(|one| !one.value.is_empty()) || files().next().is_none(),
            is_file: hidden || files().next().is_some() || !is_text,
            stated,
        })
    }
}

/// What stands between one CR LF and the next.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(head);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = text.windows(2).position(|pair| pair == b"\r\n");
        rest = end.and_then(|end| text.get(end + 2..));
        text.get(..end.unwrap_or(text.len()))
    })
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The longest head of a part, in bytes.
const LONGEST_HEAD: usize = 4 << 10;
/// So many bytes of a form wait for its first file. What stands before the first part may not be longer.
const LATEST_FILE: usize = 16 << 10;
