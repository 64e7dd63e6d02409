//! The recovery code on its way to the paper: shown once, or written into a file that only its owner reads
//! (protocol section 9).

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rand_core::Rng as _;

use super::Context;
use crate::controller::clock;
use crate::controller::exit::{Exit, Failure};
use crate::controller::secrets::Prompt;
use crate::proto::recovery::RecoveryCode;

/// A code that its owner has, and that no plug knows yet.
pub(super) struct Paper {
    pub(super) code: RecoveryCode,
    /// Where it was written.
    file: Option<PathBuf>,
}

/// Characters of a group on the paper.
const GROUP: usize = 4;

impl Paper {
    /// Draws a code and hands it over: into the file, or to the person at the terminal. `None` where neither
    /// is there.
    pub(super) fn hand_over(context: &Context<'_>, file: Option<&Path>) -> Result<Option<Self>, Failure> {
        let code = RecoveryCode::random(&mut clock::rng());
        if let Some(path) = file {
            write(path, &code)
                .map_err(|error| Failure::new(Exit::Usage, format!("could not write {}: {error}", path.display())))?;
            context.printer.progress(&format!("The recovery code is in {}. Print it, then delete it.", path.display()));
            return Ok(Some(Self { code, file: Some(path.to_owned()) }));
        }
        let prompt = Prompt::new(context.printer);
        if !prompt.is_possible() {
            return Ok(None);
        }
        show(context, &prompt, &code)?;
        Ok(Some(Self { code, file: None }))
    }

    /// No plug will ever know it.
    pub(super) fn discard(self, context: &Context<'_>) {
        match self.file {
            Some(path) => {
                if fs::remove_file(&path).is_err() {
                    context.printer.warning(&format!("the code in {} recovers nothing", path.display()));
                }
            }
            None => context.printer.warning("the recovery code that was shown recovers nothing: cross it out"),
        }
    }
}

fn show(context: &Context<'_>, prompt: &Prompt<'_>, code: &RecoveryCode) -> Result<(), Failure> {
    let paper = code.to_paper();
    context.printer.progress(
        "Write this recovery code down, on paper. Together with the plug's button and display it replaces a lost \
         phone or computer; it is shown once.\n",
    );
    context.printer.progress(&format!("    {}\n", paper.expose()));
    let groups: Vec<&str> = paper.expose().split('-').collect();
    let number = usize::try_from(clock::rng().next_u32()).unwrap_or(0) % groups.len();
    loop {
        let question = format!("Group {} of the {} on your paper:", number + 1, groups.len());
        let typed: String = prompt.ask(&question, "--recovery-file or --no-recovery-code")?;
        if is_group(&typed, groups[number]) {
            return Ok(());
        }
        context.printer.progress("  that is not what stands there; compare the paper with the code above");
    }
}

fn is_group(typed: &str, group: &str) -> bool {
    let plain = |c: char| match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let typed: String = typed.trim().chars().map(plain).collect();
    typed.len() == GROUP && typed == group
}

/// As a line of a secrets file, so that `sect recover` can read it.
fn write(path: &Path, code: &RecoveryCode) -> io::Result<()> {
    // Never over something that is there: it may be another plug's.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "recovery-code={}", code.to_paper().expose())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::controller::secrets::Secrets;

    #[test]
    fn the_file_is_its_owner_s_alone_and_can_be_read_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("code.txt");
        let code = RecoveryCode::random(&mut clock::rng());
        write(&path, &code).expect("written");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(Secrets::read(&path).expect("read").recovery_code, Some(code.clone()));
        assert!(write(&path, &code).is_err(), "never over another one");
    }

    #[test]
    fn a_group_is_read_as_a_person_types_it() {
        for typed in ["1a0k", " 1A0K ", "lAoK", "iaOk"] {
            assert!(is_group(typed, "1A0K"), "{typed:?}");
        }
        for typed in ["", "1A0", "1A0KX", "1A0J"] {
            assert!(!is_group(typed, "1A0K"), "{typed:?}");
        }
    }
}
