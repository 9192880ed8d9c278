//! An ordered header map that keeps repeated lines apart.

/// Headers in order, names in lower case, values as bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    lines: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Headers {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same map with one more line at the end.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.add(name, value);
        self
    }

    /// Adds a line at the end.
    pub fn add(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.push_raw(name.as_bytes().to_vec(), value.as_ref().to_vec());
    }

    /// Replaces all lines of that name by one.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        match self.lines.iter().position(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes())) {
            Some(first) => {
                self.lines[first].1 = value.as_ref().to_vec();
                let mut index = 0;
                self.lines.retain(|(known, _)| {
                    index += 1;
                    index - 1 <= first || !known.eq_ignore_ascii_case(name.as_bytes())
                });
            }
            None => self.add(name, value),
        }
    }

    /// Removes all lines of that name.
    pub fn remove(&mut self, name: &str) {
        self.lines.retain(|(known, _)| !known.eq_ignore_ascii_case(name.as_bytes()));
    }

    /// The first value of that name as text; `None` if there is no such line.
    pub fn get(&self, name: &str) -> Option<String> {
        self.get_raw(name.as_bytes()).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// All values of that name, in order.
    pub fn all(&self, name: &str) -> Vec<String> {
        let wanted = self.lines.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
        wanted.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    /// Whether a line of that name is there.
    pub fn contains(&self, name: &str) -> bool {
        self.get_raw(name.as_bytes()).is_some()
    }

    /// Number of lines.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is no line at all.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The lines as text, for printing and comparing.
    pub fn lines(&self) -> Vec<(String, String)> {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        self.lines.iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    pub(crate) fn raw(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    pub(crate) fn get_raw(&self, name: &[u8]) -> Option<&[u8]> {
        self.lines
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }

    pub(crate) fn push_raw(&mut self, name: Vec<u8>, value: Vec<u8>) {
        self.lines.push((name.to_ascii_lowercase(), value));
    }

    /// The `:status` as a number; 0 if it is missing or not a number.
    pub(crate) fn status(&self) -> u16 {
        self.get(":status").and_then(|status| status.parse().ok()).unwrap_or(0)
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Headers {
    fn from(lines: [(&str, &str); N]) -> Self {
        lines.into_iter().fold(Self::new(), |map, (name, value)| map.with(name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_leaves_one_line_where_the_first_was() {
        let mut headers = Headers::from([("a", "1"), ("b", "2"), ("A", "3")]);
        headers.set("a", "4");
        assert_eq!(headers, Headers::from([("a", "4"), ("b", "2")]));
    }
}
