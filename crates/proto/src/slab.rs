//! A slab with intrusive doubly linked lists: the queue of a host's rows, the ring of hosts that may start, the idle
//! connections. Links are 32-bit indices, so a list costs eight bytes a value and no allocation.
//!
//! A value is in at most one list at a time. The list is not recorded in the slot; the owner of the value passes the
//! right one.

/// No slot.
pub(crate) const NONE: u32 = u32::MAX;

/// Values by slot number. The slot of a removed value is reused.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    /// Every block but the last is full. Growing by blocks moves no value; a vector that doubles would need three times
    /// its size while it copies.
    blocks: Vec<Vec<Slot<T>>>,
    /// The first free slot; free slots are linked by `next`.
    free: u32,
    len: usize,
}

const BLOCK_SLOTS: usize = 256;

#[derive(Debug)]
struct Slot<T> {
    prev: u32,
    next: u32,
    value: Option<T>,
}

/// The two ends of a list whose links are in a [`Slab`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct List {
    head: u32,
    tail: u32,
    len: u32,
}

impl List {
    pub(crate) const EMPTY: Self = Self { head: NONE, tail: NONE, len: 0 };

    pub(crate) fn is_empty(self) -> bool {
        self.len == 0
    }

    pub(crate) fn len(self) -> usize {
        self.len as usize
    }

    pub(crate) fn front(self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    pub(crate) fn back(self) -> Option<u32> {
        (self.tail != NONE).then_some(self.tail)
    }
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { blocks: Vec::new(), free: NONE, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Stores a value in no list.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        let at = self.free;
        if at == NONE {
            return self.extend(value);
        }
        let slot = self.slot(at);
        let free = slot.next;
        *slot = Slot { prev: NONE, next: NONE, value: Some(value) };
        self.free = free;
        at
    }

    fn extend(&mut self, value: T) -> u32 {
        let full = self.blocks.last().is_none_or(|block| block.len() == BLOCK_SLOTS);
        if full {
            self.blocks.push(Vec::with_capacity(BLOCK_SLOTS));
        }
        let before = (self.blocks.len() - 1) * BLOCK_SLOTS;
        let last = self.blocks.last_mut().expect("the last block has room");
        let at = u32::try_from(before + last.len()).unwrap_or(NONE);
        assert!(at != NONE, "a slab holds fewer than 2^32 values");
        last.push(Slot { prev: NONE, next: NONE, value: Some(value) });
        at
    }

    /// Removes a value, which must be in no list.
    pub(crate) fn remove(&mut self, at: u32) -> T {
        let free = self.free;
        let slot = self.slot(at);
        slot.next = free;
        let value = slot.value.take().expect("a slot that is named holds a value");
        self.free = at;
        self.len -= 1;
        value
    }

    /// The value in a slot that may be free.
    pub(crate) fn peek(&self, at: u32) -> Option<&T> {
        self.peek_slot(at)?.value.as_ref()
    }

    pub(crate) fn get(&self, at: u32) -> &T {
        self.peek(at).expect("a slot that is named holds a value")
    }

    pub(crate) fn get_mut(&mut self, at: u32) -> &mut T {
        self.slot(at).value.as_mut().expect("a slot that is named holds a value")
    }

    /// The predecessor of a value in its list.
    pub(crate) fn before(&self, at: u32) -> Option<u32> {
        self.peek_slot(at).map(|slot| slot.prev).filter(|prev| *prev != NONE)
    }

    /// All values with their slots, in the order of the slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(self.blocks.iter().flatten()).filter_map(|(at, slot)| Some((at, slot.value.as_ref()?)))
    }

    /// All values, in the order of the slots.
    pub(crate) fn into_values(self) -> impl Iterator<Item = T> {
        self.blocks.into_iter().flatten().filter_map(|slot| slot.value)
    }

    pub(crate) fn push_back(&mut self, list: &mut List, at: u32) {
        self.link(list, list.tail, at, NONE);
    }

    pub(crate) fn push_front(&mut self, list: &mut List, at: u32) {
        self.link(list, NONE, at, list.head);
    }

    /// Inserts a value into a sorted list, searching from the back: behind the last value that need not come `after` it.
    pub(crate) fn insert_sorted(&mut self, list: &mut List, at: u32, after: impl Fn(&T) -> bool) {
        let (mut prev, mut next) = (list.tail, NONE);
        while prev != NONE && after(self.get(prev)) {
            (prev, next) = (self.slot(prev).prev, prev);
        }
        self.link(list, prev, at, next);
    }

    /// Inserts a value into a sorted list, searching from the front: before the first value that must come `after` it.
    pub(crate) fn insert_before(&mut self, list: &mut List, at: u32, after: impl Fn(&T) -> bool) {
        let (mut prev, mut next) = (NONE, list.head);
        while next != NONE && !after(self.get(next)) {
            (prev, next) = (next, self.slot(next).next);
        }
        self.link(list, prev, at, next);
    }

    /// Unlinks a value from the list that it is in; it stays in the slab.
    pub(crate) fn unlink(&mut self, list: &mut List, at: u32) {
        let slot = self.slot(at);
        let (prev, next) = (slot.prev, slot.next);
        match prev {
            NONE => list.head = next,
            _ => self.slot(prev).next = next,
        }
        match next {
            NONE => list.tail = prev,
            _ => self.slot(next).prev = prev,
        }
        list.len = list.len.checked_sub(1).expect("a value is unlinked from the list that it is in");
    }

