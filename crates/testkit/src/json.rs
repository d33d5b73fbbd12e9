//! JSON out of what the server saw, written by hand: the crate needs no reader of it.

use std::fmt::Write as _;

use crate::request::Request;

/// The answer of `/echo`.
pub(crate) fn of_request(request: &Request) -> String {
    let mut out = String::from("{\"method\":");
    string(&mut out, &request.method);
    out.push_str(",\"target\":");
    string(&mut out, &request.target);
    out.push_str(",\"version\":");
    string(&mut out, &request.version);
    out.push_str(",\"headers\":[");
    for (index, (name, value)) in request.headers.iter().enumerate() {
        out.push_str(if index == 0 { "[" } else { ",[" });
        string(&mut out, name);
        out.push(',');
        string(&mut out, value);
        out.push(']');
    }
    out.push_str("],\"body\":");
    string(&mut out, &String::from_utf8_lossy(&request.body));
    write!(out, ",\"body_bytes\":{}}}", request.body_bytes).expect("a String takes all");
    out
}

/// A JSON string with its quotes.
pub(crate) fn string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                write!(out, "\\u{:04x}", u32::from(control)).expect("a String takes all");
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    #[test]
    fn strings_are_escaped() {
        let mut out = String::new();
        super::string(&mut out, "a\"\\\n\u{1}é");
        assert_eq!(out, r#""a\"\\\n\u0001é""#);
    }
}
