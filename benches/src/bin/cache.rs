//! The rule cache: hits, misses, and rules that change meanwhile.
//!
//! `cargo run --release -p vnet-benches --bin cache`

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use vnet_core::{
    Action, Destination, EdgeRef, HostName, InterfaceName, LinkId, MacAddr, NetworkId, Rule, RuleVersion,
    Source,
};
use vnet_fwd::{Forwarder, FrameInfo, Ingress, PortId, RuleBook};

/// Measure what the rule cache costs one core.
#[derive(Parser)]
#[command(name = "cache", version, about)]
struct Options {
    /// How often each figure is measured; the table has the medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// The largest rule set
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(10..))]
    rules: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts what this thread asks of it.
struct Counting;

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const NET: NetworkId = NetworkId(1);
/// Flows at a time where nothing else is said.
const FLOWS: usize = 64;
const LOOKUPS: usize = 2_000_000;
const CHANGES_PER_SECOND: u32 = 10_000;

#[derive(Serialize)]
struct Outcome {
    by_rules: Vec<ByRules>,
    by_flows: Vec<ByFlows>,
    changes: Changes,
}

/// 64 flows, by the number of rules.
#[derive(Serialize)]
struct ByRules {
    rules: u32,
    hit_ns: f64,
    hit_allocations: u64,
    miss_ns: f64,
}

/// Hits with the most rules, by the number of address pairs in use.
#[derive(Serialize)]
struct ByFlows {
    flows: usize,
    hit_ns: f64,
}

