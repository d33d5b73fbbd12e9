//! International host names.

use pyo3::prelude::*;
use url::Host;

/// An international host name as it is asked for (UTS 46); None if it is not valid.
#[pyfunction]
pub(crate) fn host_to_ascii(host: &str) -> Option<String> {
    match Host::parse(host) {
        Ok(Host::Domain(name)) => Some(name),
        Ok(Host::Ipv4(_) | Host::Ipv6(_)) | Err(_) => None,
    }
}
