//! The plug's end of the bus, as bytes: no more of a message than a plug has memory for, and no open files.
//!
//! The bus hands on what anybody on the machine sends to us, messages of 32 MiB and open files among it.
//! What is longer than anything that a plug asks for, or of a kind that the specification has not named yet
//! and wants ignored, is passed over here, before there is memory for it; files are refused from the start.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::export::async_trait::async_trait;

/// Bytes of a message at most; the largest one that a plug asks for is a list of a few dozen object paths.
pub(super) const MAX_MESSAGE: usize = 256 * 1024;
/// Bytes of a message that say how long it is (D-Bus specification, "Message Format").
const FIXED: usize = 16;
/// Bytes that are passed over at once.
const PASSED_OVER: usize = 4096;

/// A connection to the bus that is still to be let in.
#[derive(Debug)]
pub(super) struct Stream(pub(super) UnixStream);

impl Socket for Stream {
    type ReadHalf = Reading;
    type WriteHalf = Writing;

    fn split(self) -> Split<Reading, Writing> {
        let (reader, writer) = self.0.into_split();
        Split::new(Reading { reader, in_line: false, fixed: [0; FIXED], given: 0, known: 0, left: 0 }, Writing(writer))
    }
}

/// What the bus says.
#[derive(Debug)]
pub(super) struct Reading {
    reader: OwnedReadHalf,
    /// The bus is still letting us in, and has not come to the end of a line.
    in_line: bool,
    /// The beginning of a message, or a byte of a line.
    fixed: [u8; FIXED],
    /// How much of it was given on, and how much there is.
    given: usize,
    known: usize,
    /// Bytes of the message that come after it.
    left: usize,
}

#[async_trait]
impl ReadHalf for Reading {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        if self.given == self.known && self.left == 0 {
            self.begin().await?;
        }
        if self.given < self.known {
            let some = buffer.len().min(self.known - self.given);
            buffer[..some].copy_from_slice(&self.fixed[self.given..self.given + some]);
            self.given += some;
            return Ok((some, Vec::new()));
        }
        let some = buffer.len().min(self.left);
        let read = self.reader.read(&mut buffer[..some]).await?;
        self.left -= read;
        Ok((read, Vec::new()))
    }
}

impl Reading {
    /// The beginning of the next message that is for us; nothing of it where there is none any more.
    async fn begin(&mut self) -> io::Result<()> {
        (self.given, self.known, self.left) = (0, 0, 0);
        loop {
            if self.reader.read(&mut self.fixed[..1]).await? == 0 {
                return Ok(());
            }
            // Before the first message the bus says in lines that it lets us in; none begins as a message does.
            if self.in_line || !matches!(self.fixed[0], b'l' | b'B') {
                self.in_line = self.fixed[0] != b'\n';
                self.known = 1;
                return Ok(());
            }
            self.reader.read_exact(&mut self.fixed[1..]).await?;
            let after = length(self.fixed) - FIXED as u64;
            match usize::try_from(after) {
                Ok(left) if left <= MAX_MESSAGE - FIXED && (1..=4).contains(&self.fixed[1]) => {
                    (self.known, self.left) = (FIXED, left);
                    return Ok(());
                }
                _ => self.pass_over(after).await?,
            }
        }
    }

    async fn pass_over(&mut self, mut bytes: u64) -> io::Result<()> {
        let mut nowhere = [0; PASSED_OVER];
        while bytes > 0 {
            let some = usize::try_from(bytes).unwrap_or(PASSED_OVER).min(PASSED_OVER);
            self.reader.read_exact(&mut nowhere[..some]).await?;
            bytes -= some as u64;
        }
        Ok(())
    }
}

/// How many bytes a message has, from its first ones.
fn length(fixed: [u8; FIXED]) -> u64 {
    let number = |at: usize| {
        let bytes = [fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]];
        u64::from(if fixed[0] == b'l' { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    (FIXED as u64 + number(12)).next_multiple_of(8) + number(4)
}

/// What the bus is told.
#[derive(Debug)]
pub(super) struct Writing(OwnedWriteHalf);

#[async_trait]
impl WriteHalf for Writing {
    async fn sendmsg(&mut self, buffer: &[u8], _: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.0.write(buffer).await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}
