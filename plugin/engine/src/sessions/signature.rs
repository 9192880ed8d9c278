//! Signatures of cookies as express-session writes them: HMAC-SHA256 (RFC 2104) in base64 without its padding.

use sha2::{Digest, Sha256};

/// The secrets of an application, any of which verifies. Not `Debug`.
#[derive(Clone, Default)]
pub struct Secrets {
    /// The two halves of each HMAC, with the secret in them already.
    keys: Vec<(Sha256, Sha256)>,
}

impl Secrets {
    /// Of secrets of 8 to 1024 bytes each.
    ///
    /// # Errors
    /// In words what is wrong with one of them, and nothing of what it is.
    pub fn new<'s>(secrets: impl Iterator<Item = &'s str>) -> Result<Self, &'static str> {
        let mut keys = Vec::new();
        for secret in secrets {
            match secret.len() {
                ..SHORTEST => return Err("too short"),
                SHORTEST..=LONGEST => keys.push(halves(secret.as_bytes())),
                _ => return Err("too long"),
            }
        }
        Ok(Self { keys })
    }

    /// Whether one of the secrets has signed this text so. Takes as long wherever the difference is.
    pub fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        self.keys.iter().fold(false, |verified, (inner, outer)| {
            let inner = inner.clone().chain_update(text).finalize();
            let mac = outer.clone().chain_update(inner).finalize();
            let mut wrong = u8::from(signature.len() != LENGTH);
            for (digit, given) in digits(&mac).zip(signature.iter().chain(std::iter::repeat(&0))) {
                wrong |= digit ^ given;
            }
            verified | (wrong == 0)
        })
    }
}

fn halves(secret: &[u8]) -> (Sha256, Sha256) {
    let mut block = [0; BLOCK];
    let hashed;
    let secret = if secret.len() > BLOCK {
        hashed = Sha256::digest(secret);
        hashed.as_slice()
    } else {
        secret
    };
    for (place, byte) in block.iter_mut().zip(secret) {
        *place = *byte;
    }
    let with = |pad: u8| Sha256::new().chain_update(block.map(|byte| byte ^ pad));
    (with(0x36), with(0x5c))
}

/// Bytes in base64 (RFC 4648 §4), as far as they say something.
fn digits(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let length = bytes.len().saturating_mul(4).div_ceil(3);
    (0..length).map(move |nth| {
        let first = nth * 6 / 8;
        let at = |nth: usize| u32::from(bytes.get(nth).copied().unwrap_or_default());
        let word = at(first) << 8 | at(first + 1);
        let digit = word >> (10 - nth * 6 % 8) & 63;
        ALPHABET.get(digit as usize).copied().unwrap_or_default()
    })
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Digits of a signature.
const LENGTH: usize = 43;
/// Bytes of a block of SHA-256.
const BLOCK: usize = 64;
/// Shortest secret, in bytes.
pub const SHORTEST: usize = 8;
/// Longest secret, in bytes.
pub const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// By `crypto.createHmac('sha256', SECRET).update(TEXT).digest('base64')` without its padding.
    #[test]
    fn signatures_are_those_of_the_middleware() {
        let long = "k".repeat(100);
        let secrets = Secrets::new(["keyboard cat", long.as_str()].into_iter()).unwrap_or_default();
        for (text, signature) in SIGNED {
            assert!(secrets.verify(text.as_bytes(), signature.as_bytes()), "{text}");
            assert!(!secrets.verify(b"other", signature.as_bytes()), "{text}");
            for wrong in [
                "",
                &signature[1..],
                &signature[..42],
                &format!("{signature}="),
                &signature.to_ascii_lowercase(),
            ] {
                assert!(!secrets.verify(text.as_bytes(), wrong.as_bytes()), "{wrong}");
            }
        }
        let none = Secrets::default();
        assert!(SIGNED.iter().all(|(text, signature)| !none.verify(text.as_bytes(), signature.as_bytes())));
    }

    #[test]
    fn secrets_have_a_length() {
        assert!(Secrets::new(["1234567"].into_iter()).is_err());
        assert!(Secrets::new(["12345678"].into_iter()).is_ok());
        assert!(Secrets::new(["x".repeat(1025).as_str()].into_iter()).is_err());
    }

    const SIGNED: [(&str, &str); 3] = [
        ("abc", "BpxCrWRpvZMh/wk/djl34N+m+VQEU7K/5WenLwJCgFU"),
        ("nBpLGVRjEFrmQlNA9t-5Y9iWXTFlz3tN", "a/tvP4hu1lYVkwYsunbCzBvGbA/8y3GuYYfBM5MZTo8"),
        ("grün", "KR4afKCxRYRn9/ho6HmYkiYNyqnZ5m3KwmEMe17tWBU"),
    ];
}
