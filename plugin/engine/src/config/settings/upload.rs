//! What requests of a rule may bring.

use super::kinds::{size, switch, text};
use super::nested::{list, nullable};
use super::section;
use super::texts::MediaType;
use crate::config::reference::Least::One;

/// What the body of a POST, PUT or PATCH may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The longest body, in bytes. Default `None`: any.
    pub max_bytes: Option<u64>,
    /// The types that are taken: of the body, or of each file of a form. Default `None`: any.
    pub types: Option<Vec<Box<[u8]>>>,
    /// Whether the first bytes must be of the type that is stated. Default: false.
    pub sniff: bool,
    /// Whether forms (`multipart/form-data`) are taken, each file of them checked. Default: true.
    pub multipart: bool,
}

section! {
    Upload {
        max_bytes = None, nullable(size(1..=1 << 40)), "A longer body is answered 413; `null`: any length.";
        types = None, nullable(list(One, text::<MediaType>())),
            "A body of another type is answered 415, and so is a form with such a file; `null`: any type.";
        sniff = false, switch(),
            "The first bytes are compared with the type that is stated, and other content is answered 415. The request waits for them.";
        multipart = true, switch(),
            "Forms (`multipart/form-data`) are taken and their files checked; `false`: they are answered 415 where `types` or `sniff` is set.";
    }
}
