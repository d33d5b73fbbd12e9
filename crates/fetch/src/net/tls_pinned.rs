//! A self-signed certificate that the caller trusts by itself: it has no issuer to be verified by, and may call itself an
//! authority, as those of `openssl req -x509` do. It is trusted for its names and its time.

use overlapped_proto::calendar::days_since_1970;
use rustls::CertificateError;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::EndEntityCert;

/// # Errors
///
/// The certificate is not for this name or not for this time.
pub(super) fn verify(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), CertificateError> {
    let (from, until) = validity(certificate).ok_or(CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < from {
        return Err(CertificateError::NotValidYet);
    }
    if now > until {
        return Err(CertificateError::Expired);
    }
    let certificate = EndEntityCert::try_from(certificate).map_err(|_| CertificateError::BadEncoding)?;
    certificate.verify_is_valid_for_subject_name(name).map_err(|_| CertificateError::NotValidForName)
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The first and the last second of a certificate (RFC 5280, section 4.1.2.5), since 1970.
fn validity(mut certificate: &[u8]) -> Option<(i64, i64)> {
    let mut whole = element(&mut certificate, SEQUENCE)?;
    let mut signed = element(&mut whole, SEQUENCE)?;
    if signed.first() == Some(&VERSION) {
        element(&mut signed, VERSION)?;
    }
    // The serial number, the algorithm, the issuer.
    for _ in 0..3 {
        any(&mut signed)?;
    }
    let mut times = element(&mut signed, SEQUENCE)?;
    Some((time(&mut times)?, time(&mut times)?))
}

fn time(input: &mut &[u8]) -> Option<i64> {
    let (tag, text) = any(input)?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i64 = year.parse().ok()?;
            (if year < 50 { year + 2000 } else { year + 1900 }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let two = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let days = days_since_1970(year, two(0)?, two(2)?);
    (rest.len() == 10).then_some(())?;
    Some(days * 86_400 + two(4)? * 3_600 + two(6)? * 60 + two(8)?)
}

fn element<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    any(input).filter(|(found, _)| *found == tag).map(|(_, content)| content)
}

/// The tag and the content of the next element (X.690, section 8.1).
fn any<'a>(input: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *input = rest;
    Some((tag, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let check = |tag: u8, text: &str, expected| {
            let element = [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
            assert_eq!(time(&mut &element[..]), expected, "{text}");
        };
        check(UTC_TIME, "700101000000Z", Some(0));
        check(UTC_TIME, "491231235959Z", Some(2_524_607_999));
        check(UTC_TIME, "500101000000Z", Some(-631_152_000));
        check(GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000));
        check(GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799));
        for text in ["700101000000", "7001010000Z", "70010100000000Z", "x", "", "\u{e4}"] {
            check(UTC_TIME, text, None);
        }
        check(0x16, "700101000000Z", None);
    }

    #[test]
    fn no_bytes_are_a_certificate() {
        for bytes in
            [&[][..], &[0x30], &[0x30, 0x80], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30, 2, 0x30, 0]]
        {
            assert_eq!(validity(bytes), None);
        }
    }
}
