//! Whether the trouble is ours: a network that is down fails every host alike, and must not burn the list.
//!
//! Only failures that a dead network or resolver causes at once are counted, on how many hosts in a row, with not one
//! answer from anywhere in between. Then nothing starts but a probe at a time, and what fails meanwhile goes back to
//! its queue as if it had not started. After an hour without any answer that ends, and rows fail as usual.

use crate::error::{ErrorKind, Phase};
use crate::limits;
use crate::outcome::Ending;
use crate::retry;
use crate::time::Nanos;

/// What is known of the way out.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// Counts answers after trouble, so that a host is counted once in each run of failures. Hosts hold a copy.
    round: u32,
    /// Hosts that failed in this round.
    hosts: u32,
    /// Anything was ever reached.
    proven: bool,
    /// When it last came up again.
    restored: Nanos,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Up,
    /// Seems down since then; the next probe may start at `probe`.
    Down { since: Nanos, probe: Nanos, probes: u32 },
    /// It stayed down so long that rows fail again.
    GivenUp,
}

/// What an attempt's end says about the network.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Works,
    /// Fails as it does when the network is down.
    Down,
    /// Fails as it may when the network is down, or the host.
    Doubtful,
    Nothing,
}

impl Network {
    /// Learns from the end of an attempt. `seen` is the host's copy of the round, to begin with 0. True if the row is
    /// not to blame and goes back.
    pub(super) fn hear(&mut self, ending: Ending, seen: &mut u32, now: Nanos) -> bool {
        let sign = Sign::of(ending);
        match sign {
            Sign::Works => self.works(now),
            Sign::Down => self.fails(seen, now),
            Sign::Doubtful | Sign::Nothing => {}
        }
        if let State::Down { since, .. } = self.state
            && now - since >= limits::NETWORK_DOWN_MAX
        {
            self.state = State::GivenUp;
        }
        self.is_down() && matches!(sign, Sign::Down | Sign::Doubtful)
    }

    /// Something starts. While the network seems down that is a probe, and the next one waits twice as long.
    pub(super) fn started(&mut self, now: Nanos) {
        if let State::Down { since, probes, .. } = self.state {
            let probes = probes + 1;
            let pause = retry::doubled(limits::NETWORK_PAUSE_BASE, probes, limits::NETWORK_PAUSE_MAX);
            self.state = State::Down { since, probe: now + pause, probes };
        }
    }

    /// The earliest time of the next start; past if nothing is held back.
    pub(super) fn next(&self) -> Nanos {
        match self.state {
            State::Up | State::GivenUp => Nanos::ZERO,
            State::Down { probe, .. } => probe,
        }
    }

    /// True while nothing but probes starts.
    pub(super) fn is_down(&self) -> bool {
        matches!(self.state, State::Down { .. })
    }

    /// Since when it is up, without a break. What failed before says nothing about any host.
    pub(super) fn restored(&self) -> Nanos {
        self.restored
    }

    fn works(&mut self, now: Nanos) {
        let restored = match self.state {
            // What was under way when the network went down may still come in.
            State::Down { probes: 0, .. } => return,
            State::Up => self.restored,
            State::Down { .. } | State::GivenUp => now,
        };
        if self.state != State::Up || self.hosts > 0 {
            *self = Self { round: self.round.wrapping_add(1), restored, ..Self::default() };
        }
        self.proven = true;
    }

    fn fails(&mut self, seen: &mut u32, now: Nanos) {
        if *seen <= self.round {
            (*seen, self.hosts) = (self.round + 1, self.hosts + 1);
        }
        let enough = if self.proven { limits::NETWORK_HOSTS_MIN } else { limits::NETWORK_HOSTS_MIN_UNPROVEN };
        if self.state == State::Up && self.hosts >= enough {
            self.state = State::Down { since: now, probe: now + limits::NETWORK_PAUSE_BASE, probes: 0 };
        }
    }
}

impl Sign {
    fn of(ending: Ending) -> Self {
        use ErrorKind::{
            ConnectFailed, ConnectTimeout, ConnectUnreachable, DnsTemporary, DnsTimeout, HostDown,
            PolicyAddress, TimeoutFirstByte, TimeoutSlow, TimeoutTotal, TlsTimeout,
        };
        let kind = match ending {
            Ending::Response { .. } => return Self::Works,
            Ending::Failed(kind) => kind,
        };
        if matches!(kind, ConnectUnreachable | DnsTemporary | DnsTimeout) {
            return Self::Down;
        }
        if matches!(
            kind,
            ConnectTimeout | ConnectFailed | TlsTimeout | TimeoutFirstByte | TimeoutSlow | TimeoutTotal
        ) {
            return Self::Doubtful;
        }
        match kind.phase() {
            Phase::Connect if matches!(kind, PolicyAddress | HostDown) => Self::Nothing,
            Phase::Dns | Phase::Connect | Phase::Tls | Phase::Send | Phase::Head | Phase::Body => Self::Works,
            Phase::Input | Phase::Sink | Phase::Run => Self::Nothing,
        }
    }
}
