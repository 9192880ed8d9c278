//! The decoders of bytes that come from outside, fed with the corpus, with a few changed inputs, and with what they
//! wrote themselves. `examples/fuzz` does the same with millions.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the harness tells a failed expectation by panicking"
)]

#[path = "../../examples/fuzz/allocator.rs"]
mod allocator;
#[path = "../../examples/fuzz/configuration.rs"]
mod configuration;
#[path = "../../examples/fuzz/decoder.rs"]
mod decoder;
#[path = "../../examples/fuzz/dialects.rs"]
mod dialects;
#[path = "../../examples/fuzz/entries.rs"]
#[allow(dead_code, reason = "`./host-tests/forge` uses the rest")]
mod entries;
#[path = "../../examples/fuzz/forging.rs"]
mod forging;
#[path = "../../examples/fuzz/format.rs"]
mod format;
#[path = "../../examples/fuzz/gzip.rs"]
mod gzip;
#[path = "../../examples/fuzz/purges.rs"]
mod purges;
#[path = "../../examples/fuzz/random.rs"]
mod random;
#[path = "../../examples/fuzz/record.rs"]
mod record;

use std::time::Duration;

use decoder::{Decoder, corpus, run};
use dialects::{Answers, as_result, base64};
use random::{Random, mutate};
use selvage_engine::coding::gzip::{compress, inflate};
use selvage_engine::remote::dialect::{
    Answer, Command, Dialect, DialectError, UpstashOptions, WebdisOptions,
};
use selvage_engine::remote::seal::Seal;
use selvage_engine::store::Slot;
use selvage_engine::store::record::{RecordError, Verify, decode, encode};

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

fn decoders() -> [Box<dyn Decoder>; 7] {
    [
        Box::new(record::Record::responses()),
        Box::new(record::Record::indices()),
        Box::new(purges::Log),
        Box::new(Answers::webdis()),
        Box::new(Answers::upstash()),
        Box::new(gzip::Gzip),
        Box::new(configuration::Configuration),
    ]
}

#[test]
fn the_corpus_is_accepted_or_refused_as_the_names_of_its_files_say() {
    for decoder in decoders() {
        let files = corpus(decoder.corpus());
        assert!(files.len() >= 6, "{} has {} files", decoder.name(), files.len());
        for (name, input) in files {
            let outcome = decoder.check(&input);
            assert_eq!(outcome.accepted, !name.starts_with("bad-"), "{}/{name}", decoder.name());
            assert!(outcome.peak <= decoder.memory_bound(input.len()), "{}/{name}", decoder.name());
        }
    }
}

#[test]
fn changed_inputs_break_no_promise() {
    for decoder in decoders() {
        let report = run(decoder.as_ref(), 8_000, 7);
        assert!(report.failures.is_empty(), "{}: {:02x?}", decoder.name(), report.failures[0]);
        // Most of the work would be in vain if few inputs got past the first checks.
        assert!(report.accepted > report.inputs / 100, "{}: {} accepted", decoder.name(), report.accepted);
    }
}

#[test]
fn records_that_follow_the_format_are_read_and_written_back_byte_for_byte() {
    let mut random = Random::new(2);
    for round in 0..4_000 {
        let bytes = if round % 3 == 0 { record::index(&mut random) } else { record::response(&mut random) };
        let slot = decode(bytes.clone(), Verify::Whole).unwrap();
        assert_eq!(encode(&slot), bytes, "round {round}");
    }
}

#[test]
fn forged_records_with_right_checksums_break_no_promise() {
    let mut random = Random::new(5);
    let (mut accepted, mut hidden) = (0, 0);
    for round in 0..20_000 {
        let sound = if round % 4 == 0 { record::index(&mut random) } else { record::response(&mut random) };
        let forged = forging::forge(&sound, &[1, 2, 3], 1_795_000_000_000, &mut random);
        let decoder = record::Record::responses();
        let outcome = decoder.check(&forged.bytes);
        let bound = decoder.memory_bound(forged.bytes.len());
        assert!(outcome.peak <= bound, "round {round}, {}: {} of {bound} bytes", forged.what, outcome.peak);
        accepted += usize::from(outcome.accepted);
        // Checksums are right, or it could not be taken apart, and then they are where lengths are.
        hidden += usize::from(decode(forged.bytes, Verify::Whole).err() == Some(RecordError::Damaged));
    }
    assert!(accepted > 2_000 && hidden < 4_000, "{accepted} accepted, {hidden} damaged");
}

