//! The plug's display, read from its file and drawn as a box.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::time::sleep;

/// How long the display may take to show what it must.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked at.
const GLANCE: Duration = Duration::from_millis(5);

/// The 2x16 display.
pub(super) struct Lcd {
    path: PathBuf,
}

impl Lcd {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The file that the display is written to.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The two lines, if there are any yet.
    pub(super) fn lines(&self) -> Option<[String; 2]> {
        let text = std::fs::read_to_string(&self.path).ok()?;
        let (first, second) = text.trim_end_matches('\n').split_once('\n')?;
        Some([first.to_owned(), second.to_owned()])
    }

    /// The lines in a box.
    pub(super) fn drawn(lines: &[String; 2]) -> Vec<String> {
        let edge = "\u{2500}".repeat(16);
        let mut drawn = vec![format!("\u{250c}{edge}\u{2510}")];
        drawn.extend(lines.iter().map(|line| format!("\u{2502}{line}\u{2502}")));
        drawn.push(format!("\u{2514}{edge}\u{2518}"));
        drawn
    }

    /// Waits until the display shows what `wanted` takes.
    pub(super) async fn wait_for<T>(
        &self,
        what: &str,
        wanted: impl Fn(&[String; 2]) -> Option<T>,
    ) -> anyhow::Result<([String; 2], T)> {
        let started = Instant::now();
        loop {
            let lines = self.lines();
            if let Some(lines) = &lines
                && let Some(found) = wanted(lines)
            {
                return Ok((lines.clone(), found));
            }
            if started.elapsed() > PATIENCE {
                bail!("the display does not show {what}, but {lines:?}");
            }
            sleep(GLANCE).await;
        }
    }

    /// Waits for an access point; gives its name and its passcode.
    pub(super) async fn passcode(&self) -> anyhow::Result<([String; 2], (String, String))> {
        self.wait_for("a passcode", |[first, second]| {
            let (ssid, _) = first.split_once(' ').filter(|(ssid, _)| ssid.starts_with("SecT-"))?;
            (!second.contains(' ')).then(|| (ssid.to_owned(), second.clone()))
        })
        .await
    }

    /// Waits until the plug is at home and its load is as said.
    pub(super) async fn online(&self, outlet: &str) -> anyhow::Result<[String; 2]> {
        let shown = self.wait_for(outlet, |[_, second]| (second.trim() == outlet).then_some(())).await?;
        Ok(shown.0)
    }
}
