use super::*;
use crate::chance::Chance;

/// An event, owned: name, id, data, range, whether it was closed.
type Seen = (Vec<u8>, Vec<u8>, Vec<u8>, Range<usize>, bool);

fn seen(event: &Event<'_>) -> Seen {
    let frame = &event.frame;
    let range = frame.range.start as usize..frame.range.end as usize;
    (frame.name.to_vec(), frame.id.to_vec(), event.data.to_vec(), range, frame.closed)
}

fn scan(chunks: &[&[u8]]) -> Vec<Seen> {
    let mut events = Events::default();
    let mut all = Vec::new();
    for chunk in chunks {
        events.push(chunk, &mut |event| all.push(seen(event)));
    }
    events.finish(&mut |event| all.push(seen(event)));
    assert_eq!(events.skipped(), 0);
    all
}

/// The standard's algorithm, over the whole text at once.
fn reference(stream: &[u8]) -> Vec<Seen> {
    let mut lines: Vec<(usize, &[u8], usize)> = Vec::new();
    let mut at = if stream.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    while at < stream.len() {
        let rest = &stream[at..];
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let length = end.unwrap_or(rest.len());
        let terminator = match end {
            None => 0,
            Some(_) if rest[length..].starts_with(b"\r\n") => 2,
            Some(_) => 1,
        };
        lines.push((at, &rest[..length], at + length + terminator));
        at += length + terminator;
    }
    let (mut name, mut id, mut data) = (Vec::new(), Vec::new(), None::<Vec<u8>>);
    let mut begin = None;
    let mut all = Vec::new();
    let dispatch = |name: &[u8], id: &[u8], data: Option<Vec<u8>>, begin: usize, end: usize, closed| {
        data.map(|data| (name.to_vec(), id.to_vec(), data, begin..end, closed))
    };
    for (at, line, end) in lines {
        if line.is_empty() {
            all.extend(dispatch(&name, &id, data.take(), begin.take().unwrap_or(0), end, true));
            name.clear();
            continue;
        }
        if line[0] == b':' {
            continue;
        }
        begin.get_or_insert(at);
        let colon = line.iter().position(|byte| *byte == b':');
        let field = &line[..colon.unwrap_or(line.len())];
        let value = colon.map_or(&b""[..], |colon| &line[colon + 1..]);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => name = value.to_vec(),
            b"data" => match &mut data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => data = Some(value.to_vec()),
            },
            b"id" if !value.contains(&0) => id = value.to_vec(),
            _ => {}
        }
    }
    all.extend(dispatch(&name, &id, data, begin.unwrap_or(0), stream.len(), false));
    all
}

/// Some stream, made of what streams are made of.
fn stream(chance: &mut Chance) -> Vec<u8> {
    let mut out = Vec::new();
    if chance.one_in(8) {
        out.extend_from_slice(
            [&b"\xef\xbb\xbf"[..], b"\xef\xbb", b"\xef\xbb\xbf\xef\xbb\xbf"][chance.below(3)],
        );
    }
    let all: [&[u8]; 3] = [b"\n", b"\r\n", b"\r"];
    let ends = *chance.of(&[&all[..1], &all[1..2], &all[2..], &all]);
    for _ in 0..chance.below(30) {
        let field = *chance.of(&[
            "data: ",
            "data:",
            "data",
            "data:  ",
            "event: ",
            "event",
            "id: ",
            "id:",
            "id",
            "retry: ",
            ":",
            ": ",
            "",
            "dat: ",
            "datas: ",
            "Data: ",
            " data: ",
            "unknown: ",
            "",
        ]);
        out.extend_from_slice(field.as_bytes());
        if field.ends_with([' ', ':']) {
            let text = chance.text(20).replace(['\r', '\n'], " ");
            out.extend_from_slice(text.as_bytes());
        }
        let end = *chance.of(ends);
        out.extend_from_slice(end);
        if chance.one_in(2) {
            let end = *chance.of(ends);
            out.extend_from_slice(end);
        }
    }
    if chance.one_in(2) {
        out.truncate(out.len().saturating_sub(chance.below(6)));
    }
    out
}

