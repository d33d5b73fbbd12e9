//! Reads WARC as its standard has it, without the code that writes it.

#![allow(dead_code, reason = "no test file needs all of it")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;

use flate2::bufread::GzDecoder;

/// A record.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) fields: BTreeMap<String, String>,
    pub(crate) block: Vec<u8>,
    /// Where it begins in its file, and its length there.
    pub(crate) offset: usize,
    pub(crate) length: usize,
}

impl Record {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map(String::as_str).unwrap_or_default()
    }

    pub(crate) fn kind(&self) -> &str {
        self.field("WARC-Type")
    }

    pub(crate) fn row(&self) -> Option<u64> {
        self.fields.get("Overlapped-Row")?.parse().ok()
    }

    /// The head and the body of a message of HTTP.
    pub(crate) fn message(&self) -> (String, &[u8]) {
        let end = self.block.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head ends") + 4;
        (String::from_utf8_lossy(&self.block[..end]).into_owned(), &self.block[end..])
    }

    /// What the program knows of a row.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.block).expect("metadata are JSON")
    }
}

/// The records of a file; what follows the last whole one is an error.
pub(crate) fn records(path: &str) -> Vec<Record> {
    records_of(&fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}")))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The same of its bytes.
pub(crate) fn records_of(bytes: &[u8]) -> Result<Vec<Record>, String> {
    let (mut records, mut offset) = (Vec::new(), 0);
    while offset < bytes.len() {
        let rest = &bytes[offset..];
        let (text, length) = if rest.starts_with(&[0x1f, 0x8b]) {
            let (mut text, mut member) = (Vec::new(), GzDecoder::new(rest));
            member.read_to_end(&mut text).map_err(|error| format!("at {offset}: {error}"))?;
            let length = rest.len() - member.into_inner().len();
            (text, length)
        } else {
            let head = head_end(rest).ok_or(format!("at {offset}: a head without an end"))?;
            let length = head + length_of(&rest[..head])? + 4;
            (rest.get(..length).ok_or(format!("at {offset}: it is cut"))?.to_vec(), length)
        };
        records.push(record(&text, offset, length)?);
        offset += length;
    }
    Ok(records)
}

fn head_end(text: &[u8]) -> Option<usize> {
    Some(text.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4)
}

fn length_of(head: &[u8]) -> Result<usize, String> {
    let text = String::from_utf8_lossy(head);
    let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    length.and_then(|length| length.parse().ok()).ok_or(format!("no length: {text}"))
}

fn record(text: &[u8], offset: usize, length: usize) -> Result<Record, String> {
    let wrong = |what: &str| format!("at {offset}: {what}: {}", String::from_utf8_lossy(text));
    let head = head_end(text).ok_or(wrong("a head without an end"))?;
    let block = head..head + length_of(&text[..head])?;
    if text.get(block.end..) != Some(b"\r\n\r\n") {
        return Err(wrong("a member is one record"));
    }
    let lines = String::from_utf8(text[..head].to_vec()).map_err(|error| error.to_string())?;
    let mut lines = lines.trim_end().split("\r\n");
    if lines.next() != Some("WARC/1.1") {
        return Err(wrong("no version"));
    }
    let mut fields = BTreeMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").ok_or(wrong(line))?;
        if fields.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(wrong("a field is there twice"));
        }
    }
    for name in ["WARC-Type", "WARC-Record-ID", "WARC-Date", "Content-Type", "WARC-Block-Digest"] {
        if !fields.contains_key(name) {
            return Err(wrong(name));
        }
    }
    Ok(Record { fields, block: text[block].to_vec(), offset, length })
}
