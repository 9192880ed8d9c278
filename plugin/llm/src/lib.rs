//! stub
pub mod canonical;
pub mod events;
pub mod json;
#[cfg(test)]
mod chance;
