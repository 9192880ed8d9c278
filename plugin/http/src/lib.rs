#![doc = include_str!("../README.md")]

pub mod cache_control;
pub mod cache_status;
pub mod firewall;
pub mod freshness;
pub mod invalidation;
pub mod precondition;
pub mod range;
pub mod request;
pub mod storability;
pub mod vary;

pub mod fields;
pub mod sized;
pub mod time;
pub mod uri;
