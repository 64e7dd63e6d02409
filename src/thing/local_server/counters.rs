//! What has been refused, by reason. Strangers leave a number here and no line in the log.

use crate::mqtt::server::{CloseReason, Refusal, Rejection};

/// Totals since the daemon has started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// TCP connections taken.
    pub accepted: u64,
    /// TCP connections closed at once because their source, or all sources, made too many.
    pub rate_limited: u64,
    /// Failures of accept, the lack of file descriptors among them.
    pub accept_errors: u64,
    /// Handshakes that failed: wrong key, unknown identity, another protocol, garbage.
    pub handshakes_failed: u64,
    /// Handshakes that took too long.
    pub handshakes_late: u64,
    /// Handshakes given up in favour of newer ones.
    pub handshakes_displaced: u64,
    /// Handshakes that succeeded.
    pub handshakes: u64,
    /// Connections closed because all places for sessions were taken.
    pub no_place: u64,
    /// Sessions whose admission ended.
    pub admissions_ended: u64,
    /// Handshakes with a key that is watched.
    pub watched: u64,
    /// Sessions opened.
    pub opened: u64,
    /// First packets that are no CONNECT, or not a readable one.
    pub not_connect: u64,
    /// Sessions without a CONNECT in time.
    pub no_connect: u64,
    /// CONNECTs with the wrong user name or password.
    pub bad_credentials: u64,
    /// CONNECTs refused for another reason.
    pub refused: u64,
    /// Messages published.
    pub published: u64,
    /// Publishes to a topic that is not the session's.
    pub publish_topic: u64,
    /// Subscriptions to a topic that is not the session's.
    pub subscribe_topic: u64,
    /// Sessions ended because of a retained message.
    pub retained: u64,
    /// Sessions ended because of QoS 2.
    pub exactly_once: u64,
    /// Sessions ended because of a packet against the rules.
    pub protocol: u64,
    /// Sessions ended because of a packet that is too large.
    pub too_large: u64,
    /// Sessions ended by silence.
    pub keep_alive: u64,
    /// Sessions ended because their client did not read.
    pub slow_readers: u64,
    /// Sessions that a newer one of the same client took over.
    pub taken_over: u64,
}

impl Counters {
    pub(super) fn count_rejection(&mut self, rejection: Rejection) {
        *match rejection {
            Rejection::PublishTopic => &mut self.publish_topic,
            Rejection::SubscribeTopic => &mut self.subscribe_topic,
        } += 1;
    }

    pub(super) fn count_close(&mut self, reason: CloseReason) {
        *match reason {
            CloseReason::ByClient | CloseReason::Ended => return,
            CloseReason::NoConnect => &mut self.no_connect,
            CloseReason::NotConnect => &mut self.not_connect,
            CloseReason::Refused(Refusal::BadCredentials) => &mut self.bad_credentials,
            CloseReason::Refused(Refusal::NotAuthorized | Refusal::ClientId | Refusal::Busy) => &mut self.refused,
            CloseReason::KeepAlive => &mut self.keep_alive,
            CloseReason::Retained => &mut self.retained,
            CloseReason::ExactlyOnce => &mut self.exactly_once,
            CloseReason::Protocol => &mut self.protocol,
            CloseReason::TooLarge => &mut self.too_large,
            CloseReason::SlowReader => &mut self.slow_readers,
            CloseReason::TakenOver => &mut self.taken_over,
        } += 1;
    }
}
