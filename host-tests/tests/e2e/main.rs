//! Runs on the real Envoy; written by its own task.
