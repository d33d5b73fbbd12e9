//! Deadlock detection: finds waits that would never end, and chooses the one that is refused. A wait that can end is never refused, and
//! only the sleepers that a wait depends on are visited.
//!
//! Sleepers, units and views are a graph of AND and OR: a sleeper goes on if any of its units is done, or by what is beside them; a unit is
//! done if all, or any, of its jobs are; a job ends if it runs on a thread that goes on, or gets a place in each of its views, and a
//! thread. A sleeper is *live* if that follows from what is known: a thread that is awake goes on, a deadline comes, a job that has not
//! begun will end. The others are stuck. When a sleeper falls asleep, and is stuck, it has completed a circle, and one wait of it is
//! refused: its own, or the first in the circle that can be woken with an error. If it is live, all others are as live as they were before.
//!
//! The search visits only what the sleeper depends on: each node once, and again when a node that it depends on turns out to be live. In a
//! chain of waits that is the last link, whatever the length.
//!
//! A wait for a job of another pool is searched with the mutexes of both held (`across`), taken in the order of their addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Waker;

use super::units::{Beside, Elsewhere, End, Need, Runs, Settles, Target};
use super::waits::{Verdict, Wait};
use super::{Core, Effects};
use crate::cell::{Position, Task};
use crate::view_id::{ROOT, ViewId};

impl Core {
    /// If sleeper `id` can never be woken again, its wait is refused, or that of another that it waits for.
    pub(super) fn refuse(&mut self, id: u64, effects: &mut Effects) -> Verdict {
        loop {
            match self.resolve(&[id], effects) {
                Found::Live(unknown) if unknown.is_empty() => return Verdict::Sleep,
                Found::Live(unknown) => return Verdict::Ask(unknown),
                Found::Stuck(Some(victim)) if victim == id => {
                    self.wakes(id);
                    return Verdict::Deadlock;
                }
                // That one goes on. This one may have completed another circle as well.
                Found::Stuck(Some(victim)) => effects.wake.push(self.doom(victim)),
                Found::Stuck(None) => return Verdict::Sleep,
            }
        }
    }

    /// A place has gone back to a sleeper that had lent it, and not to the next in the queue: what waited for that one may wait for ever
    /// now, although no worker has fallen asleep.
    pub(super) fn refuse_held_up(&mut self, effects: &mut Effects) {
        let held_up = |wait: &Wait| {
            let mut positions = wait.jobs().map(|job| job.place().position());
            positions.any(|position| matches!(position, Position::Queued(lane) if lane != ROOT))
                || wait.ends().next().is_some()
        };
        loop {
            let all = std::mem::take(&mut self.unsettled);
            let goals = self.waits.sleepers().filter(|wait| all || held_up(wait)).map(|wait| wait.id);
            let goals: Vec<u64> = goals.collect();
            match self.resolve(&goals, effects) {
                Found::Stuck(Some(victim)) => effects.wake.push(self.doom(victim)),
                Found::Live(_) | Found::Stuck(None) => return,
            }
        }
    }

    /// Looks whether these sleepers are stuck. If a job can be let through so that one need not wait for a deadline or be refused, it is.
    fn resolve(&mut self, goals: &[u64], effects: &mut Effects) -> Found {
        let mut tried = false;
        loop {
            let mut chart = Chart::new(vec![(0, &*self)], Hopes::ByItself);
            let mut all_live = true;
            let mut displacing = None;
            for id in goals {
                if chart.is_live((0, *id)) {
                    continue;
                }
                all_live = false;
                displacing = if tried { None } else { chart.displacing(0) };
                if displacing.is_some() {
                    break;
                }
            }
            if all_live {
                return Found::Live(chart.unknown);
            }
            let Some(job) = displacing else { return self.refusable(goals) };
            if !self.is_let_ahead(&job, &mut tried, effects) {
                return Found::Live(Vec::new());
            }
        }
    }

