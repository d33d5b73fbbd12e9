//! Detects that the local network is down, which fails every host alike, so that rows do not use up their attempts.
//!
//! It counts the hosts in a row that fail as they do when the local network or resolver is down, without an answer from
//! any host in between. While the network counts as down, only one probe at a time starts, and rows that fail are put
//! back as if they had not started. After an hour without an answer rows fail as usual.

use crate::error::Blame;
use crate::limits;
use crate::outcome::Ending;
use crate::retry;
use crate::time::Nanos;

/// The state of the local network.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// The number of the round: a round ends with an answer after a failure. Each host holds a copy, so that it is counted
    /// once a round.
    round: u32,
    /// Hosts that failed in this round.
    hosts: u32,
    /// True once any host was reached.
    proven: bool,
    /// When the network last came up again.
    restored: Nanos,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Up,
    /// Down since `since`; the next probe may start at `probe`.
    Down { since: Nanos, probe: Nanos, probes: u32 },
    /// Down for [`limits::NETWORK_DOWN_MAX`]: rows fail as usual.
    GivenUp,
}

/// What the end of an attempt implies for the network.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Works,
    /// A failure that a network that is down causes.
    Down,
    /// A failure that a network or a host that is down may cause.
    Doubtful,
    Nothing,
}

impl Network {
    /// Updates the state at the end of an attempt. `seen` is the host's copy of the round, initially 0. True if the row
    /// is to be put back, because the network is down.
    pub(super) fn record(&mut self, ending: Ending, seen: &mut u32, now: Nanos) -> bool {
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

    /// Records a start. While the network is down it is a probe, and doubles the pause before the next one.
    pub(super) fn started(&mut self, now: Nanos) {
        if let State::Down { since, probes, .. } = self.state {
            let probes = probes + 1;
            let pause = retry::doubled(limits::NETWORK_PAUSE_BASE, probes, limits::NETWORK_PAUSE_MAX);
            self.state = State::Down { since, probe: now + pause, probes };
        }
    }

    /// The earliest time of the next start; in the past if starts are not held back.
    pub(super) fn next(&self) -> Nanos {
        match self.state {
            State::Up | State::GivenUp => Nanos::ZERO,
            State::Down { probe, .. } => probe,
        }
    }

    /// True while only probes start.
    pub(super) fn is_down(&self) -> bool {
        matches!(self.state, State::Down { .. })
    }

    /// Since when the network is up. Earlier failures do not count against a host.
    pub(super) fn restored(&self) -> Nanos {
        self.restored
    }

    fn works(&mut self, now: Nanos) {
        let restored = match self.state {
            // An answer to a request from before the network went down.
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
        let kind = match ending {
            Ending::Response { .. } => return Self::Works,
            Ending::Failed(kind) => kind,
        };
        match kind.blame() {
            Blame::Us => Self::Nothing,
            Blame::Network => Self::Down,
            Blame::Either => Self::Doubtful,
            Blame::Origin => Self::Works,
        }
    }
}
