//! `sect doctor`: every step of every way to a plug, one by one, and what to do where one fails.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::Context;
use super::report::{milliseconds, on_or_off};
use crate::controller::cloud;
use crate::controller::discover::Browse;
use crate::controller::exit::{Exit, Failure};
use crate::controller::keyring::Entry;
use crate::controller::print::{Printer, clean};
use crate::controller::reach::{Search, Ways};
use crate::controller::session::{self, CloudState, Session, accepted};
use crate::mqtt::client::{CloudError, Step};
use crate::proto::pairing::message::CloudServer;

/// How long announcements are listened for.
const LISTEN: Duration = Duration::from_secs(2);
/// How long each step of the way to a cloud server may take.
const STEP: Duration = Duration::from_secs(5);
/// The steps of that way, in their order.
const CLOUD_STEPS: [&str; 4] = ["name", "connection", "certificate", "login"];

/// One step.
#[derive(Debug, Serialize)]
struct Check {
    /// Which.
    check: String,
    ok: bool,
    /// What was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<String>,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// All of them, for a script.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    checks: &'a [Check],
}

/// Shows each step to a person as it is taken.
struct Checkup<'a> {
    printer: &'a Printer,
    checks: Vec<Check>,
    first_failure: Option<Failure>,
    /// Cloud servers that the plug itself, by its own word, is not at.
    plug_is_not_at: Vec<String>,
}

impl<'a> Checkup<'a> {
    fn new(printer: &'a Printer) -> Self {
        Self { printer, checks: Vec::new(), first_failure: None, plug_is_not_at: Vec::new() }
    }

    fn good(&mut self, check: impl Into<String>, found: impl Into<String>) {
        self.add(Check { check: check.into(), ok: true, found: Some(found.into()), problem: None, next: None });
    }

    fn bad(&mut self, check: impl Into<String>, failure: Failure) {
        let (problem, next) = (Some(failure.message.clone()), failure.next.clone());
        self.add(Check { check: check.into(), ok: false, found: None, problem, next });
        self.first_failure.get_or_insert(failure);
    }

    /// What fails at a server that the plug itself is not at, fails for that reason.
    fn because(&self, server: &CloudServer, failure: Failure) -> Failure {
        if self.plug_is_not_at.contains(&server.host) {
            failure.next("the plug cannot get there: see the plug's own link above")
        } else {
            failure
        }
    }

    fn add(&mut self, check: Check) {
        if !self.printer.is_json() {
            self.printer.text(&clean(&line(&check)));
        }
        self.checks.push(check);
    }

    fn finish(self) -> Result<(), Failure> {
        let failed = self.checks.iter().filter(|check| !check.ok).count();
        if self.printer.is_json() {
            self.printer.value(&Report { ok: failed == 0, checks: &self.checks });
        }
        match self.first_failure {
            None => Ok(()),
            Some(first) => {
                Err(Failure { message: format!("{failed} of {} steps failed", self.checks.len()), next: None, ..first })
            }
        }
    }
}

fn line(check: &Check) -> String {
    let (mark, text) = match (&check.found, &check.problem) {
        (_, Some(problem)) => ("FAILED", problem.as_str()),
        (found, None) => ("ok", found.as_deref().unwrap_or_default()),
    };
    let next = check.next.as_ref().map(|next| format!("\n        {next}")).unwrap_or_default();
    format!("{mark:<6}  {}: {text}{next}", check.check)
}

/// Checks all that is wanted.
pub(super) async fn run(context: &Context<'_>) -> Result<(), Failure> {
    let mut checkup = Checkup::new(context.printer);
    match context.keyring().and_then(|keyring| context.device(&keyring)) {
        Err(failure) => checkup.bad("keyring", failure),
        Ok(entry) => {
            checkup.good("keyring", format!("{}, {}", entry.alias, entry.binding.thing));
            let search = context.search();
            if search.ways != Ways::Remote {
                at_home(&mut checkup, &entry, &search).await;
            }
            if search.ways != Ways::Local {
                if entry.binding.clouds.is_empty() {
                    checkup.good("cloud server", "none: this plug is reached on its home network alone");
                }
                for server in &entry.binding.clouds {
                    from_elsewhere(&mut checkup, &entry, server, &search).await;
                }
            }
        }
    }
    checkup.finish()
}

