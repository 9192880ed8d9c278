#![doc = include_str!("../README.md")]

pub mod canonical;
pub mod embeddings;
pub mod formats;
pub mod injection;

pub mod forecast;
pub mod money;

pub mod events;
pub mod json;

#[cfg(test)]
mod chance;
#[cfg(test)]
mod script;
