//! A remote store that others can write to too: what no secret of the fleet has signed is as good as absent.

use selvage_engine::purge::admin_auth::AdminAuth;
use selvage_engine::remote::dialect::wire_key;
use selvage_engine::remote::seal::{RECORD_OVERHEAD, Seal, Text};

use crate::gateway::{Gateway, fresh_for, moment, origin};
use crate::purging::{Purges, exchanges_purges};

const REMOTE: &str = r#"{"remote":{"enabled":true}}"#;
const SECRET: &str = "a-secret-of-the-fleet";
const OTHER: &str = "another-secret-of-it";
const NOTED: &str = "that no secret of remote.secret_env has signed";

fn with_secrets(secrets: &str) -> Gateway {
    let mut gateway = Gateway::with(REMOTE);
    gateway.workers[0].set_admin_auth(AdminAuth::Open);
    gateway.workers[0].set_seal((!secrets.is_empty()).then(|| Seal::new(secrets).unwrap()));
    gateway
}

/// Another Envoy, with what the first one has sent.
fn joins(first: &mut Gateway, secrets: &str) -> Gateway {
    first.sends();
    let mut second = with_secrets(secrets);
    second.redis = first.redis.clone();
    second
}

/// The only record there is.
fn record(gateway: &Gateway) -> (u128, Vec<u8>) {
    assert_eq!(gateway.redis.records.len(), 1);
    gateway.redis.records.first_key_value().map(|(hash, record)| (*hash, record.clone())).unwrap()
}

fn notes(gateway: &Gateway) -> usize {
    gateway.shared.notes.iter().filter(|line| line.contains(NOTED)).count()
}

#[test]
fn what_was_signed_is_a_hit_also_by_variants_and_compressed() {
    let mut first = with_secrets(SECRET);
    let long = "compressible ".repeat(400);
    let page = || fresh_for(60).header("content-type", "text/plain").header("vary", "accept-language");
    first.get("/a").header("accept-language", "de").at(0).miss(page().body(&long));
    first.get("/a").header("accept-language", "en").at(0).forwarded(page().body("en"));
    let mut second = joins(&mut first, SECRET);
    second.get("/a").header("accept-language", "de").at(1).hit().detail("remote").content(&long);
    second.get("/a").header("accept-language", "en").at(1).hit().detail("remote").content("en");
    assert_eq!(notes(&second), 0);
}

#[test]
fn what_is_not_signed_or_by_another_secret_or_no_more_whole_is_a_miss() {
    let mut plain = Gateway::with(REMOTE);
    plain.get("/a").at(0).miss(fresh_for(60).body("forged"));
    plain.sends();
    let (hash, unsigned) = record(&plain);
    let mut other = with_secrets(OTHER);
    other.get("/a").at(0).miss(fresh_for(60).body("forged"));
    other.sends();
    let (_, by_another) = record(&other);
    let mut first = with_secrets(SECRET);
    first.get("/a").at(0).miss(fresh_for(60).body("good"));
    first.sends();
    let (_, good) = record(&first);
    // The content of a record of one's own, whose checksums are right, behind a hash that is not its.
    let mut changed = good[..RECORD_OVERHEAD].to_vec();
    changed.extend_from_slice(&unsigned);
    for forged in [
        unsigned,
        by_another,
        changed,
        good[..good.len() - 1].to_vec(),
        good[..RECORD_OVERHEAD].to_vec(),
        good[..RECORD_OVERHEAD - 1].to_vec(),
        good[..16].to_vec(),
        Vec::new(),
        b"claim:!".to_vec(),
    ] {
        let mut second = joins(&mut first, SECRET);
        second.redis.records.insert(hash, forged);
        second.get("/a").at(1).miss(fresh_for(60).body("of the origin")).content("of the origin");
        assert_eq!(notes(&second), 1);
        // What the origin sent takes its place.
        joins(&mut second, SECRET).get("/a").at(2).hit().detail("remote").content("of the origin");
    }
}

#[test]
fn a_record_that_was_copied_to_another_key_is_a_miss() {
    let mut first = with_secrets(SECRET);
    first.get("/a").at(0).miss(fresh_for(60).body("of a"));
    first.sends();
    let (of_a, good) = record(&first);
    first.redis.records.clear();
    first.get("/b").at(0).miss(fresh_for(60).body("of b"));
    first.sends();
    let (of_b, _) = record(&first);
    let mut second = joins(&mut first, SECRET);
    second.redis.records.insert(of_b, good.clone());
    second.redis.records.insert(of_a, good);
    second.get("/b").at(1).miss(fresh_for(60).body("new")).content("new");
    second.get("/a").at(1).hit().detail("remote").content("of a");
    assert_eq!(notes(&second), 1);
}

