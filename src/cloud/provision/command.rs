//! What `sect-cloud provision` does with its command line.
//!
//! Whatever is interrupted is done by running the same command again. Nothing that a plug or a
//! controller relies upon is ever overwritten: an authority and a device certificate not at all, a
//! server's certificate only by the same authority.

use std::collections::HashSet;
use std::fmt::Display;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use getrandom::SysRng;
use rand_core::UnwrapErr;
use serde_json::{Value, json};
use x509_cert::der::DateTime;

use super::args::{Args, Command};
use super::authority::Authority;
use super::folder::{Folder, read_public, read_secret};
use super::host::Host;
use super::profile::{AuthorityCertificate, Purpose, Refusal, certificates, check_subject};
use crate::proto::id::ThingId;
use crate::proto::signature::SigningKey;

/// The authority's private key.
pub const AUTHORITY_KEY: &str = "authority.key";
/// The authority's certificate.
pub const AUTHORITY_CERTIFICATE: &str = "authority.crt";
/// The server's private key.
pub const SERVER_KEY: &str = "server.key";
/// The server's certificate, followed by its authority's.
pub const SERVER_CERTIFICATE: &str = "server.crt";
/// The thing's private key for cloud servers, in its state folder.
pub const DEVICE_KEY: &str = "device.key";
/// The thing's certificate for cloud servers, in its state folder.
pub const DEVICE_CERTIFICATE: &str = "device.crt";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How far the clock of a controller may be behind.
const CLOCK_MARGIN: Duration = Duration::from_secs(60 * 60);
/// 2026-01-01: before it, no authority certifies.
const FIRST_DAY: Duration = Duration::from_secs(1_767_225_600);
/// Characters of a list of ids at most, some 60,000 plugs.
const IDS_BYTES: u64 = 1 << 20;

/// Does what the command line says and prints it.
///
/// # Errors
///
/// With what to do about it. Each thing that was made before stays.
pub fn run(args: Args) -> anyhow::Result<()> {
    let print = Printer { json: args.json };
    match args.command {
        Command::Authority { out, name } => authority(Purpose::Things, &out, &name, &print),
        Command::ServerAuthority { out, name } => authority(Purpose::Servers, &out, &name, &print),
        Command::Server { authority, hosts, days, new_key, out } => {
            server(&load(&authority)?, &hosts, days, new_key, &out, &print)
        }
        Command::Device { authority, id: Some(id), out, .. } => {
            let made = device(&load(&authority)?, &id, &out)?;
            ensure!(made, "{}: this plug has its certificate already", out.display());
            print.device(&id, &out, made)
        }
        Command::Device { authority, ids: Some(list), out, .. } => {
            let (authority, ids) = (load(&authority)?, read_ids(&list)?);
            for id in ids {
                let folder = out.join(id.to_string());
                let made = device(&authority, &id, &folder)?;
                print.device(&id, &folder, made)?;
            }
            Ok(())
        }
        Command::Device { id: None, ids: None, .. } => bail!("neither --id nor --ids was given"),
        Command::Check { authority, host, files } => {
            let authority = load_certificate(&authority)?;
            let mut refused = 0_usize;
            for file in &files {
                let result = check(&authority, host.as_ref(), file);
                refused += usize::from(result.is_err());
                print.checked(file, result)?;
            }
            ensure!(refused == 0, "{refused} of {} refused", files.len());
            Ok(())
        }
    }
}

fn authority(purpose: Purpose, out: &Path, name: &str, print: &Printer) -> anyhow::Result<()> {
    let made = Authority::create(purpose, name, &mut UnwrapErr(SysRng))?;
    let folder = Folder::open(out, &[AUTHORITY_KEY, AUTHORITY_CERTIFICATE])?;
    let certificate = folder.file(AUTHORITY_CERTIFICATE);
    ensure!(!certificate.exists(), "{}: there is an authority already; it is not overwritten", out.display());
    folder.create_secret(AUTHORITY_KEY, &made.key_pem())?;
    folder.create_public(AUTHORITY_CERTIFICATE, &made.certificate().to_pem())?;
    let mut text = format!("authority for {purpose}, {name}\nfolder {}", out.display());
    let mut value = json!({"authority": purpose.to_string(), "name": name, "folder": out});
    // Nobody pins a manufacturer: servers are given its certificate.
    if purpose == Purpose::Servers {
        text.push_str(&format!("\npin    {}", made.pin()));
        value["pin"] = json!(made.pin());
    }
    print.say(&format_args!("{text}"), &value)
}

