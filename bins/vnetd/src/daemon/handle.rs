//! A daemon inside another program.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::sync::mpsc::UnboundedSender;

use super::start::{Listening, StartError, start};
use super::{Event, Reload};
use crate::config::Config;
use crate::io::runtime;

/// A daemon that runs on a thread of this process until the handle is
/// dropped.
#[derive(Debug)]
pub struct Handle {
    listening: Listening,
    events: UnboundedSender<Event>,
    thread: Option<JoinHandle<()>>,
}

/// Starts a daemon on a thread of its own and returns once it listens.
///
/// ```
/// use vnet_core::control::Request;
/// use vnetd::client::{Address, Client};
/// use vnetd::{Config, Role};
///
/// let daemon = vnetd::spawn(Config {
///     data: "127.0.0.1:0".parse()?,
///     control_tcp: Some("127.0.0.1:0".parse()?),
///     role: Role::Proxy,
///     ..Config::new("proxy".parse()?)
/// })?;
/// let address = daemon.control_tcp().ok_or("it has a control address")?;
/// let mut client = Client::connect(&Address::Tcp(address.to_string()))?;
/// client.call(None, Request::SetConfigurationBound(500))?;
/// assert_eq!(client.status(None)?.configuration_bound_ms, 500);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn spawn(config: Config) -> Result<Handle, StartError> {
    let (report, started) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new()
        .name(format!("vnetd-{}", config.name).chars().take(15).collect())
        .spawn(move || run(config, None, &report))
        .map_err(|source| StartError::Io { action: "start a thread", source })?;
    let (listening, events) = started.recv().map_err(|_| StartError::Io {
        action: "start the daemon",
        source: std::io::Error::other("its thread has panicked"),
    })??;
    Ok(Handle { listening, events, thread: Some(thread) })
}

impl Handle {
    /// Where the daemon's links end.
    pub fn data(&self) -> Option<SocketAddr> {
        self.listening.data
    }

    /// Its TCP control address.
    pub fn control_tcp(&self) -> Option<SocketAddr> {
        self.listening.control_tcp
    }

    /// Where it serves metrics.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.listening.metrics
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // It may have stopped already.
        let _ = self.events.send(Event::Stop("its handle was dropped"));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Started = Result<(Listening, UnboundedSender<Event>), StartError>;

fn run(config: Config, reload: Option<Reload>, report: &mpsc::SyncSender<Started>) {
    let runtime = match runtime::build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // The asker waits; it can't be gone.
            let _ = report.send(Err(error));
            return;
        }
    };
    runtime.block_on(async {
        match start(config, reload).await {
            Err(error) => {
                let _ = report.send(Err(error));
            }
            Ok(mut ready) => {
                let _ = report.send(Ok((ready.listening, ready.daemon.events())));
                ready.daemon.run(&mut ready.inputs).await;
                ready.daemon.finish(ready.inputs).await;
            }
        }
    });
}
