//! `sect user`: who may use a plug, and what (SecT STEP 16, 17; protocol section 9).

mod invite;

use serde::Serialize;

use super::bound::Bound;
use super::report::spoken;
use super::{Context, LOCK_PATIENCE};
use crate::controller::args::user::{Remove, Rename, SetRole, User};
use crate::controller::exit::{Exit, Failure};
use crate::controller::keyring::Keyring;
use crate::controller::print::table;
use crate::controller::secrets::Prompt;
use crate::controller::session::{Answer, accepted};
use crate::proto::id::Cid;
use crate::proto::message::ReturnCode;
use crate::proto::operation::result::{UserItem, Users};
use crate::proto::operation::{Operation, argument as a};
use crate::proto::user::{Name, Role};

/// Pages of a list at most: a plug has 16 users, and none may keep a controller asking for ever.
const MAX_PAGES: usize = 16;

#[derive(Serialize)]
struct List<'a> {
    users: Vec<Row<'a>>,
}

/// What scripts read of a user.
#[derive(Debug, Serialize)]
struct Row<'a> {
    id: Cid,
    name: &'a str,
    role: Role,
    /// Whether it is who asks.
    you: bool,
    /// Seconds until the user is removed, if ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_s: Option<u32>,
    /// Whether somebody else has tried the invitation by which this user came.
    reused: bool,
}

#[derive(Serialize)]
struct Removed<'a> {
    removed: Row<'a>,
}

#[derive(Serialize)]
struct Changed<'a> {
    changed: Row<'a>,
}

/// Does what is wanted with the plug's users.
pub(super) async fn run(context: &Context<'_>, wanted: &User) -> Result<(), Failure> {
    let keyring = context.keyring()?;
    // Nothing is asked of the plug when the picture cannot be written.
    let pictures = match wanted {
        User::Add(wanted) => Some(invite::Pictures::prepare(wanted)?),
        _ => None,
    };
    let mut bound = context.bound(&keyring).await?;
    match (wanted, pictures) {
        (User::Add(wanted), Some(pictures)) => invite::run(context, &mut bound, wanted, pictures).await?,
        (User::Add(_), None) => unreachable!("they were prepared above"),
        (User::List, _) => list(context, &mut bound).await?,
        (User::Remove(wanted), _) => return remove(context, &keyring, bound, wanted).await,
        (User::SetRole(wanted), _) => set_role(context, &mut bound, wanted).await?,
        (User::Rename(wanted), _) => rename(context, &mut bound, wanted).await?,
    }
    bound.finish(context, None).await;
    Ok(())
}

async fn list(context: &Context<'_>, bound: &mut Bound<'_>) -> Result<(), Failure> {
    let users = users(context, bound).await?;
    let own = bound.entry.binding.cid;
    let rows: Vec<Row<'_>> = users.iter().map(|user| row(user, own)).collect();
    let text = || {
        table(
            &["NAME", "ROLE", "TIME LEFT", "ID", ""],
            rows.iter().map(|row| {
                let left = row.left_s.map_or_else(|| "-".to_owned(), left);
                let note = match (row.you, row.reused) {
                    (true, _) => "you",
                    (false, true) => "invitation used twice",
                    (false, false) => "",
                };
                vec![row.name.to_owned(), row.role.to_string(), left, row.id.to_string(), note.to_owned()]
            }),
        )
    };
    let text = text();
    let reused = rows.iter().any(|row| row.reused);
    context.printer.result(&List { users: rows }, || text);
    if reused {
        context.printer.warning(
            "an invitation was used twice: somebody else has seen it, and may be the one who came first. Ask whom you \
             invited whether his `sect accept` went well; if not, remove that user and invite anew",
        );
    }
    Ok(())
}

async fn remove(
    context: &Context<'_>,
    keyring: &Keyring,
    mut bound: Bound<'_>,
    wanted: &Remove,
) -> Result<(), Failure> {
    let users = users(context, &mut bound).await?;
    let own = bound.entry.binding.cid;
    let alias = bound.entry.alias.clone();
    let user = choose(&users, &wanted.who)?;
    let myself = user.cid == own;
    if !wanted.yes {
        let question = match (myself, user.role) {
            (true, _) => {
                format!("This is you: this computer will not be able to use {alias} any more. Remove yourself?")
            }
            (false, Role::Owner) => format!("{} is an owner of {alias}. Remove?", user.name),
            (false, role) => format!("Remove {} ({role}) from {alias}?", user.name),
        };
        confirm(context, &question, &format!("{} was not removed", user.name))?;
    }
    ask(context, &mut bound, Operation::UserDel(a::UserDel { cid: user.cid })).await?;
    let Bound { place, entry, session, .. } = bound;
    session.close().await;
    drop(place);
    if myself {
        // What the plug does not know any more opens nothing.
        keyring.lock(&entry.binding.thing, LOCK_PATIENCE).await?.forget()?;
        context.addresses.forget(&entry.binding.thing);
    }
    context.printer.result(&Removed { removed: row(user, own) }, || {
        if myself {
            format!("You are no user of {alias} any more; its keys are gone from here.")
        } else {
            format!("{} is no user of {alias} any more.", user.name)
        }
    });
    Ok(())
}

