//! All ranks of a run in one process, over loopback.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::error::Error;
use crate::io::{StopSignal, Stopper, Worker, stop_pair};
use crate::options::Options;
use crate::report::{Record, Summary};
use crate::workload::Workload;

/// Runs `workload` between `ranks` ranks, each in a thread of this process;
/// the summaries in order of rank. `on_record` gets what the ranks report.
///
/// # Errors
///
/// The first error of any rank; the others are stopped then.
pub fn local(
    workload: &Workload,
    ranks: usize,
    duration: Option<Duration>,
    on_record: impl FnMut(&Record) -> io::Result<()>,
) -> Result<Vec<Summary>, Error> {
    let mut local = Local::bind(workload, ranks)?;
    local.options_mut().for_each(|options| options.duration = duration);
    local.run(on_record)
}

/// All ranks of a run, listening on loopback and not started yet.
#[derive(Debug)]
pub struct Local {
    ranks: Vec<(Options, TcpListener)>,
    stops: Vec<(Stopper, StopSignal)>,
}

impl Local {
    /// Chooses free ports for all ranks.
    ///
    /// # Errors
    ///
    /// The workload can't be run by so many ranks, or the system has no port
    /// or file descriptor left.
    pub fn bind(workload: &Workload, ranks: usize) -> Result<Self, Error> {
        workload.pattern(ranks)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listeners = (0..ranks)
            .map(|rank| {
                let error = |error| Error::Listen { rank, address, error };
                let listener = TcpListener::bind(address).map_err(error)?;
                let address = listener.local_addr().map_err(error)?;
                Ok((listener, address))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let peers: Vec<SocketAddr> = listeners.iter().map(|(_, address)| *address).collect();
        let options = |rank| Options::new(rank, peers.clone(), workload.clone());
        let ranks = listeners
            .into_iter()
            .enumerate()
            .map(|(rank, (listener, _))| (options(rank), listener))
            .collect();
        let what = "can't make a pair of sockets";
        let stops = peers
            .iter()
            .map(|_| stop_pair().map_err(|error| Error::System { what, error }))
            .collect::<Result<_, _>>()?;
        Ok(Self { ranks, stops })
    }

    /// The options of each rank, to change them before the run.
    pub fn options_mut(&mut self) -> impl Iterator<Item = &mut Options> {
        self.ranks.iter_mut().map(|(options, _)| options)
    }

    /// Stops the run: it tells rank 0, which tells its peers.
    pub fn stopper(&self) -> Stopper {
        // `bind` refuses fewer than two ranks.
        self.stops[0].0.clone()
    }

    /// Runs all ranks to their ends; see [`local`].
    ///
    /// # Errors
    ///
    /// See [`local`].
    pub fn run(self, mut on_record: impl FnMut(&Record) -> io::Result<()>) -> Result<Vec<Summary>, Error> {
        let stoppers: Vec<Stopper> = self.stops.iter().map(|(stopper, _)| stopper.clone()).collect();
        let stop_all = || stoppers.iter().for_each(Stopper::stop);
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for ((options, listener), (_, signal)) in self.ranks.into_iter().zip(self.stops) {
                let sender = sender.clone();
                let rank = move || -> Result<Summary, Error> {
                    let worker = Worker::with_listener(options, listener)?;
                    // The receiver is there as long as the threads are.
                    worker.run(&signal, &mut |record| sender.send(record.clone()).map_err(io::Error::other))
                };
                let stop_all = &stop_all;
                threads.push(scope.spawn(move || rank().inspect_err(|_| stop_all())));
            }
            drop(sender);
            let mut failed = None;
            for record in receiver {
                if failed.is_none()
                    && let Err(error) = on_record(&record)
                {
                    failed = Some(Error::Report { rank: 0, to: "its reader".to_owned(), error });
                    stop_all();
                }
            }
            let results: Vec<_> = threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect();
            match failed {
                Some(error) => Err(error),
                None => results.into_iter().collect(),
            }
        })
    }
}