/// SecT STEP 10-13.
async fn at_home(checkup: &mut Checkup<'_>, entry: &Entry, search: &Search) {
    if search.address.is_none() {
        match announcements(search).await {
            Ok(0) => checkup.bad(
                "discovery",
                Failure::new(Exit::NotFound, "no plug announces itself on this network")
                    .next("is this computer on the plug's network? A guest network keeps its devices apart"),
            ),
            Ok(1) => checkup.good("discovery", "one plug announces itself"),
            Ok(n) => checkup.good("discovery", format!("{n} plugs announce themselves")),
            Err(failure) => checkup.bad("discovery", failure),
        }
    }
    let search = Search { ways: Ways::Local, ..search.clone() };
    answer(checkup, "home network", entry, &search, || "at home".to_owned()).await;
}

/// How many things announce themselves.
async fn announcements(search: &Search) -> Result<usize, Failure> {
    let mut browse = Browse::start(search.interface.as_deref())
        .map_err(|error| Failure::new(Exit::Other, error.to_string()).next("is a network up?"))?;
    let deadline = Instant::now() + LISTEN;
    let mut instances = std::collections::BTreeSet::new();
    while let Ok(Some(announced)) = timeout_at(deadline, browse.next()).await {
        instances.insert(announced.instance);
    }
    Ok(instances.len())
}

/// SecT STEP 14, 15.
async fn from_elsewhere(checkup: &mut Checkup<'_>, entry: &Entry, server: &CloudServer, search: &Search) {
    let place = cloud::place(server);
    let opened = cloud::open(&entry.binding, server, STEP.min(search.patience)).await;
    let failed_at = opened.as_ref().err().map_or(CLOUD_STEPS.len(), step_of);
    for (step, found) in
        CLOUD_STEPS.into_iter().zip(["known", "open", "TLS 1.3, right name, pinned authority", "taken"]).take(failed_at)
    {
        checkup.good(format!("{place} {step}"), found);
    }
    match opened {
        Err(error) => {
            let failure = cloud::failure(server, &error);
            // Who logs in was registered by the plug, which must have been there for that.
            let failure = if CLOUD_STEPS[failed_at] == "login" { checkup.because(server, failure) } else { failure };
            checkup.bad(format!("{place} {}", CLOUD_STEPS[failed_at]), failure);
        }
        Ok((link, _)) => {
            link.close().await;
            let mut alone = entry.clone();
            alone.binding.clouds = vec![server.clone()];
            let search = Search { ways: Ways::Remote, ..search.clone() };
            answer(checkup, &format!("{place} answer"), &alone, &search, || "through it".to_owned()).await;
        }
    }
}

/// Which of [`CLOUD_STEPS`] an error belongs to; those before it were taken.
fn step_of(error: &CloudError) -> usize {
    match error {
        CloudError::Dns { .. } | CloudError::TimedOut(Step::Lookup) => 0,
        CloudError::Unreachable { .. } | CloudError::TimedOut(Step::Reaching) => 1,
        CloudError::NotTls
        | CloudError::TlsVersion
        | CloudError::WrongAuthority
        | CloudError::WrongName(_)
        | CloudError::WrongPurpose
        | CloudError::Expired
        | CloudError::NotYetValid
        | CloudError::Handshake(_)
        | CloudError::Setup(_)
        | CloudError::TimedOut(Step::Handshake)
        | CloudError::Closed { during: Step::Lookup | Step::Reaching | Step::Handshake, .. } => 2,
        CloudError::CertificateRefused(_)
        | CloudError::LoginRefused(_)
        | CloudError::TimedOut(Step::Login | Step::Subscription)
        | CloudError::Closed { during: Step::Login | Step::Subscription, .. } => 3,
    }
}

/// Asks `status` by one way.
async fn answer(checkup: &mut Checkup<'_>, check: &str, entry: &Entry, search: &Search, way: impl FnOnce() -> String) {
    let alias = entry.alias.as_str();
    let asked = async {
        let mut session = Session::open(entry, search).await?;
        let answer = session.status().await.map_err(|error| session::failure(alias, &error));
        session.close().await;
        accepted(alias, answer?)
    };
    match asked.await {
        Ok(answer) => {
            let at = answer.address.map_or_else(way, |address| format!("at {address}"));
            let (state, time) = (on_or_off(answer.state.on), milliseconds(answer.round_trip));
            checkup.good(check, format!("{alias} answers {at} in {time} ms: it is {state}"));
            if search.ways == Ways::Local {
                // What hinders the plug, it tells at home alone.
                answer.clouds.iter().for_each(|cloud| of_the_plug(checkup, cloud));
            }
        }
        Err(failure) if search.ways == Ways::Local => checkup.bad(check, look_at_the_display(failure)),
        Err(failure) => {
            let failure = entry.binding.clouds.iter().fold(failure, |failure, server| checkup.because(server, failure));
            checkup.bad(check, failure);
        }
    }
}

