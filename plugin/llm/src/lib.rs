//! stub
pub mod canonical;
pub mod embeddings;
pub mod events;
pub mod formats;
pub mod injection;
pub mod json;
pub mod money;
#[cfg(test)]
mod chance;
#[cfg(test)]
mod script;
