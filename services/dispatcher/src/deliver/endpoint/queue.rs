//! Deliveries that wait in this process for a place at their endpoint.

use std::collections::VecDeque;

use slipstream_core::lane::Lane;

use super::super::pick::pick_order;
use super::super::work::Work;

/// One endpoint's queue. The lanes are asked in the order of [`pick_order`].
#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: [VecDeque<Work>; 3],
    picks: u32,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }

    /// Deliveries of one lane.
    pub(super) fn len_of(&self, lane: Lane) -> usize {
        self.lanes[lane as usize].len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.iter().all(VecDeque::is_empty)
    }

    pub(super) fn push(&mut self, work: Work) {
        self.lanes[work.lane as usize].push_back(work);
    }

    /// The next one of a lane that `may_start`, which is asked of lanes that have one only.
    pub(super) fn pop(&mut self, may_start: impl Fn(Lane) -> bool) -> Option<Work> {
        self.picks = self.picks.wrapping_add(1);
        let mut lanes = pick_order(self.picks).into_iter().filter(|lane| !self.lanes[*lane as usize].is_empty());
        let lane = lanes.find(|lane| may_start(*lane))?;
        self.lanes[lane as usize].pop_front()
    }
}
