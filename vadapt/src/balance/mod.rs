//! The adaptation manager of VIOLIN: predicted demand, and load balanced over domains and hosts
//! (`004`, section 6.2.2, equations 6.1 to 6.8 and Algorithm 1).
//!
//! Virtual environments stay within one domain, since their VMs talk much. So there are two
//! tiers: environments go to domains, then the VMs of a domain to its hosts. Memory is
//! not balanced: a VM has what it needs or doesn't run.
//!
//! | slip in the text | done here |
//! | --- | --- |
//! | the two functions of (6.4) are said to meet at `PU = alpha` | they meet at `PU = 1 / alpha`, as in the equation |
//! | the sum in (6.7) runs over environments `i` to `m`, which counts a domain once per environment in it | [`Domains::balance`] sums over domains, which is what Algorithm 1 needs: an empty domain is out of balance too |
//! | Algorithm 1 ends `until Balance(M') <= Balance(M)`, which would stop at the first improvement | it goes on while the balance improves, as the text says |

mod demand;

pub use demand::{Demands, InvalidParameters, predicted_usage};

/// Things with a load that stay where they are put: environments in domains, or VMs on hosts.
#[derive(Debug, Clone, PartialEq)]
pub struct Domains {
    /// Capacity of each domain; positive.
    pub capacity: Vec<f64>,
    /// Desired resource level of each environment.
    pub load: Vec<f64>,
    /// The domain of each environment.
    pub mapping: Vec<usize>,
}

/// One step of balancing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The environment that moves.
    pub environment: usize,
    /// The domain that it leaves.
    pub from: usize,
    /// The domain that it goes to.
    pub to: usize,
}

impl Domains {
    /// All demand over all capacity (6.5).
    pub fn target_utilisation(&self) -> f64 {
        self.load.iter().sum::<f64>() / self.capacity.iter().sum::<f64>()
    }

    /// Demand over capacity of one domain (6.6).
    ///
    /// # Panics
    ///
    /// If there is no such domain.
    pub fn utilisation(&self, domain: usize) -> f64 {
        let here = self.mapping.iter().zip(&self.load).filter(|(at, _)| **at == domain);
        here.map(|(_, load)| load).sum::<f64>() / self.capacity[domain]
    }

    /// How far the domains are from the target, summed (6.7); 0 is perfect.
    pub fn balance(&self) -> f64 {
        let target = self.target_utilisation();
        (0..self.capacity.len()).map(|domain| (self.utilisation(domain) - target).abs()).sum()
    }

    /// Balances by single migrations from the fullest to the emptiest domain, each the one that
    /// helps most ("best fit"), until none helps (Algorithm 1). Returns the steps, in order; the
    /// mapping is changed accordingly. `O(environments * domains)` per step.
    ///
    /// ```
    /// use vadapt::balance::Domains;
    ///
    /// let mut domains = Domains { capacity: vec![10.0, 10.0], load: vec![4.0, 3.0, 3.0], mapping: vec![0, 0, 0] };
    /// let steps = domains.even_out();
    /// assert_eq!(steps.len(), 1);
    /// assert!((domains.balance() - 0.2).abs() < 1e-9);
    /// ```
    pub fn even_out(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some(step) = self.best_step() {
            self.mapping[step.environment] = step.to;
            steps.push(step);
        }
        steps
    }

    /// The migration from the fullest to the emptiest domain that improves the balance most.
    fn best_step(&self) -> Option<Step> {
        let by_utilisation = |x: &usize, y: &usize| self.utilisation(*x).total_cmp(&self.utilisation(*y));
        let from = (0..self.capacity.len()).max_by(by_utilisation)?;
        let to = (0..self.capacity.len()).min_by(by_utilisation)?;
        if from == to {
            return None;
        }
        let now = self.balance();
        let mut moved = self.clone();
        let mut balance_of = |environment: usize| {
            moved.mapping[environment] = to;
            let balance = moved.balance();
            moved.mapping[environment] = from;
            balance
        };
        let here = (0..self.mapping.len()).filter(|environment| self.mapping[*environment] == from);
        let rated = here.map(|environment| (balance_of(environment), environment));
        let (balance, environment) = rated.min_by(|x, y| x.0.total_cmp(&y.0))?;
        // Less than rounding is no improvement; without this, two equal mappings could alternate.
        (balance < now - 1e-9 * now.max(1e-9)).then_some(Step { environment, from, to })
    }
}

