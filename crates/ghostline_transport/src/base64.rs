//! Bytes as text: base64 for PEM, and its form for addresses (RFC 4648, sections 4 and 5).
//! Used for certificate hashes in join strings and for identity files.

#[cfg(feature = "quic")]
const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Without padding, with `-` and `_`: safe in addresses and on command lines.
pub(crate) fn encode_url(bytes: &[u8]) -> String {
    encode(bytes, URL, false)
}

/// With padding, with `+` and `/`: what PEM holds.
#[cfg(feature = "quic")]
pub(crate) fn encode_standard(bytes: &[u8]) -> String {
    encode(bytes, STANDARD, true)
}

fn encode(bytes: &[u8], alphabet: &[u8; 64], pads: bool) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0_u8; 3];
        for (to, from) in group.iter_mut().zip(chunk) {
            *to = *from;
        }
        let [first, second, third] = group;
        let sixes = [first >> 2, (first & 3) << 4 | second >> 4, (second & 15) << 2 | third >> 6, third & 63];
        for (place, six) in sixes.into_iter().enumerate() {
            if place <= chunk.len() {
                let letter = alphabet.get(usize::from(six)).copied().unwrap_or(b'=');
                text.push(char::from(letter));
            } else if pads {
                text.push('=');
            }
        }
    }
    text
}

/// Reads exactly `N` bytes in the form of [`encode_url`]; `None` for any other text.
pub(crate) fn decode_url<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0_u8; N];
    if text.len() != N.saturating_mul(4).div_ceil(3) {
        return None;
    }
    let (mut bits, mut count, mut slots) = (0_u32, 0_u32, bytes.iter_mut());
    for letter in text.bytes() {
        let six = URL.iter().position(|known| *known == letter)?;
        bits = bits << 6 | u32::try_from(six).ok()?;
        count = count.saturating_add(6);
        if count >= 8 {
            count = count.saturating_sub(8);
            *slots.next()? = u8::try_from(bits >> count & 0xFF).ok()?;
            bits &= (1_u32 << count).saturating_sub(1);
        }
    }
    // Bits left over must be zero, so that each value has one text.
    (bits == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_published_examples_come_out() {
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")];
        for (text, encoded) in cases {
            assert_eq!(encode_standard(text.as_bytes()), encoded);
            assert_eq!(encode_url(text.as_bytes()), encoded.trim_end_matches('='));
        }
        assert_eq!(encode_url(&[0xFB, 0xFF]), "-_8");
    }

    #[test]
    fn only_the_one_text_of_a_value_is_read() {
        assert_eq!(decode_url::<2>("-_8"), Some([0xFB, 0xFF]));
        for other in ["-_9", "-_8=", "-_", "-_8A", "+/8", "", "-\u{00DF}8"] {
            assert_eq!(decode_url::<2>(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes in any::<[u8; 32]>()) {
            prop_assert_eq!(decode_url(&encode_url(&bytes)), Some(bytes));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
            let _ = decode_url::<32>(&text);
        }
    }
}
