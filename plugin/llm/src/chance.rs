//! Chance for tests: the same for the same seed.

/// A sequence of splitmix64.
pub struct Chance(u64);

impl Chance {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `bound`, or 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.number() % bound.max(1) as u64) as usize
    }

    /// True once in so many times.
    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// One of several, of which there is at least one.
    pub fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// From 0 to just under 1.
    pub fn fraction(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Normal, by the sum of twelve.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.fraction()).sum::<f64>() - 6.0
    }

    /// The bytes in chunks, of which some are empty.
    pub fn cuts<'a>(&mut self, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let longest = *self.of(&[1, 2, 3, 7, 20, 100, 1_000, 100_000]);
        let mut chunks = Vec::new();
        while !bytes.is_empty() {
            let (chunk, rest) = bytes.split_at(self.below(longest + 1).min(bytes.len()));
            chunks.push(chunk);
            bytes = rest;
        }
        chunks
    }

    /// Puts them into any order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// A string with all that strings can have.
    pub fn text(&mut self, longest: usize) -> String {
        let length = self.below(longest + 1);
        (0..length)
            .map(|_| match self.below(12) {
                0 => *self.of(&['"', '\\', '/', '\n', '\r', '\t', '\u{8}', '\u{c}', '\u{1f}', '\0']),
                1 => *self.of(&['ä', 'é', 'ß', '\u{7ff}']),
                2 => *self.of(&['€', '\u{2028}', '\u{ffff}', '\u{feff}']),
                3 => *self.of(&['😀', '\u{10ffff}', '\u{10000}']),
                _ => char::from(b'a' + self.below(26) as u8),
            })
            .collect()
    }

    /// A value of JSON, nested `depth` times at most.
    pub fn value(&mut self, depth: usize) -> serde_json::Value {
        use serde_json::Value;
        match self.below(if depth == 0 { 6 } else { 10 }) {
            0 => Value::Null,
            1 => Value::Bool(self.one_in(2)),
            2 => Value::from(self.number() >> self.below(64)),
            3 => Value::from((self.fraction() - 0.5) * 10_f64.powi(self.below(60) as i32 - 30)),
            4 | 5 => {
                let longest = *self.of(&[0, 3, 10, 60]);
                Value::from(self.text(longest))
            }
            6 | 7 => (0..self.below(5)).map(|_| self.value(depth - 1)).collect(),
            _ => (0..self.below(6)).map(|_| (self.text(5), self.value(depth - 1))).collect(),
        }
    }

    /// Writes a value in one of its many spellings: members in any order, any white space, any escapes, any form of a number.
    pub fn spell(&mut self, value: &serde_json::Value, out: &mut Vec<u8>) {
        use serde_json::Value;
        self.space(out);
        match value {
            Value::Null | Value::Bool(_) => out.extend_from_slice(value.to_string().as_bytes()),
            Value::Number(number) => self.spell_number(&number.to_string(), out),
            Value::String(text) => self.spell_text(text, out),
            Value::Array(items) => {
                out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    self.spell(item, out);
                }
                self.space(out);
                out.push(b']');
            }
            Value::Object(members) => {
                out.push(b'{');
                let mut members: Vec<_> = members.iter().collect();
                self.shuffle(&mut members);
                for (index, (name, member)) in members.into_iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    self.space(out);
                    self.spell_text(name, out);
                    self.space(out);
                    out.push(b':');
                    self.spell(member, out);
                }
                self.space(out);
                out.push(b'}');
            }
        }
        self.space(out);
    }

    fn space(&mut self, out: &mut Vec<u8>) {
        if self.one_in(4) {
            for _ in 0..self.below(3) {
                out.push(*self.of(b" \t\n\r"));
            }
        }
    }

    fn spell_number(&mut self, plain: &str, out: &mut Vec<u8>) {
        if plain.contains(['e', 'E']) || self.one_in(2) {
            out.extend_from_slice(plain.as_bytes());
        } else if plain.contains('.') {
            out.extend_from_slice(plain.as_bytes());
            out.extend_from_slice([&b"0"[..], b"00e0", b"E+00", b"e-0"][self.below(4)]);
        } else {
            out.extend_from_slice(plain.as_bytes());
            let forms = if plain == "0" { 2 } else { 4 };
            out.extend_from_slice([&b".0"[..], b"e0", b"0e-1", b"00E-02"][self.below(forms)]);
        }
    }

    fn spell_text(&mut self, text: &str, out: &mut Vec<u8>) {
        out.push(b'"');
        for character in text.chars() {
            let must = matches!(character, '"' | '\\' | '\0'..' ');
            if must || self.one_in(8) {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let upper = self.one_in(2);
                    let unit = if upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") };
                    out.extend_from_slice(unit.as_bytes());
                }
            } else {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        out.push(b'"');
    }
}

/// Some body in some spelling.
pub fn json(chance: &mut Chance, depth: usize) -> Vec<u8> {
    let value = chance.value(depth);
    let mut out = Vec::new();
    chance.spell(&value, &mut out);
    out
}