    /// Whether the wait of one of these sleepers, or of one that it waits for, is to be refused.
    fn refusable(&self, goals: &[u64]) -> Found {
        let mut chart = Chart::new(vec![(0, self)], Hopes::All);
        let mut some_stuck = false;
        for id in goals {
            if chart.is_live((0, *id)) {
                continue;
            }
            some_stuck = true;
            let stuck: Vec<u64> = chart.stuck().into_iter().map(|(_, id)| id).collect();
            if let Some(victim) = self.victim(&stuck) {
                chart.tell_why((0, victim));
                return Found::Stuck(Some(victim));
            }
        }
        if some_stuck { Found::Stuck(None) } else { Found::Live(chart.unknown) }
    }

    /// Lets the job through before others. Not if another that was is still on its way: when that one has begun, all is looked at again.
    fn is_let_ahead(&mut self, job: &Arc<dyn Task>, tried: &mut bool, effects: &mut Effects) -> bool {
        if self.ahead.is_some() {
            self.unsettled = true;
            return false;
        }
        self.ahead = Some((job.place().id(), job.place().lane));
        self.let_through_before_others(job, &mut effects.wake);
        if job.place().position() != Position::Queued(ROOT) {
            // A place that was to be lent to it was lent to another.
            (self.ahead, *tried) = (None, true);
        }
        self.baton(effects);
        true
    }

    /// Of sleepers that are stuck: whose wait is refused.
    fn victim(&self, stuck: &[u64]) -> Option<u64> {
        // A sleeper whose place is lent to another that is stuck could not go on after a refusal.
        let lent_to_stuck = |wait: &Wait| {
            let sleepers = wait.lent.iter().filter_map(|(_, job)| match job.place().position() {
                Position::Running(worker) => self.waits.sleeper_of(worker),
                Position::Queued(_) | Position::Gone => None,
            });
            sleepers.into_iter().any(|other| stuck.contains(&other.id))
        };
        let mut waits = stuck.iter().map(|id| self.waits.get(*id));
        waits.find(|wait| wait.can_be_refused() && !lent_to_stuck(wait)).map(|wait| wait.id)
    }
}

/// Whether sleeper `id` of the first pool can be woken, as far as that depends on the others; if not, who is to be woken with the error. The
/// address of each pool is that under which its jobs are known to the others.
/// `tried`: a job was to be let through before others, and was not.
pub(crate) fn refuse_across(pools: &mut [(usize, &mut Core)], id: u64, tried: &mut bool) -> Across {
    let mut chart = Chart::of(pools, Hopes::ByItself);
    if chart.is_live((0, id)) {
        let unknown = std::mem::take(&mut chart.unknown);
        return if unknown.is_empty() { Across::Live } else { Across::Ask(unknown) };
    }
    let displacing = (0..pools.len()).find_map(|number| Some((number, chart.displacing(number)?)));
    if let Some((number, job)) = displacing
        && !*tried
        && let Some((address, core)) = pools.get_mut(number)
    {
        let mut effects = Effects::default();
        let moved = core.is_let_ahead(&job, tried, &mut effects);
        return if moved { Across::LetThrough(*address, effects) } else { Across::Live };
    }
    let mut chart = Chart::of(pools, Hopes::All);
    if chart.is_live((0, id)) {
        let unknown = std::mem::take(&mut chart.unknown);
        return if unknown.is_empty() { Across::Live } else { Across::Ask(unknown) };
    }
    let stuck = chart.stuck();
    let victim = pools.iter().enumerate().find_map(|(number, (_, core))| {
        let own: Vec<u64> = stuck.iter().filter(|(pool, _)| *pool == number).map(|(_, id)| *id).collect();
        Some((number, core.victim(&own)?))
    });
    let Some((number, id)) = victim else { return Across::Live };
    chart.tell_why((number, id));
    pools.get_mut(number).map_or(Across::Live, |(_, core)| Across::Refused(core.doom(id)))
}

/// What is known of some sleepers.
enum Found {
    /// They can be woken; if their jobs in these pools can end.
    Live(Vec<Arc<dyn Elsewhere>>),
    /// Some are stuck. The wait of this one is to be refused.
    Stuck(Option<u64>),
}

pub(crate) enum Across {
    Live,
    /// Not before these pools are looked into as well.
    Ask(Vec<Arc<dyn Elsewhere>>),
    /// In the pool of that address a job was let through before others.
    LetThrough(usize, Effects),
    /// A wait was refused.
    Refused(Waker),
}

/// A sleeper: the number of its pool, and its own.
type Node = (usize, u64);