/// A virtual environment: VMs that stay within one domain.
#[derive(Debug, Clone, PartialEq)]
pub struct Environment {
    /// The domain that it is in.
    pub domain: usize,
    /// Desired resource level and host (within the domain) of each VM.
    pub vms: Vec<(f64, usize)>,
}

/// What the two-tier heuristic does to one VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relocation {
    /// The environment.
    pub environment: usize,
    /// The VM within it.
    pub vm: usize,
    /// Domain and host before.
    pub from: (usize, usize),
    /// Domain and host after.
    pub to: (usize, usize),
}

/// Balances environments over domains, then the VMs of each domain over its hosts, with as few
/// migrations as that takes. `domains[d][h]` is the capacity of host `h` of domain `d`.
///
/// VMs of an environment that changes its domain go, the largest first, to the host that
/// is least used then. Returns what moves; `environments` is changed accordingly.
///
/// # Panics
///
/// If an environment names a domain or host that doesn't exist, or a domain has no host.
pub fn two_tier(domains: &[Vec<f64>], environments: &mut [Environment]) -> Vec<Relocation> {
    let before = environments.to_vec();
    let mut upper = Domains {
        capacity: domains.iter().map(|hosts| hosts.iter().sum()).collect(),
        load: environments.iter().map(|e| e.vms.iter().map(|(load, _)| load).sum()).collect(),
        mapping: environments.iter().map(|environment| environment.domain).collect(),
    };
    upper.even_out();
    for (index, domain) in upper.mapping.iter().enumerate() {
        if environments[index].domain != *domain {
            settle(&domains[*domain], *domain, environments, index);
        }
    }
    for (domain, hosts) in domains.iter().enumerate() {
        let vms: Vec<(usize, usize)> = members(environments, domain).collect();
        let mut lower = Domains {
            capacity: hosts.clone(),
            load: vms.iter().map(|(e, vm)| environments[*e].vms[*vm].0).collect(),
            mapping: vms.iter().map(|(e, vm)| environments[*e].vms[*vm].1).collect(),
        };
        lower.even_out();
        for ((environment, vm), host) in vms.into_iter().zip(lower.mapping) {
            environments[environment].vms[vm].1 = host;
        }
    }
    let mut moved = Vec::new();
    for (environment, (old, new)) in before.iter().zip(environments.iter()).enumerate() {
        for (vm, ((_, old_host), (_, new_host))) in old.vms.iter().zip(&new.vms).enumerate() {
            let (from, to) = ((old.domain, *old_host), (new.domain, *new_host));
            if from != to {
                moved.push(Relocation { environment, vm, from, to });
            }
        }
    }
    moved
}

/// Environments and VMs in a domain.
fn members(environments: &[Environment], domain: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
    let inside = environments.iter().enumerate().filter(move |(_, environment)| environment.domain == domain);
    inside.flat_map(|(index, environment)| (0..environment.vms.len()).map(move |vm| (index, vm)))
}

/// Puts the VMs of an environment on hosts of its new domain.
fn settle(hosts: &[f64], domain: usize, environments: &mut [Environment], index: usize) {
    let mut used = vec![0.0; hosts.len()];
    for (environment, vm) in members(environments, domain) {
        let (load, host) = environments[environment].vms[vm];
        used[host] += load;
    }
    let environment = &mut environments[index];
    environment.domain = domain;
    let mut order: Vec<usize> = (0..environment.vms.len()).collect();
    order.sort_by(|x, y| environment.vms[*y].0.total_cmp(&environment.vms[*x].0));
    for vm in order {
        let load = environment.vms[vm].0;
        let after = |host: &usize| (used[*host] + load) / hosts[*host];
        let best = (0..hosts.len()).min_by(|x, y| after(x).total_cmp(&after(y)));
        let host = best.expect("a domain has hosts, as documented");
        used[host] += load;
        environment.vms[vm].1 = host;
    }
}

#[cfg(test)]
mod tests;