#[test]
fn gzip_gives_back_what_it_was_given_at_every_level() {
    let mut random = Random::new(3);
    for round in 0..200 {
        let content = format::content(&mut random);
        let compressed = compress(&content, round % 9 + 1);
        assert_eq!(inflate(&compressed, content.len()).as_ref(), Ok(&content), "round {round}");
        if let Some(less) = content.len().checked_sub(1) {
            assert!(inflate(&compressed, less).is_err(), "round {round}");
        }
    }
}

#[test]
fn values_travel_through_both_dialects_unchanged() {
    let mut random = Random::new(4);
    for round in 0..4_000 {
        let mut value = b"SLVG".to_vec();
        value.extend(random.bytes(400));
        let most = value.len();
        for (dialect, body) in
            [(Answers::webdis(), value.clone()), (Answers::upstash(), as_result(&base64(&value)))]
        {
            let read = dialect.value_in(body.clone(), most);
            assert_eq!(read, Ok(Answer::Value(value.clone())), "{} round {round}", dialect.name());
            assert_eq!(dialect.value_in(body, most - 1), Err(DialectError::TooLarge), "round {round}");
        }
        let set = Command::Set { key: "p:v1:0f", value: &value, ttl_seconds: random.next() };
        for dialect in [
            Dialect::Webdis(WebdisOptions::default()),
            Dialect::Upstash(UpstashOptions { token: Some(String::new()) }),
        ] {
            assert!(dialect.call(&set).body == value, "round {round}");
        }
    }
}

#[test]
fn a_response_of_record_version_1_is_readable_for_ever() {
    let bytes = include_bytes!("corpus/record/record-v1.bin").to_vec();
    let Ok(Slot::Response(read)) = decode(bytes, Verify::Whole) else { panic!("not readable") };
    assert_eq!(&*read.key, b"GET\0https\0example.com\0/v1?a=%20\0");
    assert_eq!(read.status, 203);
    assert_eq!(read.terms.bits(), [0b10_1011, 0]);
    let schedule = &read.schedule;
    assert_eq!(schedule.born.as_millis(), 1_700_000_000_123);
    assert_eq!(schedule.received.as_millis(), 1_700_000_001_456);
    assert_eq!(schedule.lifetime, Duration::from_millis(60_001));
    assert_eq!(schedule.while_revalidate, Duration::from_secs(30));
    assert_eq!(schedule.if_error, Duration::from_secs(86_400));
    assert_eq!(schedule.disconnected, Duration::from_secs(600));
    let fields: Vec<_> = read.fields.fields().iter().collect();
    let expected: [(&[u8], &[u8]); 6] = [
        (b"content-type", b"application/octet-stream"),
        (b"etag", b"W/\"v1\""),
        (b"x-twice", b"one"),
        (b"x-twice", b"two"),
        (b"x-empty", b""),
        (b"x-latin", b"caf\xe9"),
    ];
    assert_eq!(fields, expected);
    assert_eq!(read.body.as_slice(), (0..=255).collect::<Vec<u8>>());
}

#[test]
fn an_index_of_record_version_1_is_readable_for_ever() {
    let bytes = include_bytes!("corpus/record/record-v1-index.bin").to_vec();
    let Ok(Slot::Index(read)) = decode(bytes, Verify::Whole) else { panic!("not readable") };
    assert_eq!(&*read.key, b"GET\0https\0example.com\0/v1\0");
    assert_eq!(read.generation, 1_700_000_002_000);
    let variants: Vec<_> = read
        .variants()
        .iter()
        .map(|variant| (variant.names.iter().map(|name| &**name).collect::<Vec<_>>(), variant.hash))
        .collect();
    let languages = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;
    let expected: [(Vec<&[u8]>, u128); 3] = [
        (vec![b"accept-language"], languages),
        (vec![b"accept-language", b"x-device"], u128::MAX),
        (vec![], 0),
    ];
    assert_eq!(variants, expected);
}

