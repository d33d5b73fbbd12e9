//! `-x`, `-U` and `--noproxy`, and the environment's variables where these flags are absent.

use overlapped_fetch::Proxies;
use overlapped_proto::proxy::{Environment, Exceptions, Proxy, Variable};
use overlapped_proto::sanitize::escape;

use super::fetch::Flags;
use super::request::{elsewhere, user_of};
use crate::exit::Error;
use crate::terminal;

/// # Errors
///
/// A variable or a file cannot be read, or there is no proxy or no host in it.
pub(super) fn proxies(flags: &Flags) -> Result<Proxies, Error> {
    let Environment { http, https, exceptions } = Environment::read(|name| std::env::var(name).ok());
    let (http, https) = match &flags.proxy {
        Some(given) => {
            let given = elsewhere("-x", given)?;
            let given = Some(given.trim().to_owned()).filter(|given| !given.is_empty());
            given.as_deref().map(|given| check("-x", given)).transpose()?;
            (given.clone(), given)
        }
        None => (http.map(set).transpose()?, https.map(set).transpose()?),
    };
    let no_proxy = match (&flags.noproxy, exceptions) {
        (Some(hosts), _) => {
            let wrong = |part| Error::Usage(format!("--noproxy: {}", no_host(part)));
            Exceptions::unknown(hosts).map_or(Ok(()), |part| Err(wrong(part)))?;
            hosts.clone()
        }
        // Other programs read it too, each in its own way.
        (None, Some(Variable { name, value })) => {
            if let Some(part) = Exceptions::unknown(&value).filter(|_| http.is_some() || https.is_some()) {
                terminal::say(format_args!("overlapped: warning: the variable {name}: {}", no_host(part)));
            }
            value
        }
        (None, None) => String::new(),
    };
    let user = flags.proxy_user.as_deref().map(|user| user_of("-U", user)).transpose()?;
    Ok(Proxies { http, https, user, no_proxy, ..Proxies::default() })
}

/// The proxy of a variable.
fn set(Variable { name, value }: Variable) -> Result<String, Error> {
    check(&format!("the variable {name}"), &value)?;
    Ok(value)
}

/// The message does not repeat what was given, which may hold a password.
fn check(origin: &str, given: &str) -> Result<(), Error> {
    Proxy::parse(given).map(drop).map_err(|invalid| Error::Usage(format!("{origin}: {invalid}")))
}

fn no_host(part: &str) -> String {
    let part = escape(part);
    format!(
        "{part} matches nothing: it takes names, addresses and networks such as 10.0.0.0/8, each optionally with :PORT, or *"
    )
}
