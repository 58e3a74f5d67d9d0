//! What the overlay does over real Ethernet: faults, reconfigurations, naming.

mod faults;
mod naming;
mod paths;
mod reconfigure;
mod support;
mod switching;

use std::process::ExitCode;

use testbed::{Test, harness};

const TESTS: &[Test] = &[
    ("proxy_killed_and_restarted", faults::proxy_killed_and_restarted),
    ("daemon_killed_and_restarted", faults::daemon_killed_and_restarted),
    ("link_cut_for_ten_seconds", faults::link_cut_for_ten_seconds),
    ("tap_deleted_and_given_back", faults::tap_deleted_and_given_back),
    ("no_packet_lost_between_generated_topologies", reconfigure::no_packet_lost_between_generated_topologies),
    ("shapes_of_8_vms_are_named_right", naming::shapes_of_8_vms_are_named_right),
    ("shapes_of_16_vms_are_named_right", naming::shapes_of_16_vms_are_named_right),
    ("shapes_of_32_vms_are_named_right", naming::shapes_of_32_vms_are_named_right),
    ("shapes_of_8_vms_are_named_in_half_a_second", naming::shapes_of_8_vms_are_named_in_half_a_second),
    ("shapes_of_16_vms_are_named_in_half_a_second", naming::shapes_of_16_vms_are_named_in_half_a_second),
    ("shapes_of_32_vms_are_named_in_half_a_second", naming::shapes_of_32_vms_are_named_in_half_a_second),
    ("paths_are_inferred_from_the_workload", paths::paths_are_inferred_from_the_workload),
    ("paths_with_little_traffic_stay_unknown", paths::paths_with_little_traffic_stay_unknown),
    ("switched_every_50_ms_it_is_the_union", switching::switched_every_50_ms_it_is_the_union),
    (
        "switched_every_2_s_each_switch_is_reported_once",
        switching::switched_every_2_s_each_switch_is_reported_once,
    ),
];

fn main() -> ExitCode {
    harness(TESTS)
}