#[test]
fn a_response_of_record_version_2_is_readable_for_ever() {
    let [before, bytes] =
        [&include_bytes!("corpus/record/record-v1.bin")[..], include_bytes!("corpus/record/record-v2.bin")];
    let [Ok(Slot::Response(before)), Ok(Slot::Response(read))] =
        [before, bytes].map(|bytes| decode(bytes.to_vec(), Verify::Whole))
    else {
        panic!("not readable")
    };
    assert_eq!(read.generation.as_millis(), 1_700_000_001_234);
    assert_eq!(*read.tags, [0, 0x0123_4567_89ab_cdef, u64::MAX]);
    // All else is as in the other, which was asked for when it was born and may have any tag, as far as anybody knows.
    assert_eq!((before.generation, &*before.tags), (before.schedule.born, &[0][..]));
    let mut same = (*read).clone();
    (same.generation, same.tags) = (before.generation, before.tags.clone());
    assert_eq!(same, *before);
}

#[test]
fn an_index_of_more_than_a_cache_writes_is_refused_before_it_is_read() {
    let index = |variants: u32, names: u32, name: &[u8]| {
        let mut fields = Vec::new();
        for hash in 0..variants {
            fields.extend(u128::from(hash).to_le_bytes());
            fields.extend(names.to_le_bytes());
            for _ in 0..names {
                fields.extend((name.len() as u32).to_le_bytes());
                fields.extend(name);
            }
        }
        let head = format::Head { version: 1, kind: 2, terms: 0, status: 0, count: variants, times: [0; 6] };
        format::write(&head, b"key", &fields, &[])
    };
    assert!(decode(index(1, 1, b"x"), Verify::Whole).is_ok());
    for wrong in
        [index(1, 195_000, b"x"), index(40_000, 1, b"x"), index(1, 1, &[b'x'; 900_000]), index(1, 2, b"x")]
    {
        for verify in [Verify::Whole, Verify::Head] {
            let bytes = wrong.clone();
            let (read, peak) = allocator::peak_of(move || decode(bytes, verify));
            assert_eq!(read.map(|_| ()), Err(RecordError::Forged));
            assert!(peak < 4096, "{peak} bytes for a record of {}", wrong.len());
        }
    }
}

#[test]
fn what_no_secret_has_signed_is_never_opened_whatever_its_checksums_say() {
    let mut random = Random::new(5);
    let (seal, other) = (Seal::new("a-secret-of-the-fleet"), Seal::new("another-secret-of-it"));
    let (seal, other) = (seal.ok().unwrap(), other.ok().unwrap());
    for round in 0..4_000 {
        let record = if round % 3 == 0 { record::index(&mut random) } else { record::response(&mut random) };
        let signed = seal.sign("p:v1:a", &record);
        assert_eq!(seal.open("p:v1:a", signed.clone()).as_deref(), Some(&record[..]));
        for (key, forged) in [("p:v1:b", signed.clone()), ("p:v1:a", other.sign("p:v1:a", &record))] {
            assert_eq!(seal.open(key, forged), None, "round {round}");
        }
        // Another good record behind the hash, and the same one damaged.
        let overhead = signed.len() - record.len();
        let another = record::response(&mut random);
        let swapped = [&signed[..overhead], &another].concat();
        let mut changed = signed.clone();
        mutate(&mut changed, &another, &[], &mut random);
        for forged in [swapped, changed].into_iter().filter(|forged| *forged != signed) {
            let (opened, peak) = allocator::peak_of(move || seal_opens(&forged));
            assert!(!opened && peak < 4096 + 2 * signed.len(), "round {round}");
        }
    }
}

fn seal_opens(signed: &[u8]) -> bool {
    Seal::new("a-secret-of-the-fleet").is_ok_and(|seal| seal.open("p:v1:a", signed.to_vec()).is_some())
}
