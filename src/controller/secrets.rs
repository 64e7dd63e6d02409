//! What the user types or hands over: the passcode, the Wi-Fi password and a few names.
//!
//! Secrets come from a prompt, a file or standard input, and stay in types that wipe themselves.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read};
use std::path::Path;
use std::str::FromStr;

use zeroize::Zeroizing;

use super::backup::Passphrase;
use super::exit::{Exit, Failure};
use super::print::Printer;
use crate::proto::passcode::Passcode;
use crate::proto::recovery::RecoveryCode;
use crate::proto::wifi::WifiPsk;

/// A secrets file has two short lines.
const MAX_BYTES: u64 = 4096;

/// The secrets that were handed over; what is missing is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Secrets {
    /// `passcode=`
    pub passcode: Option<Passcode>,
    /// `wifi-password=`
    pub wifi_password: Option<WifiPsk>,
    /// `recovery-code=`
    pub recovery_code: Option<RecoveryCode>,
    /// `passphrase=`
    pub passphrase: Option<Passphrase>,
}

impl Secrets {
    /// Reads a secrets file, or standard input for `-`.
    ///
    /// # Errors
    ///
    /// A usage [`Failure`] that names the line and never its content.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let mut text = Zeroizing::new(String::with_capacity(512));
        let read = if path == Path::new("-") {
            io::stdin().lock().take(MAX_BYTES).read_to_string(&mut text)
        } else {
            File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text))
        };
        read.map_err(|error| Failure::new(Exit::Usage, format!("could not read {}: {error}", path.display())))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        let mut secrets = Self::default();
        for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
            let refuse = |what: String| {
                Failure::new(Exit::Usage, format!("line {number} of the secrets: {what}")).next(
                    "for `sect pair` it has the lines passcode=... and wifi-password=..., for a backup passphrase=...",
                )
            };
            match line.split_once('=') {
                _ if line.trim().is_empty() => {}
                Some(("passcode", value)) => {
                    secrets.passcode = Some(value.parse().map_err(|error| refuse(format!("{error}")))?);
                }
                // The rest of the line as it is: a password may begin or end with a space.
                Some(("wifi-password", value)) => {
                    secrets.wifi_password = Some(value.parse().map_err(|error| refuse(format!("{error}")))?);
                }
                Some(("recovery-code", value)) => {
                    secrets.recovery_code = Some(value.parse().map_err(|error| refuse(format!("{error}")))?);
                }
                Some(("passphrase", value)) => {
                    secrets.passphrase = Some(value.parse().map_err(|error| refuse(format!("{error}")))?);
                }
                _ => return Err(refuse("neither passcode=, wifi-password= nor passphrase=".to_owned())),
            }
        }
        Ok(secrets)
    }
}

/// Asks the person at the terminal.
#[derive(Debug, Clone, Copy)]
pub struct Prompt<'a> {
    printer: &'a Printer,
}

impl<'a> Prompt<'a> {
    /// Asks on this printer.
    #[must_use]
    pub fn new(printer: &'a Printer) -> Self {
        Self { printer }
    }

