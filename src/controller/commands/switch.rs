//! `sect status`, `on`, `off` and `toggle` (SecT STEP 12-15).

use super::Context;
use super::report::{Report, of_ways, sentence};
use crate::controller::exit::{Exit, Failure};
use crate::controller::session::{Answer, Session, SessionError, accepted, within};
use crate::proto::operation::Operation;

/// What is wanted of the outlet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// To know its state.
    Status,
    /// To have it on or off.
    Set(bool),
    /// To have it the other way.
    Toggle,
}

/// Asks, prints the answer.
pub(super) async fn run(context: &Context<'_>, wish: Wish) -> Result<(), Failure> {
    let keyring = context.keyring()?;
    let mut bound = context.bound(&keyring).await?;
    let alias = bound.entry.alias.to_string();

    let session = &mut bound.session;
    let answered = within(&alias, context.global.timeout, async {
        match wish {
            Wish::Status => session.status().await,
            Wish::Set(on) => session.request(Operation::outlet(on)).await,
            Wish::Toggle => toggle(session).await,
        }
    })
    .await;
    let answer = match answered {
        // A question switches nothing: what helps is to know which way leads how far.
        Err(failure) if wish == Wish::Status && failure.exit == Exit::Timeout => Err(session.unanswered(&alias)),
        answered => answered,
    }?;
    // Whatever the answer says, it is one.
    bound.answered()?;
    let answer = accepted(&alias, answer)?;
    let ways = if wish == Wish::Status { bound.session.ways().await } else { Vec::new() };
    let report = Report::of_answer(&bound.entry, &answer).with_ways(&ways);
    context.printer.result(&report, || sentence(&bound.entry, &answer) + &of_ways(&ways, &answer));
    bound.session.close().await;
    Ok(())
}

/// Operations are absolute: the controller reads, then sets (protocol section 6).
async fn toggle(session: &mut Session) -> Result<Answer, SessionError> {
    let on = session.status().await?.state.on;
    session.request(Operation::outlet(!on)).await
}
