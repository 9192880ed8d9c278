//! Offers a stored response in two content codings, of which one is stored (RFC 9110 §8.4, §12.5.3).
//!
//! A compressible body is compressed once, when it is stored; the compressed bytes *are* what clients that take
//! gzip are sent, from every tier. The others are sent the identity form, inflated from it.
//!
//! ```text
//! response ─ eligible ─ compress ─ worth it? ─┬ yes ► stored as gzip ─ negotiate ─┬ gzip ─────► gzip_head, bytes as they are
//!                                             └ no ─► stored as it came           └ identity ─► identity_head, inflated
//! ```

pub mod eligible;
pub mod etag;
pub mod gzip;
pub mod head;
pub mod minify;
pub mod negotiate;
