//! The public conformance suite behind the real Envoy; written by its own task.
