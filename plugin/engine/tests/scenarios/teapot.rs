//! The worked example of a capability: a rule whose requests are answered with 418.

use crate::gateway::{Gateway, fresh_for};

const TEAPOT: &str = r#"{"rules":[{"name":"pot","match":{"paths":["/teapot"]},"teapot":true}]}"#;

#[test]
fn a_rule_with_a_teapot_answers_and_nothing_goes_to_the_origin() {
    let mut gateway = Gateway::with(TEAPOT);
    let answer = gateway.get("/teapot").at(0).answered();
    answer.status(418).detail("teapot").content("I'm a teapot\n");
    assert_eq!(gateway.counted(0, "requests", "refused.none"), 1);
    assert_eq!(gateway.counted(0, "detail", "teapot"), 1);
    gateway.get("/coffee").at(1).miss(fresh_for(60)).stored();
}
