//! Which lane is asked first: the most urgent one, but no lane starves (SPEC 4.5).

use slipstream_core::lane::Lane;

/// Every how many picks a lower lane is asked first. The two lower lanes take turns at it.
const LOWER_FIRST_EVERY: u32 = 8;

/// The order in which the lanes are asked for pick number `pick`.
pub(crate) const fn pick_order(pick: u32) -> [Lane; 3] {
    if !pick.is_multiple_of(LOWER_FIRST_EVERY) {
        return Lane::ALL;
    }
    if pick.is_multiple_of(2 * LOWER_FIRST_EVERY) {
        [Lane::Normal, Lane::High, Lane::Realtime]
    } else {
        [Lane::High, Lane::Normal, Lane::Realtime]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_all_lanes_full_realtime_has_seven_in_eight_and_the_others_share_the_eighth() {
        let first = |lane| (0..1600).filter(|pick| pick_order(*pick)[0] == lane).count();
        assert_eq!((first(Lane::Realtime), first(Lane::High), first(Lane::Normal)), (1400, 100, 100));
    }

    #[test]
    fn every_order_asks_every_lane() {
        for pick in 0..32 {
            let mut order = pick_order(pick);
            order.sort_unstable();
            assert_eq!(order, [Lane::Normal, Lane::High, Lane::Realtime]);
        }
    }
}