#[test]
fn an_older_record_of_the_same_key_is_bounded_by_its_own_times() {
    let mut first = with_secrets(SECRET);
    first.get("/a").at(0).miss(fresh_for(60).header("etag", "\"1\"").body("old"));
    first.sends();
    let (hash, old) = record(&first);
    let mut second = with_secrets(SECRET);
    second.redis.records.insert(hash, old.clone());
    second.get("/a").at(59).hit().detail("remote").ttl(1).content("old");
    let mut third = with_secrets(SECRET);
    third.redis.records.insert(hash, old);
    third.get("/a").at(61).validates(fresh_for(60).body("new")).content("new");
}

#[test]
fn while_secrets_change_what_either_signed_is_a_hit() {
    let both = [format!("{SECRET},{OTHER}"), format!("{OTHER} {SECRET}")];
    let [old_first, new_first] = &both;
    for (writes, reads) in
        [(SECRET, old_first.as_str()), (old_first, SECRET), (old_first, new_first), (new_first, OTHER)]
    {
        let mut first = with_secrets(writes);
        first.get("/a").at(0).miss(fresh_for(60).body("content"));
        let mut second = joins(&mut first, reads);
        second.get("/a").at(1).hit().detail("remote").content("content");
    }
    let mut first = with_secrets(new_first);
    first.get("/a").at(0).miss(fresh_for(60).body("content"));
    joins(&mut first, SECRET).get("/a").at(1).miss(fresh_for(60).body("new")).content("new");
}

#[test]
fn members_without_the_secret_miss_what_is_signed_and_store_it_anew() {
    let mut first = with_secrets(SECRET);
    first.get("/a").at(0).miss(fresh_for(60).body("signed"));
    let mut plain = joins(&mut first, "");
    plain.get("/a").at(1).miss(fresh_for(60).body("unsigned")).content("unsigned");
    joins(&mut plain, "").get("/a").at(2).hit().detail("remote").content("unsigned");
}

#[test]
fn without_a_secret_what_is_written_is_as_it_was() {
    let mut gateway = with_secrets("");
    gateway.get("/a").at(0).miss(fresh_for(60).body("content"));
    let task = gateway.workers[0].next_remote_task(moment(0)).unwrap();
    let selvage_engine::remote::queue::Task::Replicate { hash, record, .. } = task else {
        panic!("{task:?}")
    };
    assert_eq!(*gateway.workers[0].signed(hash, &record), *record);
    assert_eq!(gateway.workers[0].sealing_bytes(), 0);
}

#[test]
fn word_that_nothing_is_to_be_stored_is_signed_too() {
    let private = || origin(200).header("cache-control", "private").body("private");
    let mut first = with_secrets(SECRET);
    first.get("/a").at(0).forwarded(private());
    first.sends();
    let (hash, word) = record(&first);
    assert_eq!(Seal::new(SECRET).unwrap().open(&wire_key("selvage", hash), word).unwrap(), b"claim:!");
    let mut second = joins(&mut first, SECRET);
    second.get("/a").at(1).forwarded(private());
    assert_eq!(notes(&second), 0);
}