fn server(
    authority: &Authority,
    hosts: &[Host],
    days: u16,
    new_key: bool,
    out: &Path,
    print: &Printer,
) -> anyhow::Result<()> {
    let now = SystemTime::now();
    ensure!(now >= UNIX_EPOCH + FIRST_DAY, "the clock of this machine is wrong: set it first");
    let end = now + DAY * u32::from(days);
    let folder = Folder::open(out, &[SERVER_KEY, SERVER_CERTIFICATE])?;
    if let Some(before) = folder.read_public(SERVER_CERTIFICATE)? {
        let pinned = certificates(&before).ok().and_then(|chain| AuthorityCertificate::from_der(chain.last()?).ok());
        ensure!(
            pinned.is_some_and(|pinned| pinned.pin() == authority.pin()),
            "{}: is not by this authority, and the plugs pin the one that it is by; to start anew, use another folder",
            folder.file(SERVER_CERTIFICATE).display()
        );
    }
    let mut rng = UnwrapErr(SysRng);
    let before = folder.read_secret(SERVER_KEY)?;
    let renewed = before.is_some();
    let key = match before {
        Some(key) if !new_key => SigningKey::from_pkcs8_pem(key.expose())
            .with_context(|| format!("could not read {}", folder.file(SERVER_KEY).display()))?,
        _ => SigningKey::random(&mut rng),
    };
    let chain = authority.certify_server(hosts, now - CLOCK_MARGIN..end, &key.spki(), &mut rng)?;
    if new_key || !renewed {
        // Cut off between the two files, they do not fit; the same command again mends it.
        folder.replace_secret(SERVER_KEY, &key.to_pkcs8_pem())?;
    }
    folder.replace_public(SERVER_CERTIFICATE, &chain)?;
    let names: Vec<String> = hosts.iter().map(Host::to_string).collect();
    let end = DateTime::from_unix_duration(Duration::from_secs(end.duration_since(UNIX_EPOCH)?.as_secs()))?;
    print.say(
        &format_args!(
            "server certificate for {}\nfolder {}\nuntil  {end}\npin    {}",
            names.join(", "),
            out.display(),
            authority.pin()
        ),
        &json!({"hosts": names, "folder": out, "until": end.to_string(), "new_key": new_key || !renewed,
            "pin": authority.pin()}),
    )
}

/// Fills a thing's folder; false when it was filled already, by this authority and for this thing.
fn device(authority: &Authority, id: &ThingId, out: &Path) -> anyhow::Result<bool> {
    let folder = Folder::open(out, &[DEVICE_KEY, DEVICE_CERTIFICATE])?;
    let (key, certificate) = (folder.read_secret(DEVICE_KEY)?, folder.read_public(DEVICE_CERTIFICATE)?);
    let mut rng = UnwrapErr(SysRng);
    let unreadable = || format!("could not read {}", folder.file(DEVICE_KEY).display());
    match (key, certificate) {
        (None, None) => {
            let issued = authority.issue_device(id, &mut rng)?;
            folder.create_secret(DEVICE_KEY, &issued.key)?;
            folder.create_public(DEVICE_CERTIFICATE, &issued.certificate)?;
            Ok(true)
        }
        // Cut off between the two files.
        (Some(key), None) => {
            let key = SigningKey::from_pkcs8_pem(key.expose()).with_context(unreadable)?;
            let certificate = authority.certify_device(id, &key.spki(), &mut rng)?;
            folder.create_public(DEVICE_CERTIFICATE, &certificate)?;
            Ok(true)
        }
        (key, Some(certificate)) => {
            let there = folder.file(DEVICE_CERTIFICATE);
            let there = there.display();
            let der = first_certificate(&certificate).with_context(|| there.to_string())?;
            let owner = authority.certificate().check_device(&der).with_context(|| there.to_string())?;
            ensure!(owner == *id, "{there}: is the certificate of {owner}, not of {id}");
            let Some(key) = key else { bail!("{there}: is there and its key is not") };
            let key = SigningKey::from_pkcs8_pem(key.expose()).with_context(unreadable)?;
            check_subject(&der, &key.spki()).with_context(|| there.to_string())?;
            Ok(false)
        }
    }
}

