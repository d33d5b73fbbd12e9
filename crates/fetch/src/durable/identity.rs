//! The resume identity: the settings that a run and its resumption must share, because they change what a record says.
//!
//! Every structure of settings is destructured without `..`, so a new setting does not compile until it is decided whether
//! it belongs to the identity. What only changes the speed, or gives a row more or less time and attempts, does not: a
//! stopped run may be resumed with more patience. Nor does what decides whether a host can be reached and trusted: rows
//! that failed for want of it may be fetched again with it.
//!
//! It holds no secrets: see [`fingerprint`], and the values of headers that may carry one are left out.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::{Component, PathBuf};

use overlapped_proto::input::{Format, Keep, Options};
use overlapped_proto::job::Shard;
use overlapped_proto::redirect;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::config::{Config, HostConfig, HostPort, Network, Pace, Request, Response};
use crate::error::Error;
use crate::fs::UploadFile;

/// The version of the identity. Another one is refused. It changes with the set of settings and the form of their values.
pub(super) const VERSION: u64 = 1;

/// The settings that change what a record says, each with its value in words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity(Vec<(String, String)>);

impl Identity {
    /// What belongs to it of the settings of a run.
    pub(crate) fn of(config: &Config) -> Self {
        let Config {
            request,
            pace,
            response,
            max_redirects,
            network,
            ordered,
            hosts,
            cookies,
            // How long a row is tried, and what stops the run.
            retry: _,
            timeouts: _,
            max_errors: _,
            // Speed and memory.
            window_rows: _,
            shards: _,
        } = config;
        let mut identity = Self::default();
        identity.request(request);
        identity.pace(pace);
        identity.response(response);
        identity.network(network);
        hosts.iter().for_each(|host| identity.host(host));
        identity.set("redirects", max_redirects);
        identity.set("ordered", ordered);
        // Their content changes with every response.
        if cookies.is_some() {
            identity.set("cookies", "a jar (not kept)");
        }
        identity
    }

    fn request(&mut self, request: &Request) {
        let Request {
            method,
            headers,
            body,
            // It is read only for a durable run: see `Identity::body_file`.
            body_file: _,
            body_dir,
            user,
            bearer,
            netrc,
            compressed,
        } = request;
        self.set("method", method);
        self.set("headers", joined(headers.iter().map(field)));
        self.set("request body", body.as_deref().map(fingerprint).unwrap_or_default());
        if let Some(path) = body_dir {
            self.set("files of rows to send", path.display());
        }
        // A changed password is the same setting: the old one may have expired.
        self.set(
            "credentials",
            match (user, bearer) {
                (None, None) => "none",
                (Some(_), _) => "a user and password (not kept)",
                (None, Some(_)) => "a bearer token (not kept)",
            },
        );
        if netrc.is_some() {
            self.set("netrc", "user names and passwords (not kept)");
        }
        self.set("compressed", compressed);
    }

    /// What the section of a host adds: nothing if it changes the speed alone.
    fn host(&mut self, host: &HostConfig) {
        let HostConfig {
            name,
            headers,
            user,
            bearer,
            // Speed, and how the host is reached.
            parallel_max: _,
            rate: _,
            proxy: _,
        } = host;
        let mut told: Vec<_> = headers.iter().map(field).collect();
        told.extend(user.as_ref().map(|_| "a user and password (not kept)".to_owned()));
        told.extend(bearer.as_ref().map(|_| "a bearer token (not kept)".to_owned()));
        if !told.is_empty() {
            self.set(&format!("host {name}"), joined(told));
        }
    }

    /// Sets the body of every request to the content of a file, which is read for that.
    ///
    /// # Errors
    ///
    /// It cannot be read, or has changed since it was opened.
    pub(crate) fn body_file(&mut self, file: &UploadFile) -> Result<(), Error> {
        let digest = file.sha256().map_err(|error| Error::config(format!("the body to send: {error}")))?;
        self.0.retain(|(name, _)| name != "request body");
        self.set("request body", fingerprint_of(file.bytes(), digest));
        Ok(())
    }

    fn pace(&mut self, pace: &Pace) {
        let Pace {
            robots,
            // Speed.
            parallel_max: _,
            parallel_max_host: _,
            rate: _,
            rate_host: _,
            adaptive: _,
            // How long a host is waited for.
            max_host_errors: _,
            host_down_after: _,
        } = pace;
        self.set("robots.txt", if *robots { "followed" } else { "not fetched" });
    }

