//! The fixed set of shared-data keys.

/// Builds key names in one buffer: after the first few names nothing is allocated.
///
/// Names stay within 22 bytes, which the host's string type keeps without an allocation of its own.
#[derive(Debug, Default)]
pub struct Names {
    buffer: String,
}

/// The account of bytes.
pub const ACCOUNT: &str = "sv1/a";
/// How much the store may hold.
pub const BUDGET: &str = "sv1/n";
/// What tells this Envoy from others.
pub const INSTANCE: &str = "sv1/i";
/// The ring of changes.
pub const CHANGES: &str = "sv1/c";

impl Names {
    /// The key of a bucket's index.
    pub fn bucket(&mut self, bucket: u32) -> &str {
        self.buffer.clear();
        self.buffer.push_str("sv1/b/");
        self.push_number(bucket);
        &self.buffer
    }

    /// The key of one way's data.
    pub fn data(&mut self, bucket: u32, way: usize) -> &str {
        self.buffer.clear();
        self.buffer.push_str("sv1/d/");
        self.push_number(bucket);
        self.buffer.push('/');
        self.push_number(way as u32);
        &self.buffer
    }

    /// The key of one place for a lease.
    pub fn lease(&mut self, place: u32) -> &str {
        self.buffer.clear();
        self.buffer.push_str("sv1/l/");
        self.push_number(place);
        &self.buffer
    }

    fn push_number(&mut self, number: u32) {
        let mut power = 1u32;
        while number / power >= 10 {
            power = power.saturating_mul(10);
        }
        while power > 0 {
            self.buffer.push(char::from(b'0'.saturating_add((number / power % 10) as u8)));
            power /= 10;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decimal_and_short() {
        let mut names = Names::default();
        assert_eq!(names.bucket(0), "sv1/b/0");
        assert_eq!(names.bucket(1020), "sv1/b/1020");
        assert_eq!(names.data(4_294_967_295, 7), "sv1/d/4294967295/7");
    }
}
