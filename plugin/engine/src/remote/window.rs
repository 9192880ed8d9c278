//! How many writes may be under way at once. All at once that had to wait while the store was away would make it slow again, and
//! the breaker would leave it alone again: so the number is halved by each write that fails or is slow, and grows by one with
//! each round of writes that do well (as TCP does it, RFC 5681 §3.1).

/// What one plugin of one worker may have under way.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    most: f32,
    size: f32,
}

impl Window {
    /// As wide as it gets: `most` calls, one at least.
    pub fn new(most: usize) -> Self {
        let most = most.clamp(1, 1 << 16) as f32;
        Self { most, size: most }
    }

    /// Whether one more may be sent beside so many.
    pub fn admits(&self, under_way: usize) -> bool {
        (under_way as f32) < self.size
    }

    /// A write was answered, well and in time or not.
    pub fn note(&mut self, well: bool) {
        self.size =
            if well { (self.size + 1.0 / self.size).min(self.most) } else { (self.size / 2.0).max(1.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(window: &Window) -> usize {
        (0..).take_while(|under_way| window.admits(*under_way)).count()
    }

    #[test]
    fn it_is_as_wide_as_it_gets_until_a_write_fails() {
        let mut window = Window::new(32);
        (0..100).for_each(|_| window.note(true));
        assert_eq!(open(&window), 32);
        window.note(false);
        assert_eq!(open(&window), 16);
        (0..100).for_each(|_| window.note(false));
        assert_eq!(open(&window), 1, "one finds out when it is well again");
        (0..1000).for_each(|_| window.note(true));
        assert_eq!(open(&window), 32);
        assert_eq!(open(&Window::new(0)), 1);
    }
}
