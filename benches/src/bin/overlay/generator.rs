//! Small datagrams: their rate, and their round trips.

use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

/// The length of a small datagram.
const SMALL: usize = 64;

/// What the last one of a blast starts with.
const LAST: u8 = 0xff;

/// Where to answer and count.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServeArgs {
    /// The address to listen on
    #[arg(long)]
    listen: SocketAddr,
}

/// Whom to ask, and how often.
#[derive(Args, Clone, Debug)]
pub(crate) struct PingArgs {
    /// Where the other end listens
    #[arg(long)]
    to: SocketAddr,
    /// How many round trips
    #[arg(long)]
    count: usize,
}

/// Where to send, and for how long.
#[derive(Args, Clone, Debug)]
pub(crate) struct BlastArgs {
    /// Where the other end listens
    #[arg(long)]
    to: SocketAddr,
    /// For how long, in seconds
    #[arg(long)]
    seconds: f64,
}

/// Answers datagrams that start with 0, and counts those that start with 1 until
/// one comes that says it is the last: then the count is the answer.
pub(crate) fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let socket = UdpSocket::bind(args.listen).with_context(|| format!("listening on {}", args.listen))?;
    let mut buffer = [0; 2048];
    let (mut count, mut first) = (0_u64, None);
    let mut last_at = Instant::now();
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        match buffer[0] {
            0 => drop(socket.send_to(&buffer[..length], from)),
            LAST => {
                let span = first.map_or(0, |first| last_at.duration_since(first).as_nanos() as u64);
                let answer = [&[LAST][..], &count.to_be_bytes(), &span.to_be_bytes()].concat();
                // The asker repeats itself; what it does not hear it asks for again.
                let _ = socket.send_to(&answer, from);
                if buffer[1] == 1 {
                    (count, first) = (0, None);
                }
            }
            _ => {
                last_at = Instant::now();
                first.get_or_insert(last_at);
                count += 1;
            }
        }
    }
}

/// Prints each round trip in nanoseconds, one a line; a lost one is left out.
pub(crate) fn ping(args: &PingArgs) -> anyhow::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(args.to)?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let mut out = String::new();
    for n in 0..args.count {
        let mut message = [0; SMALL];
        message[8..16].copy_from_slice(&(n as u64).to_be_bytes());
        let start = Instant::now();
        if socket.send(&message).is_ok() {
            let mut answer = [0; SMALL];
            while let Ok(length) = socket.recv(&mut answer) {
                if answer[..length] == message {
                    out.push_str(&format!("{}\n", start.elapsed().as_nanos()));
                    break;
                }
            }
        }
        // The machine is to be idle in between, as with an interactive user.
        std::thread::sleep(Duration::from_millis(1));
    }
    std::io::stdout().write_all(out.as_bytes())?;
    Ok(())
}

/// Prints how many datagrams were sent, how many came, and the time between the
/// first and the last that came in nanoseconds.
pub(crate) fn blast(args: &BlastArgs) -> anyhow::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(args.to)?;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    let ask = |reset: u8| -> Option<(u64, u64)> {
        for _ in 0..20 {
            socket.send(&[LAST, reset]).ok()?;
            let mut answer = [0; SMALL];
            if let Ok(17) = socket.recv(&mut answer) {
                let number = |at: usize| answer[at..at + 8].try_into().map(u64::from_be_bytes).ok();
                return number(1).zip(number(9));
            }
        }
        None
    };
    ask(1).context("the other end does not answer")?;
    let (start, mut sent) = (Instant::now(), 0_u64);
    let message = [1; SMALL];
    while start.elapsed().as_secs_f64() < args.seconds {
        for _ in 0..64 {
            sent += u64::from(socket.send(&message).is_ok());
        }
    }
    // What is under way is to arrive first.
    std::thread::sleep(Duration::from_millis(200));
    let (count, span) = ask(0).context("the other end does not answer")?;
    println!("{sent} {count} {span}");
    Ok(())
}
