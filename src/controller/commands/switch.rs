//! `sect status`, `on`, `off` and `toggle` (SecT STEP 12-15).

use super::Context;
use super::report::{Report, of_ways, sentence};
use crate::controller::exit::{Exit, Failure};
use crate::controller::session::accepted;
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

    let answer = match wish {
        Wish::Status => match bound.status(context).await {
            // A question switches nothing: what helps is to know which way leads how far.
            Err(failure) if failure.exit == Exit::Timeout => Err(bound.session.unanswered(&alias)),
            answered => answered,
        }?,
        Wish::Set(on) => bound.request(context, Operation::outlet(on)).await?,
        // Operations are absolute: the controller reads, then sets (protocol section 6).
        Wish::Toggle => {
            let on = bound.status(context).await?.state.on;
            bound.request(context, Operation::outlet(!on)).await?
        }
    };
    let answer = accepted(&alias, answer)?;
    let ways = if wish == Wish::Status { bound.session.ways().await } else { Vec::new() };
    let report = Report::of_answer(&bound.entry, &answer).with_ways(&ways);
    context.printer.result(&report, || sentence(&bound.entry, &answer) + &of_ways(&ways, &answer));
    bound.finish(context, Some(&answer)).await;
    Ok(())
}
