//! Keeps one cloud server connected as long as anybody wants it.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::backoff::Backoff;
use super::{CloudEvent, failure};
use crate::mqtt::client::{CloudDestination, Delivery, Happening, Link};
use crate::proto::action::{CloudFailure, ServerId};
use crate::thing::clock::os_rng;

/// How long each step of the way to the server may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// A link that lasted so long was no failed attempt.
const STABLE: Duration = Duration::from_secs(60);
/// Messages of one server that are passed on: so many at once after a quiet time. An honest server
/// forwards 10 a second for each topic (protocol section 10); a hostile one must not keep the thing busy.
const BURST: u32 = 320;
/// And so many a second in the long run.
const EACH_SECOND: u32 = 160;

/// What the thing wants of a server.
#[derive(Debug)]
pub(super) enum Command {
    Subscribe { topic: String, delivery: Delivery },
    Publish { topic: String, payload: Vec<u8>, delivery: Delivery },
}

/// One server's task; it ends when the commands do.
pub(super) struct Keeper {
    pub(super) server: ServerId,
    pub(super) destination: CloudDestination,
    /// The topic on which the server answers: a link that cannot hear them is none.
    pub(super) answers: String,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) events: mpsc::Sender<CloudEvent>,
}

/// Nobody wants the link any more.
struct Dismissed;

impl Keeper {
    pub(super) async fn keep(mut self) {
        // Whoever dismisses it waits for no answer.
        let Err(Dismissed) = self.run().await;
    }

    async fn run(&mut self) -> Result<std::convert::Infallible, Dismissed> {
        let mut backoff = Backoff::new();
        let mut diary = Diary::default();
        loop {
            let opened = tokio::select! {
                opened = Link::open_cloud(&self.destination, PATIENCE) => opened,
                () = dismissed(&mut self.commands) => return Err(Dismissed),
            };
            let host = &self.destination.host;
            let reason = match opened {
                Ok(link) => {
                    diary.reached(host);
                    self.tell(CloudEvent::Up { server: self.server }).await?;
                    let since = Instant::now();
                    let (reason, error) = self.serve(link).await?;
                    if since.elapsed() >= STABLE {
                        backoff.reset();
                        diary = Diary::default();
                    }
                    diary.failed(&self.destination.host, reason, &error);
                    reason
                }
                Err(error) => {
                    let reason = failure(&error);
                    diary.failed(host, reason, &error);
                    reason
                }
            };
            self.tell(CloudEvent::Down { server: self.server, reason }).await?;
            let wait = backoff.draw(&mut os_rng());
            tokio::select! {
                () = sleep(wait) => {}
                () = dismissed(&mut self.commands) => return Err(Dismissed),
            }
        }
    }

    /// Passes on what comes and what is asked for, until the link is lost or worth nothing.
    async fn serve(&mut self, mut link: Link) -> Result<(CloudFailure, String), Dismissed> {
        let mut allowance = Allowance::full();
        loop {
            tokio::select! {
                happening = link.happening() => {
                    let server = self.server;
                    let event = match happening {
                        Ok(Happening::Publication(publication)) => {
                            if !allowance.take(Instant::now()) {
                                debug!(server = self.destination.host, "more messages than an honest server sends");
                                continue;
                            }
                            // MQTT's topics are UTF-8 (3.1.1 section 4.7.3); what is not is nobody's topic.
                            let Ok(topic) = String::from_utf8(publication.topic) else { continue };
                            CloudEvent::Message { server, topic, payload: publication.payload }
                        }
                        Ok(Happening::Subscribed { topic, granted: false }) if topic == self.answers => {
                            link.close().await;
                            return Ok((CloudFailure::Refused, "it does not let the thing hear its answers".to_owned()));
                        }
                        Ok(Happening::Subscribed { topic, granted }) => CloudEvent::Subscribed { server, topic, granted },
                        Err(error) => return Ok((CloudFailure::Lost, error.to_string())),
                    };
                    self.tell(event).await?;
                }
                command = self.commands.recv() => {
                    let taken = match command {
                        Some(Command::Subscribe { topic, delivery }) => link.begin_subscribe(&topic, delivery),
                        Some(Command::Publish { topic, payload, delivery }) => {
                            link.try_publish(&topic, delivery, payload)
                        }
                        None => {
                            link.close().await;
                            return Err(Dismissed);
                        }
                    };
                    if !taken {
                        debug!(server = self.destination.host, "the cloud link is too slow: dropped");
                    }
                }
            }
        }
    }

    async fn tell(&self, event: CloudEvent) -> Result<(), Dismissed> {
        self.events.send(event).await.map_err(|_| Dismissed)
    }
}

/// What was logged since a link lasted: each news once, for a server may be away for days, or take every
/// link and drop it again.
#[derive(Debug, Default)]
struct Diary(Vec<News>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    Reached,
    Failed(CloudFailure),
}

impl Diary {
    fn reached(&mut self, host: &str) {
        if self.is_news(News::Reached) {
            info!(server = host, "cloud server reached");
        } else {
            debug!(server = host, "cloud server reached");
        }
    }

    fn failed(&mut self, host: &str, reason: CloudFailure, error: &dyn std::fmt::Display) {
        match (self.is_news(News::Failed(reason)), reason) {
            (false, _) => debug!(server = host, %error, "no cloud link"),
            (true, CloudFailure::WrongName | CloudFailure::WrongAuthority | CloudFailure::Refused) => {
                warn!(server = host, %error, "no cloud link");
            }
            (true, CloudFailure::Dns | CloudFailure::Unreachable | CloudFailure::Tls | CloudFailure::Lost) => {
                info!(server = host, %error, "no cloud link");
            }
        }
    }

    fn is_news(&mut self, news: News) -> bool {
        let is_news = !self.0.contains(&news);
        if is_news {
            self.0.push(news);
        }
        is_news
    }
}

/// Waits until nobody wants the link any more. What is asked for meanwhile is dropped: nothing waits for
/// a server that is away.
async fn dismissed(commands: &mut mpsc::Receiver<Command>) {
    while commands.recv().await.is_some() {}
}

/// How many messages a server may still send at once; it needs no timer.
struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    fn full() -> Self {
        Self { left: BURST.into(), at: Instant::now() }
    }

    fn take(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(EACH_SECOND);
        self.left = (self.left + earned).min(BURST.into());
        self.at = now;
        let takes = self.left >= 1.0;
        if takes {
            self.left -= 1.0;
        }
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_away_for_days_or_comes_and_goes_is_a_few_lines_of_log() {
        let mut diary = Diary::default();
        let mut lines = 0;
        for _ in 0..10_000 {
            for reason in [CloudFailure::Dns, CloudFailure::Unreachable, CloudFailure::Refused, CloudFailure::Lost] {
                lines += usize::from(diary.is_news(News::Failed(reason)));
                lines += usize::from(diary.is_news(News::Reached));
            }
        }
        assert_eq!(lines, 5, "each of four failures, and that it was reached");
    }

    #[test]
    fn a_flood_is_thinned_out_and_a_household_is_not() {
        let mut allowance = Allowance::full();
        let start = allowance.at;
        let passed = (0..10_000).filter(|_| allowance.take(start)).count();
        assert_eq!(passed, BURST as usize);
        let later = start + Duration::from_secs(1);
        assert_eq!((0..10_000).filter(|_| allowance.take(later)).count(), EACH_SECOND as usize);
        // 16 controllers, 10 messages a second each.
        let mut now = later;
        for _ in 0..1000 {
            now += Duration::from_micros(6251);
            assert!(allowance.take(now));
        }
    }
}
