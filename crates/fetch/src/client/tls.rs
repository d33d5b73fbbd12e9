//! Settings of TLS for single requests, and the numbers that keep their connections apart.

use std::fmt;
use std::sync::{Arc, Weak};

use overlapped_proto::limits;

use crate::config::Identity;
use crate::error::Error;
use crate::net::tls::Trust;

/// Settings of TLS for requests, checked. Requests with clones of one value share connections; two values never do.
#[derive(Clone)]
pub struct Tls(Arc<Trust>);

/// Settings of TLS, as plain data.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// Verify the certificate of the server.
    pub verify: bool,
    /// Certificates to trust instead of the system's, as PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// The certificate with which the client identifies itself.
    pub identity: Option<Identity>,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self { verify: true, ca_pem: None, identity: None }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// A certificate or a key cannot be read, or they do not belong together.
    pub fn new(config: &TlsConfig) -> Result<Self, Error> {
        let TlsConfig { verify, ca_pem, identity } = config;
        let identity = identity.as_ref().map(|Identity { chain_pem, key_pem }| (&**chain_pem, &**key_pem));
        Ok(Self(Arc::new(Trust::single(ca_pem.as_deref(), *verify, identity)?)))
    }

    pub(super) fn trust(&self) -> &Trust {
        &self.0
    }
}

/// The numbers of settings in the keys of connections. None is given twice.
#[derive(Default)]
pub(super) struct Numbers {
    known: Vec<(Weak<Trust>, u32)>,
    given: u32,
}

impl Numbers {
    /// The number of `tls`. Beyond a limit the oldest settings are forgotten: they get another number, and new connections.
    pub(super) fn of(&mut self, tls: &Tls) -> u32 {
        if let Some((_, number)) = self.known.iter().find(|(known, _)| known.as_ptr() == Arc::as_ptr(&tls.0))
        {
            return *number;
        }
        self.known.retain(|(known, _)| known.strong_count() > 0);
        if self.known.len() >= limits::TLS_SETTINGS_MAX {
            self.known.remove(0);
        }
        self.given = self.given.checked_add(1).expect("there are fewer settings than numbers");
        // The first two are those of the client's own settings.
        let number = self.given + 1;
        self.known.push((Arc::downgrade(&tls.0), number));
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_a_number_and_no_other_settings_get_it() {
        let tls = || Tls::new(&TlsConfig::default()).unwrap();
        let mut numbers = Numbers::default();
        let (one, two) = (tls(), tls());
        assert_eq!([&one, &two, &one.clone()].map(|tls| numbers.of(tls)), [2, 3, 2]);
        drop(two);
        let many: Vec<_> = (0..2 * limits::TLS_SETTINGS_MAX).map(|_| tls()).collect();
        let mut given: Vec<_> = many.iter().map(|tls| numbers.of(tls)).collect();
        assert!(numbers.known.len() <= limits::TLS_SETTINGS_MAX);
        given.dedup();
        assert!(given.len() == many.len() && given.iter().all(|number| *number > 3));
    }
}