/// What a chart takes to come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hopes {
    /// What the pools will bring by themselves. Not deadlines, nor what is beside the jobs that a sleeper waits for: either may take any
    /// time. Who sleeps on no job at all is taken to wake.
    ByItself,
    /// What is beside the jobs and deadlines as well, and that a job that is slept on gets the place of one that has not begun.
    All,
}

/// Which sleepers can still be woken, as far as it is known.
struct Chart<'a> {
    hopes: Hopes,
    pools: Vec<Known<'a>>,
    live: BTreeSet<Node>,
    /// All that were asked for on the way to the last goal, in the order in which they were.
    order: Vec<Node>,
    seen: BTreeSet<Node>,
    /// Those that the sleeper which is looked at depends on.
    asked: Vec<Node>,
    /// Pools that are not in the chart; their jobs are taken to end.
    unknown: Vec<Arc<dyn Elsewhere>>,
}

struct Known<'a> {
    address: usize,
    core: &'a Core,
    by_worker: Option<BTreeMap<u32, Vec<u64>>>,
    /// Whether a thread is there for what is queued, or will be: as far as no other pool must be asked.
    thread: Option<bool>,
}

impl<'a> Chart<'a> {
    fn new(pools: Vec<(usize, &'a Core)>, hopes: Hopes) -> Self {
        let known =
            |(address, core): (usize, &'a Core)| Known { address, core, by_worker: None, thread: None };
        Chart {
            hopes,
            pools: pools.into_iter().map(known).collect(),
            live: BTreeSet::new(),
            order: Vec::new(),
            seen: BTreeSet::new(),
            asked: Vec::new(),
            unknown: Vec::new(),
        }
    }

    fn of(pools: &'a [(usize, &mut Core)], hopes: Hopes) -> Self {
        Self::new(pools.iter().map(|(address, core)| (*address, &**core)).collect(), hopes)
    }

    fn pool(&mut self, number: usize) -> &mut Known<'a> {
        self.pools.get_mut(number).expect("a sleeper is of a pool in the chart")
    }

    fn core(&mut self, number: usize) -> &'a Core {
        self.pool(number).core
    }

    /// Whether the sleeper can still be woken. If not, all sleepers that this depends on are in `order` afterwards. If it can, they were
    /// looked at only as far as was necessary, and nothing is known of those that were not.
    fn is_live(&mut self, goal: Node) -> bool {
        if self.live.contains(&goal) {
            return true;
        }
        self.order.clear();
        self.seen.clear();
        let mut dependents: BTreeMap<Node, Vec<Node>> = BTreeMap::new();
        self.seen.insert(goal);
        self.order.push(goal);
        let mut open = vec![goal];
        while let Some(node) = open.pop() {
            if self.live.contains(&node) {
                continue;
            }
            self.asked.clear();
            if self.will_wake(node) {
                self.live.insert(node);
                if node == goal {
                    return true;
                }
                open.extend(dependents.remove(&node).unwrap_or_default());
                continue;
            }
            for asked in std::mem::take(&mut self.asked) {
                if !dependents.contains_key(&asked) {
                    // Asked for the first time on the way to this goal.
                    open.push(asked);
                }
                if self.seen.insert(asked) {
                    self.order.push(asked);
                }
                dependents.entry(asked).or_default().push(node);
            }
        }
        false
    }

    /// Those that the last goal depends on, and that are not live. Only if the goal is not live, either.
    fn stuck(&self) -> Vec<Node> {
        self.order.iter().filter(|node| !self.live.contains(node)).copied().collect()
    }

    /// The wait of this sleeper, which is stuck, is refused: marks the jobs that are the reason, where it needs all of several.
    fn tell_why(&mut self, (pool, id): Node) {
        let wait = self.core(pool).waits.get(id);
        for unit in wait.units().iter().filter(|unit| unit.need() == Need::All) {
            for target in unit.open() {
                if !self.settles_in_the_end(pool, target, wait) {
                    target.refuse();
                }
            }
        }
    }

