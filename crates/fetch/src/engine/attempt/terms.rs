//! The terms of an attempt: what single requests may have differently from each other.

use overlapped_proto::proxy::Proxy;
use overlapped_proto::redirect;

use crate::config::Http;
use crate::net::exchange::Reading;
use crate::net::request::Prepared;
use crate::net::tls::Trust;
use crate::net::upload::Upload;
use crate::plan::{Limits, Plan};

/// What single requests may have differently from each other; rows have it from the plan.
pub(crate) struct Terms<'a> {
    pub(crate) http: Http,
    pub(crate) timeouts: Limits,
    pub(crate) redirect: redirect::Policy,
    pub(crate) reading: Reading,
    /// Decode bodies.
    pub(crate) decodes: bool,
    /// The limit of a decoded body.
    pub(crate) max_bytes: u64,
    /// The settings of TLS, with their number in the key of a connection; `None`: those of the plan.
    pub(crate) tls: Option<(&'a Trust, u32)>,
    /// The proxy, or none, with its number in the key of a connection; `None`: that of the plan.
    pub(crate) proxy: Option<(Option<&'a Proxy>, u32)>,
    pub(crate) cookies: Cookies<'a>,
    /// A request that is sent as it is.
    pub(crate) prepared: Option<&'a Prepared>,
    /// A body that is produced while it is sent. The first attempt that sends takes it.
    pub(crate) upload: Option<&'a mut Option<Box<Upload>>>,
}

/// Where the cookies of a request come from.
#[derive(Clone, Copy)]
pub(crate) enum Cookies<'a> {
    /// From the jar of the run, or else from the redirects of the row.
    Own,
    /// From a store of the caller, which has this for the URL.
    Store(Option<&'a str>),
}

impl<'a> Terms<'a> {
    pub(super) fn of(plan: &'a Plan) -> Self {
        Self {
            http: plan.http,
            timeouts: plan.timeouts,
            redirect: plan.redirect,
            reading: plan.reading,
            decodes: plan.decodes,
            max_bytes: plan.response.max_bytes,
            tls: None,
            proxy: None,
            cookies: Cookies::Own,
            prepared: None,
            upload: None,
        }
    }
}
