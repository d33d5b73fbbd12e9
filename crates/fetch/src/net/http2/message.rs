//! A request and the head of a response, between our form and that of the library.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Uri, uri};
use overlapped_proto::error::ErrorKind;
use overlapped_proto::http1::Head;
use overlapped_proto::limits;
use overlapped_proto::notes::Notes;
use overlapped_proto::origin::Scheme;
use overlapped_proto::outcome::Failure;
use overlapped_proto::plural::counted;
use overlapped_proto::record::{Headers, HttpVersion};
use overlapped_proto::request::{BodyLength, RequestHead};

/// The request, as `h2` takes it. Fields that belong to a connection of HTTP/1.1 are left out (RFC 9113, section 8.2.2).
///
/// # Errors
///
/// `input.url`, `input.header`: a part cannot be sent.
pub(super) fn request(head: &RequestHead<'_>) -> Result<http::Request<()>, Failure> {
    let invalid_url = |_| Failure::new(ErrorKind::InputUrl, "the URL cannot be sent in a request");
    let scheme = match head.scheme() {
        Scheme::Http => uri::Scheme::HTTP,
        Scheme::Https => uri::Scheme::HTTPS,
    };
    let mut parts = uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(Authority::try_from(authority(head)).map_err(invalid_url)?);
    parts.path_and_query = Some(PathAndQuery::try_from(head.path()).map_err(invalid_url)?);
    let mut request = http::Request::new(());
    *request.version_mut() = http::Version::HTTP_2;
    *request.uri_mut() = Uri::from_parts(parts)
        .map_err(|_| Failure::new(ErrorKind::InputUrl, "the URL cannot be sent in a request"))?;
    *request.method_mut() = http::Method::from_bytes(head.method().as_str().as_bytes())
        .map_err(|_| Failure::new(ErrorKind::InputFormat, "the method cannot be sent"))?;
    *request.headers_mut() = fields(head)?;
    Ok(request)
}

/// The host that the request names to the server.
fn authority<'a>(head: &'a RequestHead<'_>) -> &'a [u8] {
    let mut raw = head.raw_fields().unwrap_or_default().iter();
    let own = raw.find(|(name, _)| name.eq_ignore_ascii_case("host"));
    own.map_or(head.host().as_bytes(), |(_, value)| value)
}

fn fields(head: &RequestHead<'_>) -> Result<HeaderMap, Failure> {
    let mut fields = HeaderMap::with_capacity(8);
    let Some(raw) = head.raw_fields() else {
        head.fields().try_for_each(|(name, value)| add(&mut fields, name, value))?;
        // HTTP/2 has frames instead of chunks.
        if let Some(BodyLength::Known(length)) = head.body_length() {
            fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        return Ok(fields);
    };
    for (name, value) in raw {
        let name = name.to_ascii_lowercase();
        if *name != *"host" {
            add(&mut fields, &name, value)?;
        }
    }
    Ok(fields)
}

/// Adds a field, by its name in lower case.
fn add(fields: &mut HeaderMap, name: &str, value: &[u8]) -> Result<(), Failure> {
    if belongs_to_connection(name, value) {
        return Ok(());
    }
    let invalid = || Failure::new(ErrorKind::InputHeader, format!("the header field {name} cannot be sent"));
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
    if name == header::COOKIE {
        // One field a cookie, so that those that stay the same are compressed (RFC 9113, section 8.2.3).
        for crumb in crumbs(value) {
            let mut crumb = HeaderValue::from_bytes(crumb).map_err(|_| invalid())?;
            crumb.set_sensitive(crumb.len() < limits::H2_COOKIE_BYTES_INDEXED);
            fields.append(header::COOKIE, crumb);
        }
        return Ok(());
    }
    let mut value = HeaderValue::from_bytes(value).map_err(|_| invalid())?;
    // Never put into the compression table, where its value could be probed (RFC 7541, section 7.1).
    value.set_sensitive(name == header::AUTHORIZATION || name == header::PROXY_AUTHORIZATION);
    fields.append(name, value);
    Ok(())
}

/// The parts between `; `.
fn crumbs(cookies: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(cookies);
    std::iter::from_fn(move || {
        let all = rest.take()?;
        let end = all.windows(2).position(|pair| pair == b"; ").unwrap_or(all.len());
        rest = all.get(end + 2..);
        all.get(..end)
    })
}

fn belongs_to_connection(name: &str, value: &[u8]) -> bool {
    match name {
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade"
        | "http2-settings" => true,
        "te" => !value.eq_ignore_ascii_case(b"trailers"),
        _ => false,
    }
}

/// The head of the final response.
///
/// # Errors
///
/// `http.limit`: it has too many fields.
pub(super) fn response(status: u16, fields: &HeaderMap) -> Result<Head, Failure> {
    if fields.len() > limits::HEADERS_MAX {
        let message =
            format!("the response has more than {}", counted(limits::HEADERS_MAX as u64, "header field"));
        return Err(Failure::new(ErrorKind::HttpLimit, message));
    }
    let bytes = fields.iter().map(|(name, value)| Headers::size_of(name.as_str(), value.as_bytes())).sum();
    let mut headers = Headers::with_capacity(bytes);
    fields.iter().for_each(|(name, value)| headers.push(name.as_str(), value.as_bytes()));
    let (version, notes, raw) = (HttpVersion::Http2, Notes::default(), Bytes::new());
    Ok(Head { status, version, headers, keeps_alive: true, notes, raw })
}

/// Trailer fields are not kept, and have the limit of HTTP/1.1.
///
/// # Errors
///
/// `body.framing`: they are larger.
pub(super) fn check_trailers(fields: &HeaderMap) -> Result<(), Failure> {
    let bytes: usize =
        fields.iter().map(|(name, value)| Headers::size_of(name.as_str(), value.as_bytes())).sum();
    if bytes > limits::TRAILER_BYTES_MAX {
        return Err(Failure::new(ErrorKind::BodyFraming, "the trailer fields are too large"));
    }
    Ok(())
}

/// The length that the head announces. `h2` has refused one that is no number.
pub(super) fn content_length(fields: &HeaderMap) -> Option<u64> {
    fields.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