    fn response(&mut self, response: &Response) {
        let Response {
            body,
            undecoded,
            sha256,
            max_bytes,
            strict_http,
            fail,
            // What is kept for the outputs, whose formats are compared by themselves.
            raw_head: _,
            sent: _,
            // Where bytes wait until they are written.
            memory_max: _,
            spool: _,
        } = response;
        self.set("bodies", body);
        if *undecoded {
            self.set("bodies as they came", undecoded);
        }
        self.set("sha256", sha256);
        self.set("largest body", max_bytes);
        self.set("strict HTTP", strict_http);
        self.set(
            "failing statuses",
            joined(fail.iter().map(|range| format!("{}-{}", range.start(), range.end()))),
        );
    }

    fn network(&mut self, network: &Network) {
        let Network {
            resolve,
            public_only,
            allow_addresses,
            hsts,
            // How a host is spoken to, and whether it can be reached and trusted.
            http: _,
            family: _,
            proxies: _,
            identity: _,
            connect_to,
            unix_socket,
            interface: _,
            ca_pem: _,
            insecure_hosts: _,
        } = network;
        let pin = |(host, port, addresses): &(String, u16, Vec<IpAddr>)| {
            format!("{host}:{port}:{}", joined_by(",", addresses))
        };
        self.set("resolved hosts", joined(resolve.iter().map(pin)));
        if !connect_to.is_empty() {
            let shown = |(host, port): &HostPort| {
                format!("{host}:{}", port.map_or(String::new(), |port| port.to_string()))
            };
            let each = |(from, to): &(HostPort, HostPort)| format!("{}:{}", shown(from), shown(to));
            self.set("connected elsewhere", joined(connect_to.iter().map(each)));
        }
        if let Some(path) = unix_socket {
            // `./s` is `s`.
            let plain: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
            self.set("Unix socket", plain.display());
        }
        self.set("public addresses only", public_only);
        self.set("allowed addresses", joined(allow_addresses));
        if *hsts {
            self.set("hsts", hsts);
        }
    }

    /// Adds how the list is read.
    pub(crate) fn list(
        &mut self,
        format: Option<Format>,
        columns: &Options,
        skip: u64,
        limit: Option<u64>,
        shard: Option<Shard>,
    ) {
        let Options { url_column, keep } = columns;
        self.set(
            "list format",
            match format {
                None => "detected",
                Some(Format::Text) => "text",
                Some(Format::Ndjson) => "NDJSON",
                Some(Format::Json) => "JSON",
                Some(Format::Csv) => "CSV",
                Some(Format::Tsv) => "TSV",
                Some(Format::Parquet) => "Parquet",
                Some(Format::Arrow) => "Arrow",
            },
        );
        self.set("URL column", url_column);
        self.set(
            "kept columns",
            match keep {
                Keep::All => "all".to_owned(),
                Keep::None => "none".to_owned(),
                Keep::Columns(names) => joined(names),
            },
        );
        self.set("skip", skip);
        self.set("limit", limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string()));
        let shard = shard.map(|Shard { index, of }| format!("{}/{of}", u64::from(index) + 1));
        self.set("shard", shard.unwrap_or_else(|| "none".to_owned()));
    }

    /// Adds the settings of the caller's own.
    ///
    /// # Errors
    ///
    /// One has the name of another.
    pub(super) fn further(&mut self, settings: &[(String, String)]) -> Result<(), Error> {
        for (name, value) in settings {
            if self.has(name) {
                return Err(Error::config(format!("the setting {name} of a durable run is given twice")));
            }
            self.set(name, value);
        }
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(other, _)| other == name)
    }

    /// Adds a setting. Each name is added once.
    pub(crate) fn set(&mut self, name: &str, value: impl Display) {
        assert!(!self.has(name), "the setting {name} is added once");
        self.0.push((name.to_owned(), value.to_string()));
    }

    /// For the manifest.
    pub(super) fn encode(&self) -> Map<String, Value> {
        self.0.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect()
    }
}

/// A header field, without a value that may be secret.
fn field((name, value): &(String, String)) -> String {
    match redirect::harmless(name) {
        true => format!("{name}: {}", without_boundary(value)),
        false => format!("{name}: (not kept)"),
    }
}

/// The value of a header without the boundary of a multipart body, which is derived from that body.
fn without_boundary(value: &str) -> &str {
    let is_multipart = value.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/"));
    if is_multipart { value.split(';').next().unwrap_or(value) } else { value }
}