    fn settles_in_the_end(&mut self, pool: usize, target: &Target, wait: &'a Wait) -> bool {
        loop {
            self.asked.clear();
            if self.will_settle(pool, target, wait) {
                return true;
            }
            // Those that were not asked before may be live.
            let asked = std::mem::take(&mut self.asked);
            if !asked.into_iter().any(|node| self.is_live(node)) {
                return false;
            }
        }
    }

    /// A job of the pool that a stuck sleeper waits for, and that would run if it had the places of others that have not begun. Then `order`
    /// is as it was.
    fn displacing(&mut self, pool: usize) -> Option<Arc<dyn Task>> {
        let stuck = self.stuck().into_iter().filter(|(number, _)| *number == pool);
        let mut stuck: Vec<u64> = stuck.map(|(_, id)| id).collect();
        let found = self.displacing_for(pool, &stuck);
        if found.is_some() {
            return found;
        }
        // A sleeper that needs several jobs was given up at the first that would not end. One may be let through further down, behind another.
        let order = self.order.clone();
        let mut known: BTreeSet<u64> = stuck.iter().copied().collect();
        let core = self.core(pool);
        let mut next = 0;
        let mut found = None;
        while let Some(id) = stuck.get(next).copied()
            && found.is_none()
        {
            next += 1;
            let sleepers = core.waits.get(id).jobs().filter_map(|job| match job.place().position() {
                Position::Running(worker) => core.waits.sleeper_of(worker),
                Position::Queued(_) | Position::Gone => None,
            });
            let new: Vec<u64> = sleepers.map(|wait| wait.id).filter(|id| known.insert(*id)).collect();
            let new: Vec<u64> = new.into_iter().filter(|id| !self.is_live((pool, *id))).collect();
            found = self.displacing_for(pool, &new);
            stuck.extend(new);
        }
        self.order = order;
        found
    }

    fn displacing_for(&mut self, pool: usize, stuck: &[u64]) -> Option<Arc<dyn Task>> {
        let core = self.core(pool);
        let stuck = stuck.iter().map(|id| core.waits.get(*id)).filter(|wait| !wait.is_taking_back());
        let mut jobs = stuck.flat_map(|wait| {
            let jobs = wait.jobs().cloned().chain(core.held_up_before_ends(wait));
            jobs.map(move |job| (wait, job))
        });
        let found = jobs.find(|(wait, job)| {
            let place = job.place();
            let Position::Queued(view) = place.position() else { return false };
            if view == ROOT || self.will_be_let_through(pool, view, Some(*wait), Some(job)) {
                return false;
            }
            let by_worker = core.sleepers_by_worker();
            let lenders = core.behind(wait, &by_worker);
            core.lanes_of(view).all(|lane| {
                core.seen(lane).has_place()
                    || core.placed_behind(lane, place).is_some()
                    || lenders.iter().any(|lender| core.can_spare(lender, lane))
            }) && (wait.on.runs == Runs::Awaited || self.a_thread_will_come(pool))
        });
        found.map(|(_, job)| job)
    }

    fn asks(&mut self, node: Node) -> bool {
        let live = self.live.contains(&node);
        if !live {
            self.asked.push(node);
        }
        live
    }

    fn will_wake(&mut self, (pool, id): Node) -> bool {
        let wait = self.core(pool).waits.get(id);
        if !wait.is_asleep() {
            return true;
        }
        if wait.is_taking_back() {
            return wait.lent.iter().all(|(view, job)| self.will_return(pool, *view, job, wait));
        }
        let by_beside = self.hopes == Hopes::All || wait.units().is_empty();
        (wait.on.beside != Beside::Nothing && by_beside)
            || wait.units().iter().any(|unit| match unit.need() {
                Need::All => unit.open().all(|target| self.will_settle(pool, target, wait)),
                Need::Any => unit.open().any(|target| self.will_settle(pool, target, wait)),
                Need::End => unit.end().is_some_and(|end| self.will_come(pool, end, wait)),
            })
    }

    /// Whether everything that delays an end will end: what runs, and what is queued.
    fn will_come(&mut self, pool: usize, end: &End, wait: &'a Wait) -> bool {
        let Some(of) = self.pool_of(pool, end.pool.as_ref()) else { return true };
        let sleeper = (of == pool).then_some(wait);
        let core = self.core(of);
        core.workers_before_end(end.lane).into_iter().all(|worker| self.goes_on(of, worker))
            && core.queues_before_end(end.lane).into_iter().all(|at| {
                let first = core.first_queued(at, end.lane);
                self.will_be_let_through(of, at, sleeper, first.as_ref())
            })
    }

