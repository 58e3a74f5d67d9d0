//! The runtime of the control side, and the daemon as a program.

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedSender;

use crate::config::Config;
use crate::daemon::{Event, Reload, StartError, start};

use super::notify;

// For the resolver of the C library.
const STACK: usize = 256 << 10;

/// One thread for the control side, and a few small ones for name lookups.
pub(crate) fn build() -> Result<Runtime, StartError> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .thread_stack_size(STACK)
        .build()
        .map_err(|source| StartError::Io { action: "start the runtime", source })
}

/// Runs a daemon in this process until SIGTERM, SIGINT or a request to stop.
///
/// SIGHUP has the daemon call `reload`, if there is one, and carry out what
/// has changed. systemd is told when the daemon is ready, reloads and stops.
pub fn run(config: Config, reload: Option<Reload>) -> Result<(), StartError> {
    let name = config.name.clone();
    build()?.block_on(async {
        // First of all: until then a signal kills the process.
        let signals = Signals::watch()?;
        let mut ready = start(config, reload).await?;
        signals.forward(&ready.daemon.events());
        let data = ready.listening.data.map_or_else(|| "none".to_owned(), |address| address.to_string());
        tracing::info!("{name} is ready, links end at {data}");
        notify::ready();
        let why = ready.daemon.run(&mut ready.inputs).await;
        tracing::info!("{name} stops: {why}");
        notify::stopping();
        ready.daemon.finish(ready.inputs).await;
        Ok(())
    })
}

struct Signals([(Signal, fn() -> Event); 3]);

impl Signals {
    fn watch() -> Result<Self, StartError> {
        let watch =
            |kind| signal(kind).map_err(|source| StartError::Io { action: "watch for signals", source });
        Ok(Self([
            (watch(SignalKind::terminate())?, || Event::Stop("SIGTERM")),
            (watch(SignalKind::interrupt())?, || Event::Stop("SIGINT")),
            (watch(SignalKind::hangup())?, || Event::Reload),
        ]))
    }

    /// Tells the daemon of each, those before this call included.
    fn forward(self, events: &UnboundedSender<Event>) {
        for (mut signals, event) in self.0 {
            let events = events.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    if events.send(event()).is_err() {
                        return;
                    }
                }
            });
        }
    }
}