async fn set_role(context: &Context<'_>, bound: &mut Bound<'_>, wanted: &SetRole) -> Result<(), Failure> {
    let users = users(context, bound).await?;
    let own = bound.entry.binding.cid;
    let alias = bound.entry.alias.clone();
    let user = choose(&users, &wanted.who)?;
    let role = wanted.role;
    if !wanted.yes && user.role != role && (user.role == Role::Owner || role == Role::Owner) {
        let question = match (role, user.cid == own) {
            (Role::Owner, _) => {
                format!("An owner of {alias} may do everything, also remove you. Make {} an owner?", user.name)
            }
            (_, true) => {
                format!("This is you: you cannot give yourself the role of an owner again. Become {role}?")
            }
            (_, false) => format!("{} is an owner of {alias}. Make {} {role}?", user.name, user.name),
        };
        confirm(context, &question, &format!("{} is {} as before", user.name, user.role))?;
    }
    ask(context, bound, Operation::UserRole(a::UserRole { cid: user.cid, role })).await?;
    let changed = UserItem { role, ..user.clone() };
    context.printer.result(&Changed { changed: row(&changed, own) }, || format!("{} is {role} now.", user.name));
    Ok(())
}

async fn rename(context: &Context<'_>, bound: &mut Bound<'_>, wanted: &Rename) -> Result<(), Failure> {
    let users = users(context, bound).await?;
    let own = bound.entry.binding.cid;
    let user = choose(&users, &wanted.who)?;
    let name = wanted.name.clone();
    ask(context, bound, Operation::UserName(a::UserName { cid: user.cid, name: name.clone() })).await?;
    if user.cid == own {
        remember_name(bound, &name)?;
    }
    let changed = UserItem { name: name.clone(), ..user.clone() };
    context.printer.result(&Changed { changed: row(&changed, own) }, || format!("{} is called {name} now.", user.name));
    Ok(())
}

/// All users that the plug tells of, page by page.
pub(super) async fn users(context: &Context<'_>, bound: &mut Bound<'_>) -> Result<Vec<UserItem>, Failure> {
    let mut users: Vec<UserItem> = Vec::new();
    let mut from = 0;
    for _ in 0..MAX_PAGES {
        let page: Users = ask(context, bound, Operation::UserList(a::From { from })).await?.read()?;
        users.extend(page.items);
        match page.next {
            Some(next) if next > from => from = next,
            _ => break,
        }
    }
    // An owner may have given this user another name.
    let own = bound.entry.binding.cid;
    if let Some(name) = users.iter().find(|user| user.cid == own).map(|user| user.name.clone()) {
        remember_name(bound, &name)?;
    }
    Ok(users)
}

/// Keeps what the plug calls this user.
fn remember_name(bound: &mut Bound<'_>, name: &Name) -> Result<(), Failure> {
    if bound.entry.binding.name != *name {
        bound.entry.binding.name = name.clone();
        bound.place.save(&bound.entry)?;
    }
    Ok(())
}

