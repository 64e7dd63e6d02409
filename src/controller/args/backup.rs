//! `sect backup` and `sect restore`.

use std::path::PathBuf;

use clap::Args;

/// Under the help of `sect backup`.
pub(super) const BACKUP_HELP: &str = "\
Examples:
  sect backup sect.backup
  sect backup sect.backup --device Kitchen
  sect backup - --secrets passphrase.txt > sect.backup

Writes your keys, encrypted under a passphrase that it asks for twice. All plugs of your keyring, or the one \
that --device names. With --secrets the passphrase is read from a file (`-` for standard input), as the line

  passphrase=AT LEAST 8 CHARACTERS

The backup holds the keys of today. `sect` and the plug renew them every seven days of use, and then it opens \
that plug no more. For a lost phone or computer, a second one of yours (`sect user add --for-me`) helps longer.";

/// Under the help of `sect restore`.
pub(super) const RESTORE_HELP: &str = "\
Examples:
  sect restore sect.backup
  sect restore sect.backup --device Kitchen
  sect restore - --secrets passphrase.txt < sect.backup

What the keyring has already stays where it is newer. Use either the restored keys or the original ones, never \
both: the plug takes the two for one, and each would lock the other out.";

/// Where to write the backup.
#[derive(Debug, Clone, Args)]
pub struct Backup {
    /// The file; `-` for standard output. An earlier backup there is replaced, nothing else is
    #[arg(value_name = "FILE|-")]
    pub file: PathBuf,

    /// Reads the passphrase from a file, or from standard input
    #[arg(long, value_name = "FILE|-")]
    pub secrets: Option<PathBuf>,
}

/// Which backup to restore.
#[derive(Debug, Clone, Args)]
pub struct Restore {
    /// The file; `-` for standard input
    #[arg(value_name = "FILE|-")]
    pub file: PathBuf,

    /// Reads the passphrase from a file, or from standard input
    #[arg(long, value_name = "FILE|-")]
    pub secrets: Option<PathBuf>,
}
