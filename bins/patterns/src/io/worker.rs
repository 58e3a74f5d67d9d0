//! A rank that listens, and its start.

use std::net::TcpListener;

use crate::error::Error;
use crate::options::Options;
use crate::pattern::Pattern;
use crate::report::Summary;

use super::run::Run;
use super::sink::Sink;
use super::stop::StopSignal;

/// Runs a rank and reports to the place that its options name.
pub(crate) fn run_to_report(options: Options, stop: &StopSignal) -> Result<Summary, Error> {
    let Some(report) = options.report.clone() else {
        return Worker::bind(options)?.run(stop, &mut |_| Ok(()));
    };
    let error = |error| Error::Report { rank: options.rank, to: report.to_string(), error };
    let mut sink = report.open().map_err(error)?;
    Worker::bind(options)?.run(stop, &mut sink)
}

/// A rank that listens and has not started yet.
#[derive(Debug)]
pub struct Worker {
    pub(super) options: Options,
    pub(super) pattern: Pattern,
    pub(super) listener: TcpListener,
}

impl Worker {
    /// Listens at the rank's own address.
    ///
    /// # Errors
    ///
    /// The options don't fit together or the address can't be listened on.
    pub fn bind(options: Options) -> Result<Self, Error> {
        options.pattern()?;
        let address = options.listen.unwrap_or(options.peers[options.rank]);
        let error = |error| Error::Listen { rank: options.rank, address, error };
        let listener = TcpListener::bind(address).map_err(error)?;
        Self::with_listener(options, listener)
    }

    /// Uses a socket that listens already.
    ///
    /// # Errors
    ///
    /// The options don't fit together or the socket can't be used.
    pub fn with_listener(mut options: Options, listener: TcpListener) -> Result<Self, Error> {
        let pattern = options.pattern()?;
        options.workload.shape = options.workload.shape.resolve(options.peers.len())?;
        let what = "can't make the listening socket non-blocking";
        listener.set_nonblocking(true).map_err(|error| Error::System { what, error })?;
        Ok(Self { options, pattern, listener })
    }

    /// Runs until the workload or the duration ends, `stop` is given, or a peer stops.
    ///
    /// # Errors
    ///
    /// A peer can't be reached or doesn't come back in time, refuses, or breaks
    /// the protocol; a message arrives damaged; `sink` fails.
    pub fn run(self, stop: &StopSignal, sink: &mut Sink<'_>) -> Result<Summary, Error> {
        let mut sink = |record: &_| sink(record);
        Run::new(&self, stop, &mut sink).run()
    }
}