/// Hits with the most rules, of which many change.
#[derive(Serialize)]
struct Changes {
    asked_per_s: u32,
    done_per_s: f64,
    /// The rate of lookups, beside the one without changes.
    kept: f64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match measure(&options).and_then(|outcome| print(&outcome, options.json)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cache: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<Outcome> {
    let mut by_rules = Vec::new();
    let mut rules = 10;
    while rules <= options.rules {
        let mut engine = Engine::new(rules, FLOWS)?;
        let flows = flows(FLOWS, rules, 1);
        let hit = |engine: &mut Engine| engine.time(&flows, LOOKUPS);
        hit(&mut engine);
        let before = ALLOCATIONS.get();
        let hits = (0..options.runs).map(|_| hit(&mut engine)).collect();
        let hit_allocations = ALLOCATIONS.get() - before - 1; // the list of the figures
        let misses = (0..options.runs).map(|run| engine.time_misses(rules, run)).collect();
        by_rules.push(ByRules { rules, hit_ns: median(hits), hit_allocations, miss_ns: median(misses) });
        rules = rules.saturating_mul(10);
    }
    let most = rules / 10;
    let mut by_flows = Vec::new();
    for count in [1, 64, 4096, 65_536, 1_000_000] {
        let mut engine = Engine::new(most, count)?;
        let flows = flows(count, most, 2);
        engine.time(&flows, LOOKUPS.max(2 * count));
        let hits = (0..options.runs).map(|_| engine.time(&flows, LOOKUPS)).collect();
        by_flows.push(ByFlows { flows: count, hit_ns: median(hits) });
    }
    Ok(Outcome { by_rules, by_flows, changes: changes(most, options.runs)? })
}

struct Engine {
    book: RuleBook,
    forwarder: Forwarder,
    ingress: PortId,
}

impl Engine {
    /// An engine with so many rules, and a cache for so many flows. Each rule is for a
    /// destination of its own; half of them lead to an interface, half over links.
    fn new(rules: u32, flows: usize) -> Result<Self> {
        let own = HostName::new("host0")?;
        let mut book = RuleBook::new(own.clone());
        let mut forwarder = Forwarder::new(book.reader(), 64, flows.max(64) * 4, 1 << 16);
        let ingress = forwarder.add_interface(InterfaceName::new("in")?, NET);
        let out = InterfaceName::new("out")?;
        forwarder.add_interface(out.clone(), NET);
        let peers = (1..=7).map(|n| HostName::new(&format!("host{n}"))).collect::<Result<Vec<_>, _>>()?;
        for peer in &peers {
            forwarder.add_link(LinkId::new(&own, peer));
        }
        let rule = |n: u32| {
            let to = || peers[n as usize % peers.len()].clone();
            let action = match n % 2 {
                0 => Action::Interface(out.clone()),
                _ => Action::Edge(EdgeRef { from: own.clone(), to: to() }),
            };
            Rule { source: Source::Any, destination: Destination::Exact(MacAddr::local(n)), action }
        };
        book.prepare(NET, RuleVersion(1), (0..rules).map(rule).collect())?;
        book.commit(NET, RuleVersion(1))?;
        forwarder.refresh();
        Ok(Self { book, forwarder, ingress })
    }

    #[inline]
    fn forward(&mut self, (source, destination): (MacAddr, MacAddr)) {
        let frame = FrameInfo { source, destination, bytes: 1400, frames: 1 };
        // As a worker does for each frame or super-frame.
        self.forwarder.refresh();
        self.forwarder.forward(Ingress::Interface(self.ingress), frame, |port, label| {
            black_box((port, label));
            Ok(())
        });
    }

    /// Nanoseconds of one of `lookups`, of the flows in turn.
    fn time(&mut self, flows: &[(MacAddr, MacAddr)], lookups: usize) -> f64 {
        let start = Instant::now();
        for flow in flows.iter().cycle().take(lookups) {
            self.forward(*flow);
        }
        start.elapsed().as_nanos() as f64 / lookups as f64
    }

    /// The same where each flow is seen for the first time.
    fn time_misses(&mut self, rules: u32, run: u32) -> f64 {
        let flows = flows(200_000, rules, 100 + u64::from(run));
        self.time(&flows, flows.len())
    }
}

/// Random address pairs with destinations that there are rules for.
fn flows(count: usize, rules: u32, seed: u64) -> Vec<(MacAddr, MacAddr)> {
    let mut random = StdRng::seed_from_u64(seed);
    let source = 1 << 30;
    (0..count)
        .map(|_| {
            let from = random.random_range(source..2 * source);
            (MacAddr::local(from), MacAddr::local(random.random_range(0..rules)))
        })
        .collect()
}

/// Lookups per second on one core, with and without changes of rules on another, in turns.
fn changes(rules: u32, runs: u32) -> Result<Changes> {
    let mut engine = Engine::new(rules, FLOWS)?;
    let flows = flows(FLOWS, rules, 3);
    let own = HostName::new("host0")?;
    let mut book = std::mem::replace(&mut engine.book, RuleBook::new(own));
    let (stop, change, done) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
    let out = InterfaceName::new("out")?;
    let (mut kept, mut rates) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let pause = Duration::from_secs(1) / CHANGES_PER_SECOND;
            let mut next = Instant::now();
            for n in (0_u32..).map(|n| n / 2 % 1000) {
                while !change.load(Ordering::Relaxed) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                    next = Instant::now();
                }
                // Added and taken away again, for addresses that nobody asks for.
                let destination = Destination::Exact(MacAddr::local((1 << 29) + n));
                let action = Action::Interface(out.clone());
                let rule = Rule { source: Source::Any, destination, action };
                if !book.delete(NET, &rule) {
                    drop(book.add(NET, rule));
                }
                done.fetch_add(1, Ordering::Relaxed);
                next += pause;
                if let Some(early) = next.checked_duration_since(Instant::now())
                    && early > Duration::from_micros(200)
                {
                    std::thread::sleep(early);
                }
            }
        });
        let mut rate = |changing: bool| {
            change.store(changing, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(20));
            let (start, before) = (Instant::now(), done.load(Ordering::Relaxed));
            let mut lookups = 0_u64;
            while start.elapsed() < Duration::from_millis(500) {
                engine.time(&flows, 20_000);
                lookups += 20_000;
            }
            let seconds = start.elapsed().as_secs_f64();
            (lookups as f64 / seconds, (done.load(Ordering::Relaxed) - before) as f64 / seconds)
        };
        for _ in 0..runs {
            let (quiet, _) = rate(false);
            let (busy, changed) = rate(true);
            kept.push(busy / quiet);
            rates.push(changed);
        }
        change.store(false, Ordering::Relaxed);
        stop.store(true, Ordering::Relaxed);
    });
    Ok(Changes { asked_per_s: CHANGES_PER_SECOND, done_per_s: median(rates), kept: median(kept) })
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print(outcome: &Outcome, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(outcome)?);
        return Ok(());
    }
    println!("{:>9}  {:>7}  {:>16}  {:>7}", "rules", "hit ns", "allocations", "miss ns");
    for row in &outcome.by_rules {
        let ByRules { rules, hit_ns, hit_allocations, miss_ns } = row;
        println!("{rules:>9}  {hit_ns:>7.1}  {hit_allocations:>16}  {miss_ns:>7.0}");
    }
    println!("\n{:>9}  {:>7}", "flows", "hit ns");
    for ByFlows { flows, hit_ns } in &outcome.by_flows {
        println!("{flows:>9}  {hit_ns:>7.1}");
    }
    let Changes { asked_per_s, done_per_s, kept } = &outcome.changes;
    println!(
        "\n{done_per_s:.0} of {asked_per_s} rules/s changed: lookups keep {:.1} % of their rate",
        kept * 100.0
    );
    Ok(())
}
