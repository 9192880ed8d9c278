//! stub
pub mod canonical;
pub mod events;
pub mod formats;
pub mod json;
#[cfg(test)]
mod chance;
#[cfg(test)]
mod script;
