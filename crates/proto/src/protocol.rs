//! Which version of HTTP an origin is spoken to in, by what it has done so far.
//!
//! Over TLS the origin chooses (ALPN), and what it chooses may still not work: it speaks another version, or its connections
//! of HTTP/2 end by errors, which one response causes and all requests on the connection share.

use crate::limits;

/// What is known of an origin.
///
/// ```text
///           ChoseHttp1                    WantsHttp1
///   Http1 <------------- Open { broken } -------------> Asked
///     |                   ^      |
///     +-------------------+      | Broke, the last of H2_BROKEN_MAX
///        Broke                   |
///                 negotiated     |     prescribed
///        Broken <----------------+----------------> Isolated
///           |                                          ^
///           +------------------------------------------+
///                         RefusesHttp1
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// It is offered what the settings say. So many connections of HTTP/2 have ended by an error while several requests were on
    /// them.
    Open {
        /// Less than [`limits::H2_BROKEN_MAX`].
        broken: u32,
    },
    /// It was offered both versions, and has chosen HTTP/1.1. Its next connection is offered both again.
    Http1,
    /// It is spoken to over HTTP/1.1, because it asks for that, or speaks it where it has chosen HTTP/2.
    Asked,
    /// The same, because its connections of HTTP/2 break.
    Broken,
    /// Its connections of HTTP/2 break, and it does not take HTTP/1.1: each request has a connection of its own, so that a
    /// response that ends it harms no other.
    Isolated,
}

/// Whether the version is negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// HTTP/1.1 may be spoken instead of HTTP/2.
    Negotiated,
    /// The caller has prescribed the version.
    Prescribed,
}

/// What an origin has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It was offered both versions, and has chosen HTTP/1.1.
    ChoseHttp1,
    /// It has sent HTTP/1 on a connection of HTTP/2, or reset a stream with `HTTP_1_1_REQUIRED`.
    WantsHttp1,
    /// A connection of HTTP/2 has ended by an error while several requests were on it.
    Broke,
    /// It was offered HTTP/1.1 alone, and has not chosen it.
    RefusesHttp1,
}

impl Default for Protocol {
    fn default() -> Self {
        Self::Open { broken: 0 }
    }
}

impl Protocol {
    /// What is known after a further sign. An origin that was left to HTTP/1.1, or isolated, stays so: late signs of its
    /// earlier connections change nothing.
    #[must_use]
    pub fn after(self, sign: Sign, choice: Choice) -> Self {
        match (self, sign) {
            (Self::Open { broken: 0 }, Sign::ChoseHttp1) => Self::Http1,
            (Self::Open { .. } | Self::Http1, Sign::WantsHttp1) if choice == Choice::Negotiated => {
                Self::Asked
            }
            (Self::Open { broken }, Sign::Broke) if broken + 1 < limits::H2_BROKEN_MAX => {
                Self::Open { broken: broken + 1 }
            }
            (Self::Open { .. }, Sign::Broke) => match choice {
                Choice::Negotiated => Self::Broken,
                Choice::Prescribed => Self::Isolated,
            },
            // Behind one name may be servers of both kinds.
            (Self::Http1, Sign::Broke) => Self::default().after(sign, choice),
            (Self::Broken, Sign::RefusesHttp1) => Self::Isolated,
            (known @ (Self::Open { .. } | Self::Http1 | Self::Asked | Self::Broken | Self::Isolated), _) => {
                known
            }
        }
    }

    /// True if it has left HTTP/2: it is offered HTTP/1.1 alone.
    #[must_use]
    pub const fn has_left_http2(self) -> bool {
        match self {
            Self::Asked | Self::Broken => true,
            Self::Open { .. } | Self::Http1 | Self::Isolated => false,
        }
    }

    /// Requests at once on one connection of HTTP/2 to it. Such connections may be open still where HTTP/2 was left.
    #[must_use]
    pub const fn streams_max(self) -> usize {
        match self {
            Self::Open { .. } | Self::Http1 => limits::H2_STREAMS_MAX,
            Self::Isolated => 1,
            Self::Asked | Self::Broken => 0,
        }
    }

    /// True if a connection of HTTP/2 to it may carry several requests, and is to be expected.
    #[must_use]
    pub const fn shares(self) -> bool {
        match self {
            Self::Open { .. } => true,
            Self::Http1 | Self::Asked | Self::Broken | Self::Isolated => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Choice::{Negotiated, Prescribed};
    use super::Protocol::{Asked, Broken, Http1, Isolated, Open};
    use super::Sign::{Broke, ChoseHttp1, RefusesHttp1, WantsHttp1};
    use super::*;

    const NEW: Protocol = Open { broken: 0 };
    const LAST: Protocol = Open { broken: limits::H2_BROKEN_MAX - 1 };

    #[test]
    fn every_sign_in_every_state() {
        // For each state what follows ChoseHttp1, WantsHttp1, Broke, RefusesHttp1.
        let check = |choice, table: [(Protocol, [Protocol; 4]); 6]| {
            for (known, expected) in table {
                let after =
                    [ChoseHttp1, WantsHttp1, Broke, RefusesHttp1].map(|sign| known.after(sign, choice));
                assert_eq!(after, expected, "after {known:?}, {choice:?}");
            }
        };
        let one = Open { broken: 1 };
        check(
            Negotiated,
            [
                (NEW, [Http1, Asked, one, NEW]),
                (LAST, [LAST, Asked, Broken, LAST]),
                (Http1, [Http1, Asked, one, Http1]),
                (Asked, [Asked; 4]),
                (Broken, [Broken, Broken, Broken, Isolated]),
                (Isolated, [Isolated; 4]),
            ],
        );
        check(
            Prescribed,
            [
                (NEW, [Http1, NEW, one, NEW]),
                (LAST, [LAST, LAST, Isolated, LAST]),
                (Http1, [Http1, Http1, one, Http1]),
                (Asked, [Asked; 4]),
                (Broken, [Broken, Broken, Broken, Isolated]),
                (Isolated, [Isolated; 4]),
            ],
        );
    }

    #[test]
    fn an_origin_changes_its_version_a_bounded_number_of_times() {
        let signs = [ChoseHttp1, WantsHttp1, Broke, RefusesHttp1];
        for choice in [Negotiated, Prescribed] {
            // All sequences of six signs: what has left HTTP/2 never returns to connections that are shared.
            for sequence in 0..4_u32.pow(6) {
                let (mut known, mut changes) = (NEW, 0);
                for place in 0..6 {
                    let sign = signs[(sequence >> (2 * place)) as usize & 3];
                    let next = known.after(sign, choice);
                    assert!(known.streams_max() > 1 || next.streams_max() <= 1);
                    changes += u32::from(next != known);
                    known = next;
                }
                assert!(changes <= limits::H2_BROKEN_MAX + 2, "{sequence:b}: {changes}");
            }
        }
    }
}