    /// Whether there is a person to ask.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        !self.printer.is_json() && io::stdin().is_terminal()
    }

    /// Asks until the answer can be read; `flag` is what a script would have used.
    ///
    /// # Errors
    ///
    /// A usage [`Failure`] where nobody can be asked or nobody answers.
    pub fn ask<T: FromStr<Err: std::fmt::Display>>(&self, question: &str, flag: &str) -> Result<T, Failure> {
        self.ask_with(question, flag, |prompt| {
            let mut line = Zeroizing::new(String::with_capacity(128));
            prompt.printer.question(question);
            let count = io::stdin().lock().read_line(&mut line).map_err(|_| nobody(flag))?;
            if count == 0 { Err(nobody(flag)) } else { Ok(line) }
        })
    }

    /// As [`Self::ask`], without showing what is typed.
    ///
    /// # Errors
    ///
    /// As [`Self::ask`].
    pub fn ask_hidden<T: FromStr<Err: std::fmt::Display>>(&self, question: &str, flag: &str) -> Result<T, Failure> {
        self.ask_with(question, flag, |prompt| {
            prompt.printer.question(question);
            rpassword::read_password().map(Zeroizing::new).map_err(|_| nobody(flag))
        })
    }

    /// As [`Self::ask_hidden`], until it was typed the same way twice: nobody sees a slip of the finger.
    ///
    /// # Errors
    ///
    /// As [`Self::ask`].
    pub fn ask_hidden_twice<T>(&self, question: &str, again: &str, flag: &str) -> Result<T, Failure>
    where
        T: FromStr<Err: std::fmt::Display> + PartialEq,
    {
        loop {
            let first: T = self.ask_hidden(question, flag)?;
            if self.ask_hidden::<T>(again, flag)? == first {
                return Ok(first);
            }
            self.printer.progress("  these are not the same; type it twice, please");
        }
    }

    /// Asks a yes-or-no question; anything but yes is no.
    ///
    /// # Errors
    ///
    /// A usage [`Failure`] where nobody can be asked.
    pub fn confirm(&self, question: &str, flag: &str) -> Result<bool, Failure> {
        if !self.is_possible() {
            return Err(nobody(flag));
        }
        let mut line = String::new();
        self.printer.question(&format!("{question} [y/N]"));
        io::stdin().lock().read_line(&mut line).map_err(|_| nobody(flag))?;
        Ok(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    /// Waits for Enter.
    ///
    /// # Errors
    ///
    /// A usage [`Failure`] where nobody answers.
    pub fn wait_for_enter(&self, text: &str) -> Result<(), Failure> {
        self.printer.question(text);
        match io::stdin().lock().read_line(&mut String::new()) {
            Ok(0) | Err(_) => Err(nobody("--secrets")),
            Ok(_) => Ok(()),
        }
    }

    fn ask_with<T: FromStr<Err: std::fmt::Display>>(
        &self,
        question: &str,
        flag: &str,
        read: impl Fn(&Self) -> Result<Zeroizing<String>, Failure>,
    ) -> Result<T, Failure> {
        if !self.is_possible() {
            return Err(nobody(flag).next(format!("it is needed for: {}", question.trim_end_matches([':', '?']))));
        }
        loop {
            let line = read(self)?;
            match line.trim_end_matches(['\r', '\n']).parse() {
                Ok(value) => return Ok(value),
                Err(error) => self.printer.progress(&format!("  {error}")),
            }
        }
    }
}

fn nobody(flag: &str) -> Failure {
    Failure::new(Exit::Usage, format!("{flag} is missing, and nobody is there to be asked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines_are_read_and_neither_is_needed() {
        let secrets = Secrets::parse("passcode=7k3q x9m2 b4tv hc8d\r\n\nwifi-password= a=b cde \n").expect("read");
        assert_eq!(secrets.passcode.expect("given").expose(), "7K3QX9M2B4TVHC8D");
        assert_eq!(Secrets::parse("").expect("read"), Secrets::default());
    }

    #[test]
    fn a_password_keeps_its_spaces_and_equals_signs() {
        let secrets = Secrets::parse("wifi-password= a=b c d ").expect("read");
        assert_eq!(secrets.wifi_password.expect("given").expose(), " a=b c d ");
    }

    #[test]
    fn a_line_that_is_refused_is_named_and_not_shown() {
        for (text, line) in [
            ("hunter22222", "line 1 of the secrets: neither passcode=, wifi-password= nor passphrase="),
            ("\nwifi-password=hunter2", "line 2 of the secrets: a Wi-Fi password has 8 to 63 characters"),
            ("passcode=hunter2", "line 1 of the secrets: a passcode has"),
            ("passphrase=hunter2", "line 1 of the secrets: a passphrase has at least 8 characters"),
        ] {
            let failure = Secrets::parse(text).expect_err("refused");
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.starts_with(line), "{failure:?}");
            assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
        }
    }
}
