//! `vsched tune`: a slider for the slice of a running task.

use std::io::{IsTerminal, Read, Write};
use std::path::Path;

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use vsched::protocol::Request;
use vsched::{Reservation, TaskId};
use vschedd::{Client, ClientError};

use crate::args::KEY_PATIENCE;
use crate::daemon::tasks;

const WIDTH: usize = 50;

pub(crate) fn tune(socket: &Path, task: TaskId) -> anyhow::Result<()> {
    let mut client = Client::connect(socket)?;
    if !std::io::stdin().is_terminal() {
        bail!("`tune` needs a terminal; use `vsched set {task} --period P --slice S` elsewhere");
    }
    let _raw = RawTerminal::new()?;
    let mut out = std::io::stdout();
    writeln!(out, "left/right: 1 % of the period, up/down: 10 %, q: quit\r")?;
    let mut said = String::new();
    loop {
        let status = tasks(&mut client)?.into_iter().find(|status| status.task == task);
        let Some(status) = status else { bail!("task {task} has ended") };
        let used = status.recent.map_or(0.0, |sample| sample.share);
        draw(&mut out, &status.reservation, used, &said)?;
        let step = match read_key()? {
            Key::Quit => break,
            Key::None => continue,
            Key::Step(percent) => percent,
        };
        said.clear();
        let slice = status.reservation.slice().as_secs_f64()
            + status.reservation.period().as_secs_f64() * f64::from(step) / 100.0;
        let slice = std::time::Duration::try_from_secs_f64(slice).unwrap_or_default();
        let wanted = match status.reservation.with_slice(slice) {
            Ok(wanted) => wanted,
            Err(error) => {
                said = error.to_string();
                continue;
            }
        };
        match client.ask(&Request::Set { task, reservation: wanted }) {
            Ok(_) => {}
            Err(ClientError::Refused(why)) => said = why,
            Err(error) => return Err(error.into()),
        }
    }
    writeln!(out, "\r")?;
    Ok(())
}

fn draw(out: &mut impl Write, reservation: &Reservation, used: f64, said: &str) -> std::io::Result<()> {
    let filled = (reservation.share() * WIDTH as f64).round() as usize;
    let mark = ((used * WIDTH as f64).round() as usize).min(WIDTH - 1);
    let bar: String = (0..WIDTH)
        .map(|at| match (at == mark, at < filled) {
            (true, _) => '|',
            (false, true) => '=',
            (false, false) => ' ',
        })
        .collect();
    write!(
        out,
        "\r\x1b[K[{bar}] {reservation} = {:.1} %, used {:.1} %  {said}",
        reservation.share() * 100.0,
        used * 100.0
    )?;
    out.flush()
}

enum Key {
    None,
    Quit,
    /// The slice is to change by so many hundredths of the period.
    Step(i32),
}

fn read_key() -> anyhow::Result<Key> {
    let mut stdin = std::io::stdin().lock();
    let timeout = Timespec { tv_sec: 0, tv_nsec: KEY_PATIENCE.subsec_nanos().into() };
    if poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&timeout))? == 0 {
        return Ok(Key::None);
    }
    let mut bytes = [0; 8];
    let length = stdin.read(&mut bytes)?;
    Ok(match &bytes[..length] {
        b"q" | b"\x03" | b"\x04" | b"" => Key::Quit,
        b"\x1b[C" => Key::Step(1),
        b"\x1b[D" => Key::Step(-1),
        b"\x1b[A" => Key::Step(10),
        b"\x1b[B" => Key::Step(-10),
        _ => Key::None,
    })
}

/// The terminal without echo and line by line, until it is dropped.
struct RawTerminal(Termios);

impl RawTerminal {
    fn new() -> anyhow::Result<Self> {
        let before = tcgetattr(std::io::stdin()).context("could not set the terminal up")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
