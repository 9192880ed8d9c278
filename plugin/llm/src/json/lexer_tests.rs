use super::*;
use crate::chance::{Chance, json};

fn check(body: &[u8]) -> Result<(), Ambiguous> {
    let mut lexer = Lexer::default();
    lexer.push(body, &mut ())?;
    lexer.finish(&mut ())
}

/// All that is told of a body, pieces joined.
#[derive(Default, Debug, PartialEq)]
struct Told(Vec<(String, u64)>);

impl Sink for Told {
    fn take(&mut self, token: Token<'_>, at: u64) -> Result<(), Ambiguous> {
        match token {
            Token::Piece(_, piece) => {
                let piece = std::str::from_utf8(piece).unwrap();
                self.0.last_mut().unwrap().0.push_str(piece);
            }
            token => self.0.push((format!("{token:?} "), at)),
        }
        Ok(())
    }
}

#[test]
fn what_is_no_json_is_refused_with_a_reason() {
    use Ambiguous::{Cut, Depth, Surrogate, Syntax, Trailing, Utf8};
    for (body, why) in [
        (&b""[..], Cut),
        (b" ", Cut),
        (b"{", Cut),
        (b"[1", Cut),
        (b"\"a", Cut),
        (b"-", Cut),
        (b"1.", Cut),
        (b"1e", Cut),
        (b"tru", Cut),
        (b"01", Syntax),
        (b"+1", Syntax),
        (b".5", Syntax),
        (b"[1.]", Syntax),
        (b"[-]", Syntax),
        (b"[1,]", Syntax),
        (b"[,1]", Syntax),
        (b"[1 2]", Syntax),
        (b"{,}", Syntax),
        (b"{\"a\"}", Syntax),
        (b"{\"a\":}", Syntax),
        (b"{\"a\":1,}", Syntax),
        (b"{a:1}", Syntax),
        (b"{'a':1}", Syntax),
        (b"{\"a\":1]", Syntax),
        (b"[1}", Syntax),
        (b"]", Syntax),
        (b"True", Syntax),
        (b"nul1", Syntax),
        (b"NaN", Syntax),
        (b"[Infinity]", Syntax),
        (b"\"\n\"", Syntax),
        (b"\"\\x\"", Syntax),
        (b"\"\\u12g4\"", Syntax),
        (b"/* */1", Syntax),
        (b"\xef\xbb\xbf1", Syntax),
        (b"1 2", Trailing),
        (b"{}{}", Trailing),
        (b"{} x", Trailing),
        (b"\"\xff\"", Utf8),
        (b"\"\xc3\"", Utf8),
        (b"\"\xc0\x80\"", Utf8),
        (b"\"\xed\xa0\x80\"", Utf8),
        (b"\"\xf0\x9f\x98\"", Utf8),
        (b"\"\\ud83d\"", Surrogate),
        (b"\"\\ud83dx\"", Surrogate),
        (b"\"\\ud83d\\n\"", Surrogate),
        (b"\"\\ud83d\\u0041\"", Surrogate),
        (b"\"\\ude00\"", Surrogate),
        (&[b'['; 65], Depth),
    ] {
        let text = String::from_utf8_lossy(body);
        // "01" is a number that has ended and something after it.
        let wanted = if body == b"01" { Trailing } else { why };
        assert_eq!(check(body), Err(wanted), "{text}");
    }
    let deep = ["[".repeat(64), "]".repeat(64)].concat();
    assert_eq!(check(deep.as_bytes()), Ok(()));
}

#[test]
fn a_body_that_was_refused_stays_refused() {
    let mut lexer = Lexer::default();
    assert_eq!(lexer.push(b"[x", &mut ()), Err(Ambiguous::Syntax));
    assert_eq!(lexer.push(b"1]", &mut ()), Err(Ambiguous::Syntax));
    assert_eq!(lexer.finish(&mut ()), Err(Ambiguous::Syntax));
}

#[test]
fn escapes_are_undone_and_positions_told() {
    let mut told = Told::default();
    let mut lexer = Lexer::default();
    let body = "{\"\\u00e4\" : \"a\\n\\ud83d\\ude00\u{20ac}\", \"b\":[-1.5e3,true]}";
    lexer.push(body.as_bytes(), &mut told).unwrap();
    lexer.finish(&mut told).unwrap();
    let told: Vec<_> = told.0.iter().map(|(text, at)| (text.as_str(), *at)).collect();
    assert_eq!(
        told,
        [
            ("Begin(Object) ", 0),
            ("Begin(Name) ä", 1),
            ("End(Name) ", 9),
            ("Begin(Text) a\n😀€", 12),
            ("End(Text) ", 32),
            ("Begin(Name) b", 34),
            ("End(Name) ", 37),
            ("Begin(Array) ", 38),
            ("Begin(Number) -1.5e3", 39),
            ("End(Number) ", 45),
            ("Begin(True) ", 46),
            ("End(True) ", 50),
            ("End(Array) ", 51),
            ("End(Object) ", 52),
        ]
    );
}

#[test]
fn bodies_cut_anywhere_say_the_same() {
    let mut chance = Chance::new(7);
    for _ in 0..2_000 {
        let body = json(&mut chance, 4);
        let mut whole = Told::default();
        let mut lexer = Lexer::default();
        lexer.push(&body, &mut whole).unwrap();
        lexer.finish(&mut whole).unwrap();
        let mut cut = Told::default();
        let mut lexer = Lexer::default();
        for chunk in chance.cuts(&body) {
            assert_eq!(
                lexer.push(chunk, &mut cut),
                Ok(()),
                "{:?} in {:?}",
                String::from_utf8_lossy(chunk),
                String::from_utf8_lossy(&body)
            );
        }
        lexer.finish(&mut cut).unwrap();
        assert_eq!(cut, whole);
    }
}

#[test]
fn a_changed_body_is_judged_as_serde_judges_it() {
    let mut chance = Chance::new(8);
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut body = json(&mut chance, 3);
        for _ in 0..chance.below(3) {
            let place = chance.below(body.len());
            body[place] = *chance.of(b"{}[]\",:\\u0019eE+-.tfn \n\xff\xc3\xa4\xd8");
        }
        let wanted = serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
        // serde does not look into the strings that it ignores.
        let strings = serde_json::from_slice::<serde_json::Value>(&body);
        let out_of_range = strings.as_ref().is_err_and(|error| error.to_string().contains("out of range"));
        let got = check(&body);
        if out_of_range {
            continue;
        }
        assert_eq!(got.is_ok(), wanted && strings.is_ok(), "{got:?} {}", String::from_utf8_lossy(&body));
        refused += usize::from(got.is_err());
    }
    assert!(refused > 3_000, "{refused}");
}