fn purge(gateway: &mut Gateway, at: u64) {
    gateway.post("/.selvage/purge").at(at).chunk(r#"{"all":true}"#).sent();
}

/// Two nodes with the same response, and the log that they share.
fn two_nodes(one: &str, two: &str) -> ([Gateway; 2], Purges) {
    let mut nodes = [with_secrets(one), with_secrets(two)];
    let mut store = Purges::default();
    for node in &mut nodes {
        exchanges_purges(node, &mut store, 0);
        node.get("/a").at(1).miss(fresh_for(600).body("old"));
    }
    (nodes, store)
}

#[test]
fn a_signed_purge_reaches_the_others() {
    let ([mut one, mut two], mut store) = two_nodes(SECRET, SECRET);
    purge(&mut one, 2);
    exchanges_purges(&mut one, &mut store, 2000);
    assert!(store.entries[&1].starts_with('s'));
    exchanges_purges(&mut two, &mut store, 2100);
    two.get("/a").at(3).miss(fresh_for(60)).detail("purged");
    assert_eq!((two.counted(0, "purge", "received"), two.counted(0, "purge", "forged")), (1, 0));
}

#[test]
fn a_forged_purge_is_ignored_and_those_after_it_are_not() {
    let ([mut one, mut two], mut store) = two_nodes(SECRET, SECRET);
    let (mut plain, mut elsewhere) = (with_secrets(""), with_secrets(OTHER));
    let mut forged = Vec::new();
    for forger in [&mut plain, &mut elsewhere] {
        let mut own = Purges::default();
        purge(forger, 2);
        exchanges_purges(forger, &mut own, 2000);
        forged.push(own.entries[&1].clone());
    }
    forged.extend(["", "-", "s", "zz", "0100ff"].map(str::to_owned));
    let most = forged.len() as u64;
    store.entries.extend((1..).zip(forged));
    // Each is asked for twice.
    for millis in (2100..=2100 + 100 * most).step_by(100) {
        exchanges_purges(&mut two, &mut store, millis);
    }
    two.get("/a").at(3).hit().content("old");
    assert_eq!((two.counted(0, "purge", "forged"), notes(&two)), (most, 1), "one line");
    assert_eq!(two.counted(0, "event", "purges-lost"), 0);
    // Whoever purges goes past them.
    purge(&mut one, 4);
    for millis in (4000..9000).step_by(100) {
        exchanges_purges(&mut one, &mut store, millis);
    }
    assert_eq!(store.entries.len() as u64, most + 1);
    exchanges_purges(&mut two, &mut store, 9000);
    two.get("/a").at(10).miss(fresh_for(60)).detail("purged");
}

#[test]
fn an_entry_under_another_number_is_ignored() {
    let ([mut one, mut two], mut store) = two_nodes(SECRET, SECRET);
    purge(&mut one, 2);
    exchanges_purges(&mut one, &mut store, 2000);
    exchanges_purges(&mut two, &mut store, 2100);
    two.get("/a").at(3).miss(fresh_for(60).body("new")).detail("purged");
    let entry = store.entries[&1].clone();
    store.entries.insert(2, entry);
    for millis in [4000, 4100] {
        exchanges_purges(&mut two, &mut store, millis);
    }
    two.get("/a").at(5).hit().content("new");
    assert_eq!(two.counted(0, "purge", "forged"), 1);
}

#[test]
fn an_entry_that_was_written_over_is_told_again_once() {
    let ([mut one, mut two], mut store) = two_nodes(SECRET, SECRET);
    purge(&mut one, 2);
    exchanges_purges(&mut one, &mut store, 2000);
    store.entries.insert(1, "0100ff".into());
    exchanges_purges(&mut two, &mut store, 2100);
    two.get("/a").at(3).hit();
    for millis in (3_000..30_000).step_by(500) {
        exchanges_purges(&mut one, &mut store, millis);
        exchanges_purges(&mut two, &mut store, millis);
    }
    two.get("/a").at(30).miss(fresh_for(60)).detail("purged");
    assert_eq!(store.entries.len(), 2, "{:?}", store.entries);
}

#[test]
fn a_forged_hint_takes_nobody_anywhere() {
    let ([mut one, mut two], mut store) = two_nodes(SECRET, SECRET);
    purge(&mut one, 2);
    exchanges_purges(&mut one, &mut store, 2000);
    exchanges_purges(&mut two, &mut store, 2100);
    two.get("/a").at(3).miss(fresh_for(60).body("new")).detail("purged");
    let seal = Seal::new(SECRET).unwrap();
    let hint_of_another = seal.sign_text(Text::Hint, "other:v1:purges", "900000", moment(3000));
    for (n, hint) in ["900000", "s900000", &hint_of_another].into_iter().enumerate() {
        store.hint = Some(hint.to_owned());
        for step in 0..10 {
            exchanges_purges(&mut two, &mut store, 4000 + n as u64 * 10_000 + step * 1000);
        }
        assert!(store.hint.as_ref().unwrap().starts_with('s') && *store.hint.as_ref().unwrap() != hint);
    }
    two.get("/a").at(40).hit().content("new");
    assert_eq!(two.counted(0, "event", "purges-lost"), 0);
    assert_eq!(two.counted(0, "purge", "forged"), 3);
    // To one that starts it is as if there were no hint: it reads the log from its beginning.
    store.hint = Some("900000".into());
    let mut three = with_secrets(SECRET);
    for millis in [41_000, 42_000] {
        exchanges_purges(&mut three, &mut store, millis);
    }
    three.get("/a").at(43).miss(fresh_for(60));
    exchanges_purges(&mut three, &mut store, 50_000);
    three.get("/a").at(51).hit();
    assert_eq!((three.counted(0, "purge", "received"), three.counted(0, "event", "purges-lost")), (1, 0));
}

#[test]
fn purges_with_a_secret_reach_members_without_it_and_not_the_other_way_round() {
    let ([mut one, mut two], mut store) = two_nodes(SECRET, "");
    purge(&mut one, 2);
    exchanges_purges(&mut one, &mut store, 2000);
    exchanges_purges(&mut two, &mut store, 2100);
    assert_eq!(two.counted(0, "event", "bad-purge"), 0);
    two.get("/a").at(3).miss(fresh_for(60)).detail("purged");
    one.get("/a").at(3).miss(fresh_for(60).body("new"));
    purge(&mut two, 4);
    exchanges_purges(&mut two, &mut store, 4000);
    for millis in [4100, 4200] {
        exchanges_purges(&mut one, &mut store, millis);
    }
    one.get("/a").at(5).hit().content("new");
    assert!(one.counted(0, "purge", "forged") > 0);
}
