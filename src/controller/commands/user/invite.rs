//! `sect user add`: the plug's invitation, checked and shown (SecT STEP 16).

use std::io::{IsTerminal as _, stdout};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{ask, confirm, users};
use crate::controller::args::user::Add;
use crate::controller::commands::Context;
use crate::controller::commands::bound::Bound;
use crate::controller::commands::report::spoken;
use crate::controller::exit::{Exit, Failure};
use crate::controller::output::Output;
use crate::controller::qr::Code;
use crate::proto::id::SpkiHash;
use crate::proto::invitation::Invitation;
use crate::proto::operation::result::Invited;
use crate::proto::operation::{Operation, argument as a};
use crate::proto::user::{Name, Role};

/// How long an invitation can be used (protocol section 2.1).
const LIFE_S: u64 = 600;

/// The files that the code is written into.
pub(super) struct Pictures {
    png: Option<Output>,
    svg: Option<Output>,
}

#[derive(Serialize)]
struct Shown<'a> {
    /// The text: as secret as a key until it has been used.
    invitation: &'a str,
    name: &'a str,
    role: Role,
    /// For how long the invitation can be used.
    lasts_s: u64,
    /// For how long the user will be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    for_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    png: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    svg: Option<&'a Path>,
}

impl Pictures {
    /// Finds the places writable.
    pub(super) fn prepare(wanted: &Add) -> Result<Self, Failure> {
        let prepare = |path: &Option<PathBuf>| path.as_deref().map(|path| Output::prepare(path, None)).transpose();
        Ok(Self { png: prepare(&wanted.png)?, svg: prepare(&wanted.svg)? })
    }
}

/// Invites.
pub(super) async fn run(
    context: &Context<'_>,
    bound: &mut Bound<'_>,
    wanted: &Add,
    pictures: Pictures,
) -> Result<(), Failure> {
    let (name, role) = whom(context, bound, wanted).await?;
    if role == Role::Owner && wanted.lease.is_some() {
        return Err(Failure::new(Exit::Usage, "an owner stays: --for is for other roles"));
    }
    let alias = bound.entry.alias.clone();
    if role == Role::Owner && !wanted.yes {
        let question = format!("An owner of {alias} may do everything, also remove you. Invite {name} as an owner?");
        confirm(context, &question, &format!("{name} was not invited"))?;
    }
    let operation = Operation::UserAdd(a::UserAdd { name: name.clone(), role, ttl_s: wanted.lease });
    let invited: Invited = ask(context, bound, operation).await?.read()?;
    let (invitation, code) = check(&invited, &bound.entry.binding.ca)?;

    let text = invitation.text();
    let png = pictures.png.map(|output| output.write(&code.to_png())).transpose()?;
    let svg = pictures.svg.map(|output| output.write(code.to_svg().as_bytes())).transpose()?;
    let for_s = wanted.lease.map(a::Bounded::get);
    let shown = Shown {
        invitation: text.expose(),
        name: name.as_str(),
        role,
        lasts_s: LIFE_S,
        for_s,
        png: png.as_deref(),
        svg: svg.as_deref(),
    };
    context.printer.result(&shown, || {
        let drawn = if shows_colours() { format!("{}\n\n", code.to_terminal()) } else { String::new() };
        let lease = wanted.lease.and_then(|lease| spoken(lease.seconds()));
        let lease = lease.map_or_else(String::new, |time| format!(", for {time}"));
        let files: String = [&png, &svg].into_iter().flatten().map(|path| format!("\nIn {}.", path.display())).collect();
        format!(
            "{drawn}{}\n\n\
             This makes {name} {role} of {alias}{lease}. It works once, for ten minutes: show it to nobody else.{files}\n\
             On the other computer, in the same home network: `sect accept`, then the text above; or\n\
             `sect accept --image FILE` with a picture of the code.",
            text.expose()
        )
    });
    Ok(())
}

/// Name and role of who is invited.
async fn whom(context: &Context<'_>, bound: &mut Bound<'_>, wanted: &Add) -> Result<(Name, Role), Failure> {
    if let Some(name) = &wanted.name {
        return Ok((name.clone(), wanted.role.unwrap_or(Role::Operator)));
    }
    let own = bound.entry.binding.cid;
    let all = users(context, bound).await?;
    let me = all.into_iter().find(|user| user.cid == own);
    let me = me.ok_or_else(|| Failure::new(Exit::Other, "the plug does not list you").next("update one of the two"))?;
    Ok((me.name, wanted.role.unwrap_or(me.role)))
}

/// The invitation must lead to this very plug, and the code must say what the text says: somebody will scan
/// it without reading it.
fn check(invited: &Invited, ca: &SpkiHash) -> Result<(Invitation, Code), Failure> {
    let wrong = |what: &str| {
        Failure::new(Exit::Crypto, format!("the plug's answer is no invitation to it: {what}"))
            .next("do not use it; update the plug, and tell us")
    };
    let invitation: Invitation = invited.inv.parse().map_err(|_| wrong("its text cannot be read"))?;
    if !invitation.pins(ca) {
        return Err(wrong("it names another plug"));
    }
    let code = Code::from_bits(&invited.qr.0).map_err(|_| wrong("its code is none"))?;
    match code.says() {
        Some(said) if said == invitation.text() => Ok((invitation, code)),
        _ => Err(wrong("its code says something else than its text")),
    }
}

/// Whether a person looks at a terminal that has colours; a code without them is read on few backgrounds.
fn shows_colours() -> bool {
    stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::clock;
    use crate::controller::qr::testing::bits;
    use crate::proto::pairing::message::Der;

    const CA: SpkiHash = SpkiHash::new([0xca; 32]);

    fn invited(text: &str, code: &str) -> Invited {
        Invited { inv: text.to_owned(), qr: Der(bits(code)) }
    }

    #[test]
    fn an_invitation_to_this_plug_is_shown_as_it_came() {
        let invitation = Invitation::random(&CA, &mut clock::rng());
        let text = invitation.text();
        let (read, code) = check(&invited(text.expose(), text.expose()), &CA).expect("it fits");
        assert_eq!((read, code.says()), (invitation, Some(text)));
    }

    #[test]
    fn an_invitation_that_does_not_fit_is_not_shown() {
        let text = Invitation::random(&CA, &mut clock::rng()).text();
        let other = Invitation::random(&CA, &mut clock::rng()).text();
        let foreign = Invitation::random(&SpkiHash::new([1; 32]), &mut clock::rng()).text();
        for (inv, code, what) in [
            ("SECT1:", text.expose(), "its text cannot be read"),
            (foreign.expose(), foreign.expose(), "it names another plug"),
            (text.expose(), other.expose(), "its code says something else than its text"),
            (text.expose(), &text.expose().to_lowercase()[..60], "its code says something else than its text"),
        ] {
            let failure = check(&invited(inv, code), &CA).expect_err(what);
            assert_eq!(failure.exit, Exit::Crypto);
            assert!(failure.message.ends_with(what), "{}", failure.message);
            assert!(!failure.message.contains("SECT1"), "{}", failure.message);
        }
        let short = Invited { inv: text.expose().to_owned(), qr: Der(vec![0; 136]) };
        assert!(check(&short, &CA).expect_err("short").message.ends_with("its code is none"));
    }
}
