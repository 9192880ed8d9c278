//! The explanation of one exchange to whoever shows the token.

use selvage_host::{Gateway, OriginResponse};

use crate::{cache_status, fresh};

#[test]
fn one_exchange_is_explained_whether_it_hits_or_not() {
    let gateway =
        Gateway::with(r#"{"admin":{"token_env":"TOKEN"}}"#).environment("TOKEN", "secret").workers(2);
    let gateway = gateway
        .origin(|request| match request.path().as_str() {
            "/private" => OriginResponse::ok("yours").header("cache-control", "private"),
            _ => fresh("ours"),
        })
        .start();
    let ask = |path: &str, token: &str| gateway.get(path).header("selvage-explain", token).send(0);
    let explanation = |path: &str| ask(path, "secret").header("selvage-explanation").unwrap_or_default();
    let private = explanation("/private");
    assert!(private.contains("not stored: private: the response is for one user only"), "{private}");
    assert!(private.contains("to change it: public or s-maxage in place of private"), "{private}");
    assert!(explanation("/a").contains("stored, fresh for 60 s"));
    gateway.advance(10);
    let hit = ask("/a", "secret");
    assert!(cache_status(&hit).contains("; hit"), "{}", cache_status(&hit));
    let line = hit.header("selvage-explanation").unwrap_or_default();
    assert!(line.contains("fresh for 50 s = lifetime 60 s - age 10 s"), "{line}");
    for token in ["wrong", ""] {
        assert_eq!(ask("/a", token).header("selvage-explanation"), None);
        assert_eq!(ask("/private", token).header("selvage-explanation"), None);
    }
    assert!(gateway.origin().requests().iter().all(|request| request.header("selvage-explain").is_none()));
}
