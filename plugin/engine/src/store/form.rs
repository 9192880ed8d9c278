//! The form of a stored response that one client gets.

use crate::coding::gzip;
use crate::coding::head::gzip_head;
use crate::coding::negotiate::{Acceptable, Choice};
use crate::fields::{FieldBlock, Fields};
use crate::request::Request;
use crate::store::response::{Body, StoredResponse, Terms};

/// What a response that is stored compressed has beside its own fields, which are those of the identity form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gzip {
    /// The fields of the gzip form, ready to be sent.
    pub fields: FieldBlock,
    /// Length of the identity form in bytes.
    pub length: usize,
}

impl Gzip {
    /// For a response with these fields, stored as `body`. `None` if that is no gzip member.
    pub fn of(fields: Fields<'_>, body: &[u8]) -> Option<Self> {
        let length = gzip::content_length(body).filter(|length| *length <= LONGEST)?;
        Some(Self { fields: gzip_head(fields), length })
    }
}

/// Nothing longer is compressed here (`compression.max_bytes`), so nothing longer is inflated.
const LONGEST: usize = 16 << 20;

/// The form in which a response is sent.
#[derive(Clone, Debug)]
pub enum Form {
    /// It is stored in one form only.
    AsStored,
    /// The compressed bytes as they are stored.
    Gzip,
    /// The identity form of a response that is stored compressed: its content.
    Identity(Body),
}

/// A stored response in one form.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The fields to send.
    pub fields: &'a FieldBlock,
    /// The content to send.
    pub body: &'a Body,
    /// `Vary: Accept-Encoding` is to be added.
    pub adds_vary: bool,
}

impl<'a> View<'a> {
    /// `stored` in this form.
    pub fn new(stored: &'a StoredResponse, form: &'a Form) -> Self {
        let adds_vary = stored.terms.contains(Terms::ADDS_VARY);
        match (form, &stored.gzip) {
            (Form::Gzip, Some(gzip)) => Self { fields: &gzip.fields, body: &stored.body, adds_vary: false },
            (Form::Identity(body), _) => Self { fields: stored.own_fields(), body, adds_vary },
            _ => Self { fields: stored.own_fields(), body: &stored.body, adds_vary },
        }
    }

    /// The entity-tag of this form.
    pub fn etag(&self) -> Option<&'a [u8]> {
        self.fields.fields().get(b"etag")
    }
}

/// Whether the client is to have the gzip form. Ranges are those of the identity form; a client that takes no
/// identity form has its `Range` ignored (RFC 9110 §14.2).
pub fn wants_gzip(request: &Request<'_>) -> bool {
    let accept = Acceptable::parse(request.fields);
    let ranged = request.range.is_some() && !request.is_head() && accept.identity > 0;
    accept.choose() == Choice::Gzip && !ranged && !request.directives.no_transform
}