    /// The number of that pool, or of the one that asks. If it is not in the chart, it is noted.
    fn pool_of(&mut self, own: usize, elsewhere: Option<&Arc<dyn Elsewhere>>) -> Option<usize> {
        let Some(other) = elsewhere else { return Some(own) };
        let found = self.pools.iter().position(|pool| pool.address == address(other));
        if found.is_none() {
            self.unknown.push(Arc::clone(other));
        }
        found
    }

    fn will_settle(&mut self, pool: usize, target: &Target, wait: &'a Wait) -> bool {
        let deadlines = self.hopes == Hopes::All;
        if deadlines && target.settles() == Settles::InTime {
            return true;
        }
        let Some(of) = self.pool_of(pool, target.elsewhere()) else { return true };
        let (pool, sleeper) = (of, target.elsewhere().is_none().then_some(wait));
        let queued = matches!(target.task().place().position(), Position::Queued(_));
        (deadlines && queued && target.settles() == Settles::UnlessBegun)
            || self.will_end(pool, target.task(), sleeper)
    }

    fn will_end(&mut self, pool: usize, job: &Arc<dyn Task>, sleeper: Option<&'a Wait>) -> bool {
        match job.place().position() {
            Position::Gone => true,
            Position::Running(worker) => self.goes_on(pool, worker),
            Position::Queued(lane) => self.will_be_let_through(pool, lane, sleeper, Some(job)),
        }
    }

    /// Whether a place in the view that is lent to the job, which had begun, will come back to a sleeper that waits for it.
    fn will_return(&mut self, pool: usize, view: ViewId, job: &Arc<dyn Task>, lender: &'a Wait) -> bool {
        // One that has been given back by its worker is taken back as soon as the lender wakes.
        let queued = matches!(job.place().position(), Position::Queued(_));
        queued || self.will_end(pool, job, Some(lender)) || self.will_have_place(pool, view)
    }

    fn goes_on(&mut self, pool: usize, worker: u32) -> bool {
        let sleeper = self.core(pool).waits.sleeper_of(worker).map(|wait| wait.id);
        sleeper.is_none_or(|id| self.asks((pool, id)))
    }

    /// Whether `job`, if `sleeper` sleeps on it, or any job there will get a place in the lane, and in each that it is a view of; at last, a thread.
    fn will_be_let_through(
        &mut self,
        pool: usize,
        lane: ViewId,
        sleeper: Option<&'a Wait>,
        job: Option<&Arc<dyn Task>>,
    ) -> bool {
        let core = self.core(pool);
        let mut lanes = core.lanes_of(lane);
        let awaits = sleeper.is_some_and(|wait| !wait.is_taking_back());
        let runs = awaits && sleeper.is_some_and(|wait| wait.on.runs == Runs::Awaited);
        // The others that have a place there, and have not begun: of one of them it gets it, as soon as it has all others (`displacing`).
        let displaces = job.filter(|_| awaits && self.hopes == Hopes::All);
        lanes.all(|lane| {
            self.will_have_place(pool, lane)
                || sleeper.is_some_and(|wait| self.will_be_lent(pool, lane, wait))
                || displaces.is_some_and(|job| core.placed_behind(lane, job.place()).is_some())
        }) && (runs || self.a_thread_will_come(pool))
    }

    /// Whether a thread can come for what is queued: now, or when a sleeper has gone on and its job has ended.
    fn a_thread_will_come(&mut self, pool: usize) -> bool {
        let core = self.core(pool);
        let beside = self.hopes == Hopes::All && core.waits.some_beside();
        let known = *self
            .pool(pool)
            .thread
            .get_or_insert_with(|| core.has_thread() || beside || core.waits.some_waking());
        if known {
            return true;
        }
        let foreign = |wait: &&Wait| wait.units().iter().any(|unit| unit.is_foreign());
        core.waits.sleepers().filter(foreign).any(|wait| self.asks((pool, wait.id)))
    }

