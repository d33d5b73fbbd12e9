//! `-x`, `-U` and `--noproxy`, and the environment's variables where these flags are absent.

use overlapped_fetch::Proxies;

use super::fetch::Flags;
use super::request::{elsewhere, user_of};
use crate::exit::Error;

/// # Errors
///
/// A variable or a file cannot be read.
pub(super) fn proxies(flags: &Flags) -> Result<Proxies, Error> {
    let mut proxies = Proxies::from_env();
    if let Some(given) = &flags.proxy {
        let given = elsewhere("-x", given)?;
        let given = Some(given.trim().to_owned()).filter(|given| !given.is_empty());
        (proxies.http, proxies.https) = (given.clone(), given);
    }
    if let Some(hosts) = &flags.noproxy {
        proxies.no_proxy.clone_from(hosts);
    }
    proxies.user = flags.proxy_user.as_deref().map(|user| user_of("-U", user)).transpose()?;
    Ok(proxies)
}