fn joined(parts: impl IntoIterator<Item = impl Display>) -> String {
    joined_by(", ", parts)
}

fn joined_by(between: &str, parts: impl IntoIterator<Item = impl Display>) -> String {
    parts.into_iter().map(|part| part.to_string()).collect::<Vec<_>>().join(between)
}

/// The length and 16 bits of the SHA-256 of data that may hold a secret, such as a form with a password: enough to
/// recognise other data with near certainty, too little to find the secret by trying.
///
/// ```
/// use overlapped_fetch::durable::fingerprint;
///
/// assert_eq!(fingerprint(b"a=1"), "3 bytes, check c22f");
/// assert_ne!(fingerprint(b"a=1"), fingerprint(b"a=2"));
/// ```
#[must_use]
pub fn fingerprint(bytes: &[u8]) -> String {
    fingerprint_of(bytes.len() as u64, Sha256::digest(bytes).into())
}

fn fingerprint_of(bytes: u64, [high, low, ..]: [u8; 32]) -> String {
    format!("{bytes} bytes, check {high:02x}{low:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(config: &Config) -> Identity {
        let mut identity = Identity::of(config);
        identity.list(None, &Options::default(), 0, None, None);
        identity
    }

    #[test]
    fn no_secret_is_kept() {
        let mut config = Config::default();
        config.request.headers =
            vec![("X-Api-Key".into(), "s3cret".into()), ("Accept-Language".into(), "de".into())];
        config.request.user = Some(("me".into(), "s3cret".into()));
        config.request.bearer = Some("s3cret".into());
        config.request.body = Some("s3cret".into());
        let text = format!("{:?}", all(&config));
        assert!(!text.contains("s3cret") && text.contains("X-Api-Key") && text.contains("de"), "{text}");
    }

    /// They were left out, and a run resumed with another value of them was accepted.
    #[test]
    fn what_changes_a_record_changes_the_identity() {
        let changes: [fn(&mut Config); 15] = [
            |config| config.request.method = overlapped_proto::job::Method::Post,
            |config| config.request.headers = vec![("Accept".into(), "a/b".into())],
            |config| config.request.body = Some("a".into()),
            |config| config.request.user = Some(("a".into(), "b".into())),
            |config| config.request.bearer = Some("a".into()),
            |config| config.request.compressed = false,
            |config| config.pace.robots = true,
            |config| config.response.body = false,
            |config| config.response.max_bytes = 7,
            |config| config.response.strict_http = true,
            |config| config.response.fail = Vec::new(),
            |config| config.max_redirects = 3,
            |config| config.network.resolve = vec![("a".into(), 80, vec![IpAddr::from([127, 0, 0, 1])])],
            |config| config.network.public_only = true,
            |config| config.network.allow_addresses = vec!["10.0.0.0/8".into()],
        ];
        let plain = all(&Config::default());
        for (number, change) in changes.into_iter().enumerate() {
            let mut config = Config::default();
            change(&mut config);
            let changed = all(&config);
            let differ = plain.0.iter().zip(&changed.0).filter(|(a, b)| a != b).count();
            assert_eq!((differ, changed.0.len()), (1, plain.0.len()), "change {number}: {changed:?}");
        }
        let (mut a, mut b) = (Config::default(), Config::default());
        (a.request.body, b.request.body) = (Some("a=1".into()), Some("a=2".into()));
        assert_ne!(all(&a).0, all(&b).0, "bodies of the same length");
    }

    /// A run that was begun with other settings than these could not be compared.
    #[test]
    fn the_set_of_settings_has_a_version() {
        let names: Vec<_> = all(&Config::default()).0.into_iter().map(|(name, _)| name).collect();
        let expected = [
            "method",
            "headers",
            "request body",
            "credentials",
            "compressed",
            "robots.txt",
            "bodies",
            "sha256",
            "largest body",
            "strict HTTP",
            "failing statuses",
            "resolved hosts",
            "public addresses only",
            "allowed addresses",
            "redirects",
            "ordered",
            "list format",
            "URL column",
            "kept columns",
            "skip",
            "limit",
            "shard",
        ];
        assert_eq!((VERSION, names.as_slice()), (1, expected.map(str::to_owned).as_slice()), "raise VERSION");
        const GUIDE: &str = include_str!("../../../../docs/guide/command-line.md");
        for name in names {
            assert!(GUIDE.contains(&format!("| {name} |")), "the guide has no line for the setting {name}");
        }
    }
}
