//! What the factory and the server's operator do before anything is switched on, by the functions
//! behind `sect-cloud provision`.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;

use super::household::CLOUD;
use crate::cloud::provision::{Authority, Purpose};
use crate::controller::clock;
use crate::proto::id::{SpkiHash, ThingId};

/// The server's certificate holds from an hour ago, for clocks that differ, to tomorrow.
const EARLIER: Duration = Duration::from_secs(60 * 60);
const LATER: Duration = Duration::from_secs(24 * 60 * 60);

/// What others must know of it.
pub(super) struct Provisioned {
    /// The plug that was certified.
    pub(super) thing: ThingId,
    /// What plugs and controllers pin.
    pub(super) pin: SpkiHash,
}

/// Certifies the plug for the server, and the server for everybody.
pub(super) fn provision(thing: &ThingId, plug: &Path, cloud: &Path) -> anyhow::Result<Provisioned> {
    let rng = &mut clock::rng();
    let manufacturer = Authority::create(Purpose::Things, "Demo plugs", rng)?;
    let servers = Authority::create(Purpose::Servers, "Demo cloud", rng)?;
    let device = manufacturer.issue_device(thing, rng)?;
    let now = SystemTime::now();
    let server = servers.issue_server(&[CLOUD.parse()?], now - EARLIER..now + LATER, rng)?;

    DirBuilder::new().mode(0o700).create(cloud).context("could not make the server's folder")?;
    write(&plug.join("device.crt"), &device.certificate)?;
    write(&plug.join("device.key"), device.key.expose())?;
    write(&cloud.join("server.crt"), &server.certificate)?;
    write(&cloud.join("server.key"), server.key.expose())?;
    write(&cloud.join("manufacturer.crt"), &manufacturer.certificate().to_pem())?;
    Ok(Provisioned { thing: *thing, pin: servers.pin() })
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("could not write {}", path.display()))
}
