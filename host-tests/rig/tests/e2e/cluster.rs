//! A Redis Cluster behind Envoy's proxy for Redis, and the death of a master.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use selvage_rig::envoy::Gateway;
use selvage_rig::scripted::{Answer, Origin};

use super::bridge::bridge_of;

/// Slow calls do not open the breaker: a busy machine is not what is tried here. Failed ones do.
const CONFIGURATION: &str = r#"{
  "remote": { "enabled": true, "timeout": "2s", "breaker": { "slow_percent": 0, "longest_pause": "1s" } }
}"#;

/// Paths whose keys lie on all masters: that one of three has none of so many happens once in ten billion times.
const PATHS: u64 = 60;

/// Asks for a path. Whatever becomes of Redis, the client gets what the origin says. Whether Redis had it.
#[track_caller]
fn from_redis(gateway: &Gateway, path: &str) -> bool {
    let answer = gateway.get(path).header("host", "fleet.example").send();
    assert_eq!((answer.status, answer.text()), (200, format!("of {path}")), "{}", answer.cache_status());
    answer.cache_status().contains("; detail=remote")
}

/// One asks for new paths; how many of them the other then finds in Redis.
#[track_caller]
fn shared(first: &Gateway, second: &Gateway, folder: &str) -> u64 {
    store(first, folder);
    (0..PATHS).map(|number| u64::from(from_redis(second, &format!("/{folder}/{number}")))).sum()
}

/// Asks for new paths, and waits until Redis has them or will not have them soon.
#[track_caller]
fn store(gateway: &Gateway, folder: &str) {
    let written = || gateway.stat("selvage.remote.written");
    let before = written();
    for number in 0..PATHS {
        from_redis(gateway, &format!("/{folder}/{number}"));
    }
    let deadline = Instant::now() + Duration::from_secs(1);
    while written() < before + PATHS && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_master_that_dies_is_replaced_and_no_request_notices() {
    let origin = Origin::start();
    origin.otherwise(|request| Answer::fresh(format!("of {}", request.target)));
    let first = Gateway::with(CONFIGURATION).origin(origin.url()).argument("--redis-cluster").start();
    let second = Gateway::with(CONFIGURATION).origin(origin.url()).bridge(bridge_of(&first));
    let second = second.workers(1).start();
    let nodes = first.printed("redis-node");
    let of_role = |role: &str| nodes.iter().filter(|node| node.ends_with(role)).count();
    assert_eq!((of_role(" master"), of_role(" replica")), (3, 3), "{nodes:?}");
    assert_eq!(first.printed("redis-proxy").len(), 1);

    store(&first, "kept");
    assert_eq!(shared(&first, &second, "before"), PATHS);
    let master = nodes.iter().find(|node| node.ends_with(" master")).unwrap();
    let process = master.split(' ').nth(1).unwrap();
    assert!(Command::new("kill").args(["-KILL", process]).status().unwrap().success());
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut round = 0;
    loop {
        round += 1;
        let found = shared(&first, &second, &format!("after/{round}"));
        if found == PATHS {
            break;
        }
        assert!(Instant::now() < deadline, "{found} of {PATHS}: {:?}", second.stats("selvage.remote"));
    }
    // What the dead master had, its replica has.
    let kept = (0..PATHS).filter(|number| from_redis(&second, &format!("/kept/{number}"))).count();
    assert_eq!(kept as u64, PATHS);
    first.assert_sound();
    second.assert_sound();
}