/// Asks, and says what a refusal means where users are concerned.
async fn ask(context: &Context<'_>, bound: &mut Bound<'_>, operation: Operation) -> Result<Answer, Failure> {
    let named = match &operation {
        Operation::UserAdd(a::UserAdd { name, .. }) | Operation::UserName(a::UserName { name, .. }) => {
            Some(name.clone())
        }
        _ => None,
    };
    let answer = bound.request(context, operation).await?;
    let alias = bound.entry.alias.as_str();
    if let (ReturnCode::Conflict, Some(name)) = (answer.rc, named) {
        return Err(Failure::new(Exit::Denied, format!("{alias} has a user called {name} already")).next(
            "choose another name, so that everybody knows who switched; further computers of your own come in with \
             `sect user add --for-me`",
        ));
    }
    Err(match answer.rc {
        ReturnCode::Forbidden => Failure::new(Exit::Denied, format!("only an owner of {alias} may do that"))
            .next("`sect user list` shows your role"),
        ReturnCode::Conflict => Failure::new(Exit::Denied, format!("that would leave {alias} without an owner"))
            .next("make somebody else an owner first: `sect user set-role NAME owner`"),
        ReturnCode::NotFound => {
            Failure::new(Exit::NotFound, "there is no such user any more").next("`sect user list` shows who is there")
        }
        ReturnCode::Busy => Failure::new(Exit::Other, format!("{alias} has no room for one more"))
            .next("it takes 16 users and 4 open invitations: remove somebody, or let an invitation run out"),
        ReturnCode::Storage => {
            Failure::new(Exit::Other, format!("{alias} could not write that down; nothing was changed"))
                .next("try again; if that does not help, its memory card may be worn out")
        }
        _ => return accepted(alias, answer),
    })
}

fn confirm(context: &Context<'_>, question: &str, otherwise: &str) -> Result<(), Failure> {
    if Prompt::new(context.printer).confirm(question, "--yes")? {
        Ok(())
    } else {
        Err(Failure::new(Exit::Denied, otherwise.to_owned()))
    }
}

/// By id, or by a name that one user alone has, whatever its case.
fn choose<'a>(users: &'a [UserItem], wanted: &str) -> Result<&'a UserItem, Failure> {
    if let Some(user) = users.iter().find(|user| user.cid.to_string() == wanted) {
        return Ok(user);
    }
    let name = wanted.to_lowercase();
    let named: Vec<&UserItem> = users.iter().filter(|user| user.name.as_str().to_lowercase() == name).collect();
    match named[..] {
        [user] => Ok(user),
        [] => {
            let names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
            Err(Failure::new(Exit::NotFound, format!("there is no user called {wanted} that you may see"))
                .next(format!("there is: {}", names.join(", "))))
        }
        _ => {
            let ids: Vec<String> = named.iter().map(|user| format!("{} ({})", user.cid, user.role)).collect();
            Err(Failure::new(Exit::Usage, format!("{} users are called {wanted}", named.len()))
                .next(format!("say which by the id: {}", ids.join(", "))))
        }
    }
}

fn row(user: &UserItem, own: Cid) -> Row<'_> {
    Row {
        id: user.cid,
        name: user.name.as_str(),
        role: user.role,
        you: user.cid == own,
        left_s: user.left_s,
        reused: user.reused,
    }
}

/// The plug counts while it runs; less than a minute is less than one.
fn left(seconds: u32) -> String {
    spoken(std::time::Duration::from_secs(seconds.into())).unwrap_or_else(|| "0 s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(cid: u8, name: &str, role: Role) -> UserItem {
        let item = serde_json::json!({"cid": Cid::new([cid; 8]), "name": name, "role": role});
        serde_json::from_value(item).expect("a user")
    }

    #[test]
    fn a_user_is_named_by_name_or_by_id() {
        let users = [user(1, "Ana", Role::Owner), user(2, "Ben", Role::Viewer), user(3, "ana", Role::Operator)];
        assert_eq!(choose(&users, "BEN").map(|user| user.cid), Ok(users[1].cid));
        assert_eq!(choose(&users, &users[2].cid.to_string()).map(|user| user.cid), Ok(users[2].cid));
        let several = choose(&users, "Ana").expect_err("two");
        assert_eq!((several.exit, several.message.as_str()), (Exit::Usage, "2 users are called Ana"));
        let ids = format!("say which by the id: {} (owner), {} (operator)", users[0].cid, users[2].cid);
        assert_eq!(several.next, Some(ids));
        let none = choose(&users, "Cyd").expect_err("nobody");
        assert_eq!((none.exit, none.next.as_deref()), (Exit::NotFound, Some("there is: Ana, Ben, ana")));
    }

    #[test]
    fn scripts_read_who_is_meant_and_whether_it_is_they() {
        let ben = UserItem { left_s: Some(90), ..user(2, "Ben", Role::Viewer) };
        assert_eq!(
            serde_json::to_string(&List { users: vec![row(&ben, Cid::new([1; 8]))] }).expect("JSON"),
            r#"{"users":[{"id":"AgICAgICAgI","name":"Ben","role":"viewer","you":false,"left_s":90,"reused":false}]}"#
        );
        assert_eq!((left(90), left(0), left(172_800)), ("90 s".into(), "0 s".into(), "2 days".into()));
    }
}
