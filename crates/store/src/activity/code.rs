//! Closed sets as small numbers. A number that has been released never changes its meaning.

use slipstream_core::answer::ErrorCode;
use slipstream_core::config::Surface;
use slipstream_core::contract::PostKind;
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::lane::{Lane, Visibility};

use crate::ecg::activities::Dispatch;

/// A closed set whose members stand in SQL as numbers.
pub(crate) trait Code: Copy + Sized {
    /// The member's number.
    fn code(self) -> i16;
    /// The member with this number.
    fn from_code(code: i16) -> Option<Self>;
}

/// Gives each member its number. Forgetting a member does not compile.
macro_rules! codes {
    ($kind:ident { $($member:ident = $code:literal),+ $(,)? }) => {
        impl Code for $kind {
            fn code(self) -> i16 {
                match self { $(Self::$member => $code),+ }
            }

            fn from_code(code: i16) -> Option<Self> {
                match code { $($code => Some(Self::$member),)+ _ => None }
            }
        }
    };
}

// In order of precedence: the higher of two final states holds. Tens leave room for states to come.
codes! { DeliveryState {
    Scheduled = 0,
    RetryWait = 10,
    Cancelled = 20,
    Expired = 30,
    Exhausted = 40,
    Failed = 50,
    Succeeded = 60,
} }

codes! { Reason {
    EndpointGone = 1,
    EndpointDisabled = 2,
    SubscriptionRemoved = 3,
    FinalAnswer = 4,
    ExpiryTime = 5,
    NoAttemptsLeft = 6,
    EndpointSlowed = 7,
    EndpointBusy = 8,
    BreakerOpen = 9,
    RateLimited = 10,
    ConsentPending = 11,
    CancelledByRequest = 12,
    Rescheduled = 13,
    SecretsSealed = 14,
    EndpointPaused = 15,
} }

codes! { ErrorCode {
    Dns = 1,
    TargetNotAllowed = 2,
    Connect = 3,
    Tls = 4,
    Timeout = 5,
    Protocol = 6,
} }

codes! { Surface { Slipstream = 1, Ecg = 2 } }

codes! { PostKind { Activation = 0, Event = 1 } }

codes! { Dispatch { Platform = 0, External = 1 } }

codes! { Lane { Normal = 0, High = 1, Realtime = 2 } }

codes! { Visibility { Internal = 0, Public = 1, WorkQueue = 2, Private = 3 } }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_states_are_exactly_those_from_twenty_on_and_succeeded_is_the_highest() {
        for state in DeliveryState::ALL {
            assert_eq!(state.is_terminal(), state.code() >= 20, "{state:?}");
            assert_eq!(DeliveryState::from_code(state.code()), Some(state));
            assert!(state.code() <= DeliveryState::Succeeded.code());
        }
    }

    #[test]
    fn lanes_and_visibilities_have_the_numbers_of_their_attributes() {
        for lane in Lane::ALL {
            assert_eq!(i32::from(lane.code()), lane.priority());
        }
        for visibility in Visibility::ALL {
            assert_eq!(i32::from(visibility.code()), visibility.number());
        }
    }
}
