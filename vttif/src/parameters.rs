//! How fast and how sharply VTTIF looks.

use std::time::Duration;

/// The parameters of inference.
///
/// VTTIF as published (A. Gupta, P. A. Dinda, "Inferring the Topology and
/// Traffic Load of Parallel Programs Running In a Virtual Machine
/// Environment", JSSPP 2004) has three: update rate, smoothing interval and
/// detection threshold. The others say what counts as stable, silent and idle.
/// All times follow from the upper bound on configuration time:
/// [`Parameters::from_configuration_bound`].
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// The time between two reports of a daemon, the inverse of the update
    /// rate. Default 50 ms: 20 Hz, the fastest of the published system.
    pub update_interval: Duration,
    /// The time constant of the low-pass filter over which rates are averaged.
    /// Default 1 s, the published settling time.
    pub smoothing_interval: Duration,
    /// The fraction of the largest entry that another must have to be part of
    /// the topology, between 0 and 1. An edge leaves the topology when it has
    /// less than half of this. Default 0.1: the published results are largely
    /// insensitive to it, and TCP's acknowledgements stay below it.
    pub detection_threshold: f64,
    /// For how long nothing may be added to a topology before it is reported.
    /// Default 4 update intervals. One without a name must be stable for twice
    /// as long, and so must one that follows another within `follow_interval`.
    /// One that only loses edges, and with them a VM, must be stable for
    /// `follow_interval`; one that loses its name with them, for `idle_after`: a
    /// shape with gaps is mostly the same shape on a network that stalls.
    pub stable_for: Duration,
    /// How long an edge that was busy in every update must be silent to leave
    /// the topology. Default 5 update intervals. An edge that is known to pause
    /// may be silent for one and a half times its longest recent pause, and an update
    /// interval.
    pub release_after: Duration,
    /// The shortest time between changes of the application that is followed.
    /// Edges that come and go faster are all part of the topology (the union).
    /// Default 1.5 s.
    pub follow_interval: Duration,
    /// For how long the whole network may be silent before its topology is
    /// "none". While it is silent (a compute phase) the topology stays as it is.
    /// Default 5 s.
    pub idle_after: Duration,
    /// A network whose busiest pair sends less than this, in bytes per second,
    /// is silent. Default 2000: name lookups and keepalives stay below it.
    pub idle_rate: f64,
    /// A daemon that has not reported for so long is silent, and nobody waits for it.
    /// Default 1 s.
    pub daemon_timeout: Duration,
    /// Addresses and pairs without traffic for so long are forgotten.
    /// Default 5 minutes.
    pub forget_after: Duration,
    /// The most addresses to watch. Default 1024.
    pub max_vertices: usize,
    /// The most ordered address pairs to watch. Default 65 536.
    pub max_pairs: usize,
    /// The most daemons to listen to. Default 1024.
    pub max_daemons: usize,
}

/// A parameter that makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("VTTIF parameter `{parameter}` is {value}, but must be {expected}")]
pub struct ParameterError {
    /// Which one.
    pub parameter: &'static str,
    /// What it was.
    pub value: String,
    /// What it may be.
    pub expected: &'static str,
}

/// The fastest update interval that a configuration-time bound leads to.
const FASTEST: Duration = Duration::from_millis(50);
const SLOWEST: Duration = Duration::from_secs(1);

impl Parameters {
    /// The parameters that fit an overlay which needs up to `bound` to
    /// reconfigure itself (the eighth primitive of VNET sets it).
    ///
    /// There is no use in following an application faster than the overlay can:
    /// changes are followed from three times the bound, rates are averaged over
    /// twice the bound, and four updates are sent per bound. A bound of 200 ms
    /// or less gives the defaults.
    pub fn from_configuration_bound(bound: Duration) -> Self {
        let bound = bound.min(Duration::from_secs(3600));
        let update_interval = (bound / 4).clamp(FASTEST, SLOWEST);
        Self {
            update_interval,
            smoothing_interval: (bound * 2).max(20 * update_interval),
            detection_threshold: 0.1,
            stable_for: 4 * update_interval,
            release_after: 5 * update_interval,
            follow_interval: (bound * 3).max(30 * update_interval),
            idle_after: (bound * 5).max(100 * update_interval),
            idle_rate: 2000.0,
            daemon_timeout: 20 * update_interval,
            forget_after: Duration::from_secs(300).max(bound * 10),
            max_vertices: 1024,
            max_pairs: 1 << 16,
            max_daemons: 1024,
        }
    }

