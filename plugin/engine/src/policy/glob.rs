//! Patterns in which `*` stands for any run of bytes, and nothing else is special.

/// A compiled pattern. Matching takes time linear in the text, whatever the pattern: the text is the client's.
#[derive(Debug, Clone)]
pub(super) struct Glob {
    /// What the text begins with.
    first: Box<[u8]>,
    /// What follows, each after any run of bytes. `None`: the pattern has no `*`, the text is `first` and no more.
    rest: Option<Rest>,
}

#[derive(Debug, Clone)]
struct Rest {
    middle: Box<[Needle]>,
    /// What the text ends with.
    last: Box<[u8]>,
}

impl Glob {
    pub(super) fn new(pattern: &[u8]) -> Self {
        let mut pieces = pattern.split(|byte| *byte == b'*');
        let first = pieces.next().unwrap_or_default().into();
        let mut middle: Vec<&[u8]> = pieces.collect();
        let rest = middle.pop().map(|last| Rest {
            middle: middle.into_iter().filter(|piece| !piece.is_empty()).map(Needle::new).collect(),
            last: last.into(),
        });
        Glob { first, rest }
    }

    /// Whether the pattern stands for the whole text.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let Some(rest) = &self.rest else { return *text == *self.first };
        let Some(text) = text.strip_prefix(&*self.first) else { return false };
        let Some(text) = text.strip_suffix(&*rest.last) else { return false };
        // The earliest place for each piece leaves the most room for the next, so no step is ever taken back.
        let mut left = text;
        rest.middle.iter().all(|needle| match needle.after(left) {
            Some(after) => {
                left = after;
                true
            }
            None => false,
        })
    }
}

/// A text to be found, by Knuth, Morris and Pratt.
#[derive(Debug, Clone)]
struct Needle {
    /// Each byte with the number of bytes that still match when it does not.
    steps: Box<[(u8, usize)]>,
}

impl Needle {
    fn new(bytes: &[u8]) -> Self {
        let mut steps: Vec<(u8, usize)> = Vec::with_capacity(bytes.len());
        let mut matched = 0;
        for (index, byte) in bytes.iter().enumerate() {
            steps.push((*byte, matched));
            if index > 0 {
                matched = advance(&steps, matched, *byte);
            }
        }
        Needle { steps: steps.into() }
    }

    /// What follows the first occurrence.
    fn after<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        let mut matched = 0;
        for (index, byte) in text.iter().enumerate() {
            matched = advance(&self.steps, matched, *byte);
            if matched == self.steps.len() {
                return text.get(index + 1..);
            }
        }
        None
    }
}

/// How many bytes match once `byte` has been read, when `matched` did before.
fn advance(steps: &[(u8, usize)], mut matched: usize, byte: u8) -> usize {
    loop {
        match steps.get(matched) {
            Some((wanted, _)) if *wanted == byte => return matched + 1,
            Some((_, shorter)) if matched > 0 => matched = *shorter,
            _ => return 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_of_bytes() {
        for (pattern, yes, no) in [
            ("/exact", &["/exact"][..], &["/exact/", "/exac", "", "/Exact"][..]),
            ("/api/*", &["/api/", "/api/a/b"], &["/api", "/apis/"]),
            ("*.css", &["/a.css", ".css"], &["/a.css/", "/acss", ""]),
            ("*", &["", "/", "/anything"], &[]),
            ("/a*b", &["/ab", "/axb", "/abb"], &["/a", "/ba", "/abx"]),
            ("/a*a", &["/aa", "/a/a"], &["/a"]),
            ("/*/x/*", &["/a/x/", "/a/b/x/y", "//x/"], &["/x/", "/a/x"]),
            ("*aab*", &["aaab", "aab", "aaaaabaa"], &["aaa", "aba"]),
            ("*abab*abc", &["ababababc", "ababxabc"], &["ababc"]),
            ("/a**b", &["/ab", "/axb"], &["/a"]),
            ("/?", &["/?"], &["/a"]),
        ] {
            let glob = Glob::new(pattern.as_bytes());
            yes.iter().for_each(|text| assert!(glob.matches(text.as_bytes()), "{pattern} {text}"));
            no.iter().for_each(|text| assert!(!glob.matches(text.as_bytes()), "{pattern} {text}"));
        }
    }

    #[test]
    fn it_agrees_with_the_plain_definition_on_all_short_texts() {
        let words = |letters: &[u8], most: usize| {
            let mut all = vec![Vec::new()];
            let mut begin = 0;
            for _ in 0..most {
                let end = all.len();
                for index in begin..end {
                    for letter in letters {
                        let mut longer = all[index].clone();
                        longer.push(*letter);
                        all.push(longer);
                    }
                }
                begin = end;
            }
            all
        };
        let texts = words(b"ab", 6);
        for pattern in words(b"ab*", 5) {
            let glob = Glob::new(&pattern);
            for text in &texts {
                assert_eq!(glob.matches(text), plainly(&pattern, text), "{pattern:?} {text:?}");
            }
        }
    }

    fn plainly(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', rest @ ..] => (0..=text.len()).any(|skip| plainly(rest, &text[skip..])),
            [byte, rest @ ..] => text.first() == Some(byte) && plainly(rest, &text[1..]),
        }
    }

    #[test]
    fn a_hostile_path_costs_no_more_than_a_few_steps_a_byte() {
        let glob = Glob::new(format!("/*{}b*{}c*x", "a".repeat(300), "a".repeat(300)).as_bytes());
        let path = format!("/{}x", "a".repeat(1 << 20));
        // Quadratic matching would take minutes here.
        assert!(!glob.matches(path.as_bytes()));
    }
}
