//! `vadapt generate`.

use std::process::ExitCode;

use vadapt::generate::{ApplicationShape, Generate, NetworkShape, PublicMap};

use crate::args::{ApplicationName, GenerateArgs, NetworkName};
use crate::commands::write;

pub(crate) fn run(args: &GenerateArgs) -> anyhow::Result<ExitCode> {
    let network = match args.network {
        NetworkName::TwoTier => NetworkShape::TwoTier,
        NetworkName::Waxman => NetworkShape::Waxman,
        NetworkName::BarabasiAlbert => NetworkShape::BarabasiAlbert,
        NetworkName::Complete => NetworkShape::Complete,
        NetworkName::FatTree => NetworkShape::FatTree,
        NetworkName::Grid => NetworkShape::Grid,
        NetworkName::Torus => NetworkShape::Torus,
        NetworkName::Abilene => NetworkShape::Public(PublicMap::Abilene),
        NetworkName::Geant => NetworkShape::Public(PublicMap::Geant),
        NetworkName::Att => NetworkShape::Public(PublicMap::Att),
        NetworkName::NobelEu => NetworkShape::Public(PublicMap::NobelEu),
        NetworkName::Geant2012 => NetworkShape::Public(PublicMap::Geant2012),
        NetworkName::Germany50 => NetworkShape::Public(PublicMap::Germany50),
        NetworkName::Tata => NetworkShape::Public(PublicMap::Tata),
    };
    let application = match args.application {
        ApplicationName::Bus => ApplicationShape::Bus,
        ApplicationName::Ring => ApplicationShape::Ring,
        ApplicationName::Mesh => ApplicationShape::Mesh,
        ApplicationName::Torus => ApplicationShape::Torus,
        ApplicationName::Hypercube => ApplicationShape::Hypercube,
        ApplicationName::BinaryTree => ApplicationShape::BinaryTree,
        ApplicationName::AllToAll => ApplicationShape::AllToAll,
        ApplicationName::Random => ApplicationShape::Random { degree: args.degree },
    };
    let what = Generate {
        hosts: args.hosts as usize,
        vms: args.vms as usize,
        network,
        application,
        fill: args.fill,
        load: args.load,
        internal: !args.no_internal,
        latency_bounds: args.latency_bounds,
        squeeze: args.squeeze,
        seed: args.seed,
    };
    write(&args.output, &what.problem()?.to_json())?;
    Ok(ExitCode::SUCCESS)
}