    /// Whether one that holds a place in the lane will give it back, for the next in the queue.
    fn will_have_place(&mut self, pool: usize, lane: ViewId) -> bool {
        let core = self.core(pool);
        let seen = core.seen(lane);
        if seen.has_place() {
            return true;
        }
        // On which workers jobs run in borrowed places. These go back to their lenders, and to no one in the queue.
        let waits = if seen.borrowed > 0 { Some(core.waits.all()) } else { None };
        let lent = waits.into_iter().flatten().flat_map(|wait| &wait.lent).filter(|(view, _)| *view == lane);
        let lent: Vec<u32> = lent
            .filter_map(|(_, job)| match job.place().position() {
                Position::Running(worker) => Some(worker),
                Position::Queued(_) | Position::Gone => None,
            })
            .collect();
        let own = |wait: &Wait| {
            core.held(wait, lane) - lent.iter().filter(|worker| **worker == wait.worker.number).count()
        };
        let asleep = match lent.is_empty() {
            true => seen.asleep,
            false => core.waits.sleepers().map(own).sum(),
        };
        // A job in a place of its own runs on a thread that is awake.
        if seen.inside - lent.len() > asleep {
            return true;
        }
        let mut holding = core.waits.sleepers().filter(|wait| own(wait) > 0);
        if holding.any(|wait| self.asks((pool, wait.id))) {
            return true;
        }
        // Those that are queued further on go on as any job there, or one of them as a job that is awaited.
        let queued = seen.admitted - seen.borrowed + lent.len() > seen.inside;
        queued && (self.others_go_on(pool, seen.parent) || self.an_awaited_goes_on(pool, lane))
    }

    fn others_go_on(&mut self, pool: usize, lane: ViewId) -> bool {
        let mut lanes = self.core(pool).lanes_of(lane);
        lanes.all(|lane| self.will_have_place(pool, lane)) && self.a_thread_will_come(pool)
    }

    /// Whether a job that has a place in the lane, and is queued further on, is awaited by one that will lend it the next place.
    fn an_awaited_goes_on(&mut self, pool: usize, lane: ViewId) -> bool {
        let core = self.core(pool);
        let mut before_ends = core.waits.sleepers().filter(|wait| wait.ends().next().is_some());
        if before_ends.any(|wait| {
            let queues: Vec<ViewId> = wait.ends().flat_map(|end| core.queues_beyond(lane, end)).collect();
            queues.into_iter().any(|at| self.will_be_let_through(pool, at, Some(wait), None))
        }) {
            return true;
        }
        core.waits.sleepers().any(|wait| {
            wait.jobs().any(|job| match job.place().position() {
                Position::Queued(at) => {
                    at != lane
                        && core.within(job.place().lane, lane)
                        && core.within(lane, at)
                        && self.will_be_let_through(pool, at, Some(wait), Some(job))
                }
                Position::Running(_) | Position::Gone => false,
            })
        })
    }

    /// Whether a place that is lent will come back to one that would lend it to this sleeper next.
    fn will_be_lent(&mut self, pool: usize, lane: ViewId, sleeper: &'a Wait) -> bool {
        let core = self.core(pool);
        let by_worker = self.pool(pool).by_worker.get_or_insert_with(|| core.sleepers_by_worker());
        let lenders = core.behind(sleeper, by_worker);
        let threads = lenders.iter().flat_map(|wait| core.waits.of_worker(wait.worker.number));
        let mut lent = threads.flat_map(|wait| &wait.lent).filter(|(lent, _)| *lent == lane);
        lent.any(|(_, job)| {
            let on_it = |wait: &&Wait| {
                wait.jobs().any(|other| std::ptr::eq(other.place(), job.place()))
                    || wait.ends().any(|lane| core.within(job.place().lane, lane))
            };
            match job.place().position() {
                Position::Gone => true,
                Position::Running(worker) => self.goes_on(pool, worker),
                // It has passed this lane, so this ends at the root.
                Position::Queued(next) => core
                    .waits
                    .sleepers()
                    .filter(on_it)
                    .any(|wait| next != lane && self.will_be_let_through(pool, next, Some(wait), None)),
            }
        })
    }
}

fn address(pool: &Arc<dyn Elsewhere>) -> usize {
    Arc::as_ptr(pool).addr()
}
