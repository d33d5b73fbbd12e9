//! Base64 (RFC 4648, section 4).

use ::base64::Engine as _;
use ::base64::engine::general_purpose::STANDARD;
use ::base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Encodes with padding.
///
/// ```
/// assert_eq!(overlapped_proto::base64::encode(b"user:password"), "dXNlcjpwYXNzd29yZA==");
/// ```
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Appends the encoding with padding.
pub(crate) fn push(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let room = out.get_mut(start..).expect("the room was made above");
    let written = STANDARD.encode_slice(bytes, room);
    debug_assert_eq!(written, Ok(out.len() - start), "four characters for each three bytes begun");
}

/// Decodes; padding may be missing.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &::base64::alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    LENIENT.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_decodes_back(bytes: Vec<u8>) {
            let mut out = Vec::new();
            push(&bytes, &mut out);
            let text = String::from_utf8(out).unwrap();
            prop_assert_eq!(&encode(&bytes), &text);
            prop_assert_eq!(decode(text.trim_end_matches('=')), Some(bytes.clone()));
            prop_assert_eq!(decode(&text), Some(bytes));
        }
    }
}