    /// How many reports a daemon should send per second, in Hz.
    pub fn update_rate(&self) -> f64 {
        1.0 / self.update_interval.as_secs_f64()
    }

    /// Do they make sense?
    pub fn validate(&self) -> Result<(), ParameterError> {
        let times = [
            ("update_interval", self.update_interval),
            ("smoothing_interval", self.smoothing_interval),
            ("stable_for", self.stable_for),
            ("release_after", self.release_after),
            ("follow_interval", self.follow_interval),
            ("idle_after", self.idle_after),
            ("daemon_timeout", self.daemon_timeout),
            ("forget_after", self.forget_after),
        ];
        for (parameter, time) in times {
            if time < Duration::from_millis(1) || time > Duration::from_secs(1 << 20) {
                let value = format!("{time:?}");
                return Err(ParameterError { parameter, value, expected: "between 1 ms and 12 days" });
            }
        }
        let limits = [
            ("max_vertices", self.max_vertices),
            ("max_pairs", self.max_pairs),
            ("max_daemons", self.max_daemons),
        ];
        for (parameter, limit) in limits {
            if limit == 0 || u32::try_from(limit).is_err() {
                let value = limit.to_string();
                return Err(ParameterError { parameter, value, expected: "between 1 and 4294967295" });
            }
        }
        let number = |parameter, value: f64, expected| {
            Err(ParameterError { parameter, value: value.to_string(), expected })
        };
        if !(self.detection_threshold > 0.0 && self.detection_threshold < 1.0) {
            return number("detection_threshold", self.detection_threshold, "between 0 and 1");
        }
        if !(self.idle_rate >= 0.0 && self.idle_rate.is_finite()) {
            return number("idle_rate", self.idle_rate, "0 or more");
        }
        Ok(())
    }
}

impl Default for Parameters {
    fn default() -> Self {
        Self::from_configuration_bound(Duration::from_millis(200))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn defaults_are_those_documented() {
        let p = Parameters::default();
        let ms = Duration::from_millis;
        assert_eq!(p.update_interval, ms(50));
        assert_eq!(p.update_rate(), 20.0);
        assert_eq!(p.smoothing_interval, ms(1000));
        assert_eq!((p.stable_for, p.release_after), (ms(200), ms(250)));
        assert_eq!(p.follow_interval, ms(1500));
        assert_eq!(p.idle_after, ms(5000));
        assert_eq!(p.daemon_timeout, ms(1000));
        assert_eq!(Parameters::from_configuration_bound(Duration::ZERO), p);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let p = Parameters { detection_threshold: f64::NAN, ..Parameters::default() };
        assert_eq!(
            p.validate().unwrap_err().to_string(),
            "VTTIF parameter `detection_threshold` is NaN, but must be between 0 and 1"
        );
        let p = Parameters { update_interval: Duration::ZERO, ..Parameters::default() };
        assert_eq!(p.validate().unwrap_err().parameter, "update_interval");
        let p = Parameters { max_pairs: 0, ..Parameters::default() };
        assert_eq!(p.validate().unwrap_err().parameter, "max_pairs");
    }

    proptest! {
        #[test]
        fn every_bound_gives_valid_parameters(ms: u64) {
            let p = Parameters::from_configuration_bound(Duration::from_millis(ms));
            prop_assert_eq!(p.validate(), Ok(()));
            prop_assert!(p.follow_interval > p.stable_for + p.release_after);
        }
    }
}
