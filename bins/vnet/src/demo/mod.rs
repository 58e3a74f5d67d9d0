//! `vnet demo`: the whole idea on one machine.

mod clock;
mod detector;
mod guests;
mod machines;
mod options;
mod outcome;
mod play;
mod scene;
mod survey;

use anyhow::Context;
use testbed::Testbed;

use crate::report::{self, Live};

pub(crate) use guests::dispatch;
pub(crate) use options::Options;

use guests::Guests;
use machines::{Machines, Namespaces};
use options::Vms;

/// Plays the demonstration. The program must have entered a laboratory.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let clock = clock::Clock::start();
    let spec = scene::spec(options)?;
    let figures = scene::figures(&spec)?;
    let mut live = Live::stderr();
    live.event(clock.now(), &format!("building the laboratory `{}`: {} hosts", spec.name, spec.hosts.len()))?;
    let mut bed = Testbed::start(&spec)?;
    bed.attach_all()?;
    let machines: Box<dyn Machines> = match options.vms {
        Vms::Namespaces(_) => Box::new(Namespaces),
        Vms::Guests(count) => {
            live.event(clock.now(), &format!("booting {count} guests under QEMU"))?;
            Box::new(Guests::start(&bed, count)?)
        }
    };
    let findings = play::Play::new(options, clock, bed, machines, &figures, live)?.run()?;
    let outcome = outcome::report(options, &spec, &figures, findings);
    if let Some(path) = &options.report {
        std::fs::write(path, report::html(&outcome))
            .with_context(|| format!("could not write {}", path.display()))?;
        eprintln!("the report is in {}", path.display());
    }
    if options.json {
        println!("{}", serde_json::to_string(&outcome)?);
    } else {
        print!("{}", report::table(&outcome));
    }
    Ok(())
}