    /// Moves all of `from` to the end of `list`.
    pub(crate) fn append(&mut self, list: &mut List, from: &mut List) {
        match (list.tail, from.head) {
            (_, NONE) => {}
            (NONE, _) => *list = *from,
            (tail, head) => {
                self.slot(tail).next = head;
                self.slot(head).prev = tail;
                list.tail = from.tail;
                list.len += from.len;
            }
        }
        *from = List::EMPTY;
    }

    fn link(&mut self, list: &mut List, prev: u32, at: u32, next: u32) {
        let slot = self.slot(at);
        (slot.prev, slot.next) = (prev, next);
        match prev {
            NONE => list.head = at,
            _ => self.slot(prev).next = at,
        }
        match next {
            NONE => list.tail = at,
            _ => self.slot(next).prev = at,
        }
        list.len += 1;
    }

    fn peek_slot(&self, at: u32) -> Option<&Slot<T>> {
        self.blocks.get(at as usize / BLOCK_SLOTS)?.get(at as usize % BLOCK_SLOTS)
    }

    fn slot(&mut self, at: u32) -> &mut Slot<T> {
        let slot =
            self.blocks.get_mut(at as usize / BLOCK_SLOTS).and_then(|b| b.get_mut(at as usize % BLOCK_SLOTS));
        slot.expect("a slot that is named exists")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pop_front(slab: &mut Slab<u32>, list: &mut List) -> Option<u32> {
        let at = list.front()?;
        slab.unlink(list, at);
        Some(slab.remove(at))
    }

    /// Applies steps such as `b1` (push 1 to the back), `f2` (to the front), `s1` and `e1` (in its place by size), `u1`
    /// (unlink and remove), `p` (pop the front), `+` (append a list of 8 and 9), and compares what is left.
    fn check(steps: &str, expected: &[u32]) {
        let mut slab = Slab::new();
        let mut list = List::EMPTY;
        let find = |slab: &Slab<u32>, value| slab.iter().find(|(_, v)| **v == value).unwrap().0;
        for step in steps.split_whitespace() {
            let value = step[1..].parse().unwrap_or(0);
            match &step[..1] {
                "b" => {
                    let at = slab.insert(value);
                    slab.push_back(&mut list, at);
                }
                "f" => {
                    let at = slab.insert(value);
                    slab.push_front(&mut list, at);
                }
                "s" => {
                    let at = slab.insert(value);
                    slab.insert_sorted(&mut list, at, |other| *other > value);
                }
                "e" => {
                    let at = slab.insert(value);
                    slab.insert_before(&mut list, at, |other| *other > value);
                }
                "u" => {
                    let at = find(&slab, value);
                    slab.unlink(&mut list, at);
                    slab.remove(at);
                }
                "p" => drop(pop_front(&mut slab, &mut list)),
                "+" => {
                    let mut more = List::EMPTY;
                    for value in [8, 9] {
                        let at = slab.insert(value);
                        slab.push_back(&mut more, at);
                    }
                    slab.append(&mut list, &mut more);
                    assert!(more.is_empty());
                }
                other => panic!("{other}"),
            }
        }
        assert_eq!(list.len(), expected.len(), "{steps}");
        let values: Vec<u32> = std::iter::from_fn(|| pop_front(&mut slab, &mut list)).collect();
        assert_eq!(values, expected, "{steps}");
        assert_eq!((slab.len(), list), (0, List::EMPTY), "{steps}");
    }

    #[test]
    fn lists_keep_their_order() {
        check("b1 b2 f3", &[3, 1, 2]);
        check("b1 b2 b3 u2", &[1, 3]);
        check("b1 b2 u1 u2 b4", &[4]);
        check("p b1 p p f2", &[2]);
        check("b1 +", &[1, 8, 9]);
        check("+ f1 u9 b2", &[1, 8, 2]);
        check("s2 s9 s1 s5 s9", &[1, 2, 5, 9, 9]);
        check("e2 e9 e1 e5 e9 e3 u1 e0", &[0, 2, 3, 5, 9, 9]);
    }

    #[test]
    fn values_stay_where_they_are_over_many_blocks() {
        let mut slab = Slab::new();
        for value in 0..1_000 {
            assert_eq!(slab.insert(value), value);
        }
        assert!((0..1_000).all(|value| *slab.get(value) == value));
        assert_eq!(
            (slab.remove(999), slab.remove(256), slab.peek(256), slab.peek(1_024)),
            (999, 256, None, None)
        );
        assert_eq!((slab.insert(7), slab.insert(8), slab.insert(9)), (256, 999, 1_000));
        assert_eq!(slab.into_values().filter(|value| (7..10).contains(value)).count(), 6);
    }

    #[test]
    fn slots_are_used_again() {
        let mut slab = Slab::new();
        let (a, b) = (slab.insert('a'), slab.insert('b'));
        assert_eq!(slab.remove(a), 'a');
        assert_eq!(slab.insert('c'), a);
        assert_eq!((slab.get(a), slab.get(b), slab.len()), (&'c', &'b', 2));
    }
}
