//! What a client sends, checked on its way to the origin: how much it is, what it says to be, and whether its first bytes are that.
//!
//! A [`Guard`] goes with one request. It sees the head and then each part of the body, however that is cut, and keeps a few
//! hundred bytes at most: the beginning of what is to be judged, or the head of a part of a form.
//!
//! - `kinds`: how content of a type begins
//! - `media`: what `Content-Type` and `Content-Disposition` say
//! - `form`: the parts of `multipart/form-data`

mod form;
mod kinds;
mod media;

use crate::coding::eligible::is_one_of;
use crate::config::Upload;
use crate::fields::{Fields, content_length};
use crate::request::Request;
use form::Form;
use media::Media;

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Objection {
    /// Its body is longer than the rule takes.
    TooLarge,
    /// Its type, or that of a file in it, is none that the rule takes.
    Type,
    /// Its first bytes, or those of a file in it, are not of the type that is stated.
    Content,
    /// It is coded, so nobody can see what it is.
    Coding,
    /// Its form could be read in two ways, or is none.
    Form,
}

impl Objection {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "upload-too-large",
            Self::Type => "upload-type",
            Self::Content => "upload-content",
            Self::Coding => "upload-coding",
            Self::Form => "upload-form",
        }
    }

    /// The status that it is answered with.
    pub const fn status(self) -> u16 {
        match self {
            Self::TooLarge => 413,
            Self::Type | Self::Content | Self::Coding => 415,
            Self::Form => 400,
        }
    }
}

/// What is known once a part of a body has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What has come may go on.
    Fine,
    /// More has to come before what has come may go on.
    Open,
    /// Nothing of it may go on.
    Refused(Objection),
}

/// What goes with a request whose body is checked.
pub struct Guard {
    /// Index of the request's rule.
    pub rule: usize,
    /// The request waits until something is known of its body, or it may go before.
    pub may_hold: bool,
    /// What has come of the body has to wait for more of it.
    pub is_open: bool,
    /// The method is `PATCH`.
    pub is_patch: bool,
    bytes: u64,
    body: Body,
}

/// What of a body is looked at.
enum Body {
    /// How long it is.
    Length,
    /// Its first bytes.
    Beginning {
        /// The type that is stated.
        stated: Option<Box<[u8]>>,
        bytes: Vec<u8>,
    },
    /// Its parts.
    Parts(Box<Form>),
}

impl Guard {
    /// For a request with a body, or with one that may come. `Ok(None)`: there is nothing to check.
    pub fn of(request: &Request<'_>, rule: usize, upload: &Upload) -> Result<Option<Self>, Objection> {
        if !request.has_body || !matches!(request.method, b"POST" | b"PUT" | b"PATCH") {
            return Ok(None);
        }
        if upload
            .max_bytes
            .is_some_and(|most| content_length(request.fields).unwrap_or_default() as u64 > most)
        {
            return Err(Objection::TooLarge);
        }
        let body = body_of(request.fields, upload)?;
        let only_counts = matches!(body, Body::Length);
        if only_counts && upload.max_bytes.is_none() {
            return Ok(None);
        }
        // Where Envoy lets the origin say whether the client may go on (RFC 9110 §10.1.1), nothing comes before the head has gone.
        let may_hold = !only_counts && !request.expect;
        let is_patch = request.method == b"PATCH";
        Ok(Some(Self { rule, may_hold, is_open: false, is_patch, bytes: 0, body }))
    }

    /// Whether only the length of what comes is looked at.
    pub const fn only_counts(&self) -> bool {
        matches!(self.body, Body::Length)
    }

    /// Bytes of the request that it keeps.
    pub fn kept_bytes(&self) -> usize {
        match &self.body {
            Body::Length => 0,
            Body::Beginning { bytes, .. } => bytes.capacity(),
            Body::Parts(form) => form.kept_bytes(),
        }
    }

    /// So many of the last bytes that have come may not go on before more has come.
    pub fn open_bytes(&self) -> usize {
        match &self.body {
            _ if !self.is_open => 0,
            Body::Length => 0,
            Body::Beginning { bytes, .. } => bytes.len(),
            Body::Parts(form) => form.open_bytes(),
        }
    }

