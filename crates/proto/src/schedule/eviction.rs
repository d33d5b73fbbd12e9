//! Eviction: rows that their hosts cannot take yet make room for rows of other hosts.

use crate::job::{HostKey, Job};
use crate::origin::Endpoint;
use crate::slab::{List, Slab};
use crate::time::Nanos;

use super::queues::Scheduler;

impl Scheduler {
    /// Removes up to `count` rows to make room for rows of other hosts: of the hosts with the longest queues the last rows
    /// that were not tried yet, leaving `window_rows_host` of each. The rows of one host are adjacent and in order. Hosts
    /// for which `spare` is true keep theirs.
    ///
    /// Removes none while a host could start, because then the lack of other hosts is not what limits the run.
    pub fn evict(&mut self, count: usize, spare: impl Fn(HostKey) -> bool, now: Nanos) -> Vec<Job> {
        let mut evicted = Vec::new();
        if self.is_ready() {
            return evicted;
        }
        for at in self.hosts.longest() {
            if evicted.len() >= count {
                break;
            }
            if !spare(self.hosts.get(at).key) {
                self.evict_of(at, count, &mut evicted, now);
            }
        }
        evicted
    }

    fn evict_of(&mut self, at: u32, count: usize, evicted: &mut Vec<Job>, now: Nanos) {
        let called = self.uncall(at);
        let (host, first) = (self.hosts.get_mut(at), evicted.len());
        let most = (count - first).min(host.evictable() - self.pace.window_rows_host);
        // Rows that were redirected here stay. A few are skipped, so that one at the end does not keep all others; the
        // number is bounded, so that a long run of them is not scanned each time.
        let mut passes = self.pace.window_rows_host;
        evict_from(&mut self.rows, &mut host.queue, first + most, &mut passes, evicted);
        for site in host.sites.iter_mut() {
            let before = site.held.len();
            evict_from(&mut self.rows, &mut site.held, first + most, &mut passes, evicted);
            host.held -= u32::try_from(before - site.held.len()).expect("a list has fewer rows");
        }
        evicted.get_mut(first..).expect("rows were only appended").sort_unstable_by_key(|job| job.row);
        for endpoint in called {
            self.relax(at, endpoint, now);
        }
        self.hosts.settle(at, &self.pace, now);
    }

    /// Holds the called rows of a host again, and returns the origins with held rows. The called rows come before these in
    /// the list, so they must not be evicted first.
    fn uncall(&mut self, at: u32) -> Vec<Endpoint> {
        let mut called = Vec::new();
        for site in self.hosts.get_mut(at).sites.iter_mut().filter(|site| !site.held.is_empty()) {
            site.called = 0;
            called.push(site.endpoint);
        }
        if called.is_empty() {
            return called;
        }
        let (mut kept, mut passes) = (List::EMPTY, self.pace.window_rows_host);
        while passes > 0
            && let Some(row) = self.hosts.get(at).queue.front()
        {
            let host = self.hosts.get_mut(at);
            self.rows.unlink(&mut host.queue, row);
            let (job, endpoint) = (self.rows.get(row), self.rows.get(row).target().endpoint);
            let last = host.sites.get(endpoint).and_then(|site| site.held.back());
            let is_called = last.is_some_and(|last| self.rows.get(last).row > job.row);
            if is_called && job.is_fresh() {
                self.hold_only(at, row);
            } else {
                self.rows.push_back(&mut kept, row);
                passes -= 1;
            }
        }
        let host = self.hosts.get_mut(at);
        self.rows.append(&mut kept, &mut host.queue);
        host.queue = kept;
        called
    }
}

/// Removes rows that were not tried yet from the end of a list, until `most` are evicted.
fn evict_from(
    rows: &mut Slab<Job>,
    list: &mut List,
    most: usize,
    passes: &mut usize,
    evicted: &mut Vec<Job>,
) {
    let mut next = list.back();
    while let Some(row) = next
        && evicted.len() < most
        && *passes > 0
    {
        next = rows.before(row);
        if rows.get(row).is_fresh() {
            rows.unlink(list, row);
            evicted.push(rows.remove(row));
        } else {
            *passes -= 1;
        }
    }
}