#[test]
fn streams_cut_anywhere_are_read_as_the_standard_reads_them_whole() {
    let mut chance = Chance::new(21);
    let mut events = 0;
    for _ in 0..10_000 {
        let stream = stream(&mut chance);
        let wanted = reference(&stream);
        let chunks = chance.cuts(&stream);
        assert_eq!(scan(&chunks), wanted, "{:?}", String::from_utf8_lossy(&stream));
        events += wanted.len();
    }
    assert!(events > 20_000, "{events}");
}

#[test]
fn every_cut_of_one_stream_gives_the_same() {
    let stream = b"\xef\xbb\xbfid: 1\r\nevent: e\r\ndata: a\r\ndata: b\r\n\r\n:c\n\ndata:x\r\rdata: last";
    let wanted = reference(stream);
    assert_eq!(wanted.len(), 3);
    for first in 0..=stream.len() {
        for second in first..=stream.len() {
            let chunks = [&stream[..first], &stream[first..second], &stream[second..]];
            assert_eq!(scan(&chunks), wanted, "{first} {second}");
        }
    }
}

#[test]
fn an_event_that_is_too_long_is_counted_and_those_around_it_are_read() {
    let stream = format!("data: a\n\ndata: {}\ndata: more\n\ndata: b\n\n", "x".repeat(100));
    for size in [1, 7, 1000] {
        let mut events = Events::new(100);
        let mut all = Vec::new();
        for chunk in stream.as_bytes().chunks(size) {
            events.push(chunk, &mut |event| all.push(event.data.to_vec()));
        }
        assert_eq!(all, [b"a", b"b"]);
        assert_eq!(events.skipped(), 1);
    }
    let stream = format!(
        "event: {}\ndata: a\n\nid: {}\ndata: b\n\nid:\ndata: c\n\n",
        "x".repeat(1000),
        "y".repeat(1000)
    );
    let mut events = Events::default();
    let mut all = Vec::new();
    events.push(stream.as_bytes(), &mut |event| all.push(event.data.to_vec()));
    assert_eq!((all, events.skipped()), (vec![b"c".to_vec()], 2));
}

#[test]
fn what_the_fields_say_is_told() {
    let mut events = Events::default();
    let mut all = Vec::new();
    events.push(
        b"retry: 1500\nid: 7\ndata\n\ndata: b\nretry: 1x\n\nid: bad\0\ndata: c\n\nid\ndata: d\n\n",
        &mut |event| {
            all.push((event.frame.id.to_vec(), event.frame.has_id, event.frame.retry, event.data.to_vec()))
        },
    );
    assert_eq!(
        all,
        [
            (b"7".to_vec(), true, Some(1500), b"".to_vec()),
            (b"7".to_vec(), false, None, b"b".to_vec()),
            (b"7".to_vec(), false, None, b"c".to_vec()),
            (b"".to_vec(), true, None, b"d".to_vec()),
        ]
    );
}

#[test]
fn an_event_is_told_with_the_chunk_that_ends_it() {
    let mut events = Events::default();
    let mut count = 0;
    events.push(b"data: a\n\n", &mut |_| count += 1);
    assert_eq!(count, 1);
    let mut count = 0;
    events.push(b"data: a\r\n\r\n", &mut |_| count += 1);
    assert_eq!(count, 1);
}

#[test]
fn a_replay_begins_behind_the_event_that_was_seen_last() {
    let stream = b"id: 1\ndata: a\n\nid: 2\ndata: b\n\ndata: b2\n\n: ping\n\nid: 3\ndata: c\n\n";
    let from =
        |id: &[u8]| replay_from(stream, id).map(|from| String::from_utf8_lossy(&stream[from..]).into_owned());
    assert_eq!(from(b"2").as_deref(), Some("data: b2\n\n: ping\n\nid: 3\ndata: c\n\n"));
    assert_eq!(from(b"3").as_deref(), Some(""));
    assert_eq!(from(b"4"), None);
    assert_eq!(from(b""), None);
}