    /// Whether enough has come for the head to go on, whatever becomes of what is still open.
    pub fn is_past_beginning(&self) -> bool {
        matches!(&self.body, Body::Parts(form) if form.is_past_beginning())
    }

    /// So many bytes of the body have come, which nobody has read: see [`Guard::only_counts`].
    pub fn count(&mut self, bytes: usize, upload: &Upload) -> Verdict {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        match upload.max_bytes {
            Some(most) if self.bytes > most => Verdict::Refused(Objection::TooLarge),
            _ => Verdict::Fine,
        }
    }

    /// A part of the body has come.
    pub fn on_chunk(&mut self, chunk: &[u8], is_last: bool, upload: &Upload) -> Verdict {
        let counted = self.count(chunk.len(), upload);
        if counted != Verdict::Fine {
            return counted;
        }
        match &mut self.body {
            Body::Length => Verdict::Fine,
            Body::Beginning { stated, bytes } => {
                let wanted = kinds::wanted(stated.as_deref());
                let missing = wanted.saturating_sub(bytes.len());
                bytes.extend_from_slice(chunk.get(..missing).unwrap_or(chunk));
                if bytes.len() < wanted && !is_last {
                    return Verdict::Open;
                }
                let judged = judge(stated.as_deref(), bytes, upload);
                self.body = Body::Length;
                judged.map_or_else(Verdict::Refused, |()| Verdict::Fine)
            }
            Body::Parts(form) => match form.read(chunk, is_last, upload) {
                Err(objection) => Verdict::Refused(objection),
                Ok(()) if form.is_open() && !is_last => Verdict::Open,
                Ok(()) => Verdict::Fine,
            },
        }
    }
}

/// What of a body is to be looked at, by the request's head.
fn body_of(fields: Fields<'_>, upload: &Upload) -> Result<Body, Objection> {
    if !upload.sniff && upload.types.is_none() {
        return Ok(Body::Length);
    }
    let coded = fields.members(b"content-encoding").any(|coding| !coding.eq_ignore_ascii_case(b"identity"));
    if coded && upload.sniff {
        return Err(Objection::Coding);
    }
    let mut lines = fields.all(b"content-type");
    let stated = match (lines.next(), lines.next()) {
        (None, _) if upload.sniff => return Ok(Body::Beginning { stated: None, bytes: Vec::new() }),
        (Some(line), None) => Media::parse(line).ok_or(Objection::Type)?,
        _ => return Err(Objection::Type),
    };
    if stated.essence == b"multipart/form-data" {
        if !upload.multipart {
            return Err(Objection::Type);
        }
        // What is coded cannot be taken apart.
        if coded {
            return Err(Objection::Coding);
        }
        let boundary = stated.boundary.ok_or(Objection::Form)?;
        return Ok(Body::Parts(Box::new(Form::new(&boundary))));
    }
    if !takes(upload, &stated.essence) {
        return Err(Objection::Type);
    }
    Ok(match upload.sniff {
        true => Body::Beginning { stated: Some(stated.essence.into()), bytes: Vec::new() },
        false => Body::Length,
    })
}

/// Whether the rule takes what is of a type, in lower case.
fn takes(upload: &Upload, essence: &[u8]) -> bool {
    upload.types.as_ref().is_none_or(|types| is_one_of(types, essence))
}

/// Whether content that begins so may be of the type that is stated; where none is, whether the rule takes what it looks like.
fn judge(stated: Option<&[u8]>, bytes: &[u8], upload: &Upload) -> Result<(), Objection> {
    if bytes.is_empty() || !upload.sniff {
        return Ok(());
    }
    match stated {
        Some(stated) if kinds::agree(stated, bytes) => Ok(()),
        Some(_) => Err(Objection::Content),
        None => {
            let mut names = kinds::guess(bytes).split(' ');
            if names.any(|name| takes(upload, name.as_bytes())) { Ok(()) } else { Err(Objection::Type) }
        }
    }
}

#[cfg(test)]
mod tests;
