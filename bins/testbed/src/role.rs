//! This program again, as a daemon, a rank of the workload or a flood.
//!
//! What runs in a laboratory is one executable, so that a demonstration needs
//! nothing but itself: programs of the test bed call [`dispatch`] first, and
//! commands made by [`Role::command`] start them again in another role.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use crate::alternation::Member;
use crate::flood::Flood;

const ROLE: &str = "VIRTUOSO_ROLE";

/// What a process of the test bed is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `vnetd`.
    Daemon,
    /// A rank of `patterns`.
    Patterns,
    /// A member of a [`Flood`].
    Flood,
    /// A member of an [`Alternation`](crate::Alternation).
    Alternation,
}

impl Role {
    const ALL: [Self; 4] = [Self::Daemon, Self::Patterns, Self::Flood, Self::Alternation];

    const fn name(self) -> &'static str {
        match self {
            Self::Daemon => "vnetd",
            Self::Patterns => "patterns",
            Self::Flood => "flood",
            Self::Alternation => "alternation",
        }
    }

    /// A command that starts this executable in this role with `arguments`.
    pub fn command<I>(self, arguments: I) -> Command
    where
        I: IntoIterator<Item: Into<OsString>>,
    {
        let mut command = Command::new("/proc/self/exe");
        command.env(ROLE, self.name()).args(arguments.into_iter().map(Into::into));
        command
    }
}

/// Runs this process in the role that it was started for, to its end;
/// `None` if it was started for none.
pub fn dispatch() -> Option<ExitCode> {
    let wanted = std::env::var(ROLE).ok()?;
    let role = Role::ALL.into_iter().find(|role| role.name() == wanted)?;
    Some(match role {
        Role::Daemon => vnetd::main_from_args(std::env::args_os()),
        Role::Patterns => patterns::main_from_args(std::env::args_os()),
        Role::Flood => flood(),
        Role::Alternation => alternation(),
    })
}

fn flood() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(flood) = Flood::parse(&arguments) else {
        eprintln!("flood: INDEX RATE PEER,PEER,... are wanted, not {arguments:?}");
        return ExitCode::from(2);
    };
    match flood.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flood: {error}");
            ExitCode::FAILURE
        }
    }
}

fn alternation() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(member) = Member::parse(&arguments) else {
        eprintln!("alternation: INDEX PEER,PEER,... PERIOD-NS SHAPE,... are wanted, not {arguments:?}");
        return ExitCode::from(2);
    };
    match member.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("alternation: {error}");
            ExitCode::FAILURE
        }
    }
}