/// A plug that is not at home may be unable to come.
fn look_at_the_display(failure: Failure) -> Failure {
    match (failure.exit, &failure.next) {
        (Exit::NotFound | Exit::Timeout, Some(next)) => {
            let next = format!(
                "{next}; if its display says \"wrong password\" or \"Wi-Fi not found\", `sect wifi set --maintenance` \
                 gives it another network. A plug that has removed you, or whose keys you have renewed on another \
                 computer, looks the same from here: an owner can invite you again"
            );
            failure.next(next)
        }
        _ => failure,
    }
}

/// What the plug itself says of a cloud server.
fn of_the_plug(checkup: &mut Checkup<'_>, cloud: &CloudState) {
    let check = format!("the plug's own link to {}", cloud.host);
    match cloud.problem() {
        None => checkup.good(check, "registered"),
        Some(problem) => {
            let next = match cloud.state.as_str() {
                "connecting" | "registering" | "lost" => "try again in a minute",
                "dns" | "unreachable" => "does the home network let the plug out, and is the server running?",
                "clone" => "is its card used in another plug? If not, look at who its users are",
                _ => "who set the plug up, or runs the server, must put this right; the plug's log says more",
            };
            let exit = match cloud.state.as_str() {
                "wrong-name" | "wrong-authority" | "tls" => Exit::Crypto,
                "refused" | "topic-refused" | "clone" => Exit::Denied,
                _ => Exit::Timeout,
            };
            checkup.bad(check, Failure::new(exit, problem).next(next));
            checkup.plug_is_not_at.push(cloud.host.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::id::SpkiHash;

    #[test]
    fn a_step_is_one_line_and_what_to_do_another() {
        let printer = Printer::new(true);
        let mut checkup = Checkup::new(&printer);
        checkup.good("keyring", "Kitchen");
        checkup.bad("discovery", Failure::new(Exit::NotFound, "nobody").next("look elsewhere"));
        checkup.bad("cloud", Failure::new(Exit::Crypto, "expired"));
        assert_eq!(line(&checkup.checks[0]), "ok      keyring: Kitchen");
        assert_eq!(line(&checkup.checks[1]), "FAILED  discovery: nobody\n        look elsewhere");
        let failure = checkup.finish().expect_err("two failures");
        assert_eq!((failure.exit, failure.message.as_str()), (Exit::NotFound, "2 of 3 steps failed"));
    }

    #[test]
    fn a_plug_that_is_not_at_its_server_is_why_nobody_gets_through() {
        let printer = Printer::new(true);
        let mut checkup = Checkup::new(&printer);
        let server = |host: &str| CloudServer { host: host.to_owned(), port: 8884, pin: SpkiHash::new([1; 32]) };
        let failure = || Failure::new(Exit::Denied, "refused").next("were you removed?");
        of_the_plug(&mut checkup, &CloudState { host: "a.example".to_owned(), state: "wrong-authority".to_owned() });
        of_the_plug(&mut checkup, &CloudState { host: "b.example".to_owned(), state: "registered".to_owned() });
        let next = |host| checkup.because(&server(host), failure()).next;
        assert_eq!(next("a.example").as_deref(), Some("the plug cannot get there: see the plug's own link above"));
        assert_eq!(next("b.example").as_deref(), Some("were you removed?"));
    }

    #[test]
    fn a_plug_that_is_not_at_home_may_tell_why_on_its_display() {
        let away = look_at_the_display(Failure::new(Exit::NotFound, "not on this network").next("is it plugged in?"));
        let next = away.next.expect("a next step");
        assert!(next.starts_with("is it plugged in?; if its display says \"wrong password\""), "{next}");
        let denied = Failure::new(Exit::Denied, "no").next("ask its owner");
        assert_eq!(look_at_the_display(denied.clone()), denied);
    }

    #[test]
    fn an_error_belongs_to_the_step_that_was_being_taken() {
        for (error, step) in [
            (CloudError::TimedOut(Step::Lookup), "name"),
            (CloudError::TimedOut(Step::Reaching), "connection"),
            (CloudError::TimedOut(Step::Handshake), "certificate"),
            (CloudError::Expired, "certificate"),
            (CloudError::LoginRefused("not authorized"), "login"),
            (CloudError::TimedOut(Step::Subscription), "login"),
        ] {
            assert_eq!(CLOUD_STEPS[step_of(&error)], step, "{error:?}");
        }
    }
}