/// What a file was found to be.
enum Checked {
    Thing(ThingId),
    Server(Vec<Host>),
}

fn check(authority: &AuthorityCertificate, host: Option<&Host>, file: &Path) -> anyhow::Result<Checked> {
    let text = read_public(file)?;
    match authority.purpose() {
        Purpose::Things => Ok(Checked::Thing(authority.check_device(&first_certificate(&text)?)?)),
        Purpose::Servers => {
            let chain = certificates(&text)?;
            let [leaf, rest @ ..] = chain.as_slice() else { return Err(Refusal::Malformed.into()) };
            let hosts = authority.check_server(leaf, SystemTime::now())?;
            if let Some(host) = host {
                ensure!(hosts.contains(host), Refusal::OtherHost(host.clone()));
            }
            // Clients take the pinned key from the chain.
            ensure!(rest == [authority.as_der()], "its authority's certificate does not follow it");
            Ok(Checked::Server(hosts))
        }
    }
}

fn first_certificate(text: &str) -> Result<Vec<u8>, Refusal> {
    certificates(text)?.into_iter().next().ok_or(Refusal::Malformed)
}

fn load(folder: &Path) -> anyhow::Result<Authority> {
    let key = read_secret(&folder.join(AUTHORITY_KEY)).context("could not read the authority's key")?;
    let certificate =
        read_public(&folder.join(AUTHORITY_CERTIFICATE)).context("could not read the authority's certificate")?;
    Authority::from_pem(&key, &certificate).with_context(|| format!("could not use {}", folder.display()))
}

fn load_certificate(folder: &Path) -> anyhow::Result<AuthorityCertificate> {
    let text =
        read_public(&folder.join(AUTHORITY_CERTIFICATE)).context("could not read the authority's certificate")?;
    AuthorityCertificate::from_pem(&text).with_context(|| format!("could not use {}", folder.display()))
}

/// Reads a list of ids; all of it, before anything is made.
fn read_ids(list: &Path) -> anyhow::Result<Vec<ThingId>> {
    let mut text = String::new();
    if list == Path::new("-") {
        io::stdin().take(IDS_BYTES + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(list).and_then(|file| file.take(IDS_BYTES + 1).read_to_string(&mut text))
    }
    .with_context(|| format!("could not read the ids from {}", list.display()))?;
    ensure!(text.len() as u64 <= IDS_BYTES, "more than {IDS_BYTES} bytes of ids; give them in parts");
    let (mut ids, mut seen) = (Vec::new(), HashSet::new());
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
        if line.is_empty() {
            continue;
        }
        let id: ThingId = line.parse().with_context(|| format!("line {number} of {}", list.display()))?;
        ensure!(seen.insert(id), "line {number} of {}: {id} for the second time", list.display());
        ids.push(id);
    }
    ensure!(!ids.is_empty(), "no ids in {}", list.display());
    Ok(ids)
}

struct Printer {
    json: bool,
}

impl Printer {
    fn say(&self, words: &dyn Display, value: &Value) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        if self.json { writeln!(out, "{value}") } else { writeln!(out, "{words}") }.context("could not answer")
    }

    fn device(&self, id: &ThingId, folder: &Path, made: bool) -> anyhow::Result<()> {
        let word = if made { "made" } else { "there already" };
        self.say(&format_args!("{id} {word}: {}", folder.display()), &json!({"id": id, "folder": folder, "made": made}))
    }

    fn checked(&self, file: &Path, result: anyhow::Result<Checked>) -> anyhow::Result<()> {
        let shown = file.display();
        match result {
            Ok(Checked::Thing(id)) => {
                self.say(&format_args!("{shown}: ok, {id}"), &json!({"file": file, "ok": true, "id": id}))
            }
            Ok(Checked::Server(hosts)) => {
                let hosts: Vec<String> = hosts.iter().map(Host::to_string).collect();
                self.say(
                    &format_args!("{shown}: ok, for {}", hosts.join(", ")),
                    &json!({"file": file, "ok": true, "hosts": hosts}),
                )
            }
            Err(why) => self.say(
                &format_args!("{shown}: refused: {why:#}"),
                &json!({"file": file, "ok": false, "why": format!("{why:#}")}),
            ),
        }
    }
}
