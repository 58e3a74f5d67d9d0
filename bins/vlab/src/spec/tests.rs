//! Descriptions: what they mean and what is wrong with bad ones.

use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;
use vnet_core::{Bandwidth, HostName, MacAddr};

use super::*;

const MS: Duration = Duration::from_millis(1);

fn name(text: &str) -> HostName {
    HostName::new(text).unwrap()
}

/// The papers' laboratory, with a change.
fn error_of(change: impl FnOnce(&mut LabSpec)) -> String {
    let mut spec = LabSpec::papers();
    change(&mut spec);
    spec.check().unwrap_err().to_string()
}

#[test]
fn the_papers_laboratory_is_as_they_describe_it() {
    let spec = LabSpec::papers();
    let room = |site: &str| spec.hosts.iter().filter(|h| h.site == site).map(|h| h.room).sum::<u32>();
    assert_eq!((room("fast"), room("slow"), room("remote"), room("home")), (8, 3, 1, 0));
    let at = |site: &str| {
        let starts_here = |vm: &&VmSpec| spec.host(vm.host.as_ref().unwrap()).unwrap().site == site;
        spec.vms.iter().filter(starts_here).count()
    };
    assert_eq!((at("fast"), at("slow"), at("remote")), (4, 3, 1));
    assert_eq!(spec.proxy, Some(name("proxy")));
}

#[test]
fn the_truth_between_hosts_is_the_narrowest_pipe() {
    let mut spec = LabSpec::papers();
    let truth = |spec: &LabSpec, a: &str, b: &str| {
        let truth = spec.path(&name(a), &name(b)).unwrap();
        (truth.bandwidth.mbit(), truth.latency)
    };
    assert_eq!(truth(&spec, "fast1", "fast2"), (100.0, MS / 10));
    assert_eq!(truth(&spec, "fast1", "slow2"), (20.0, MS));
    assert_eq!(truth(&spec, "fast1", "far1"), (10.0, 25 * MS));
    assert_eq!(truth(&spec, "proxy", "fast1"), (5.0, 15 * MS));
    assert_eq!(truth(&spec, "fast1", "proxy"), (10.0, 15 * MS));
    assert_eq!(spec.path(&name("fast1"), &name("fast1")), None);
    assert_eq!(spec.path(&name("fast1"), &name("fast9")), None);

    let private = PathSpec {
        between: ["fast2".to_owned(), "fast1".to_owned()],
        bandwidth: Some(Bandwidth::from_mbit(3)),
        ..spec.paths[1].clone()
    };
    spec.paths.push(private);
    spec.check().unwrap();
    assert_eq!(truth(&spec, "fast1", "fast2"), (3.0, 25 * MS));
    assert_eq!(truth(&spec, "fast1", "fast3"), (100.0, MS / 10));
}

#[test]
fn addresses_follow_from_places_unless_given() {
    let mut spec = LabSpec::lan(3, Bandwidth::from_mbit(1), MS).with_vms(1);
    spec.hosts[0].address = Some(Ipv4Addr::new(10, 77, 0, 2));
    spec.hosts[1].mac = Some(MacAddr::local(99));
    spec.check().unwrap();
    let hosts = spec.host_addresses();
    let ips: Vec<_> = hosts.iter().map(|nic| nic.address.to_string()).collect();
    assert_eq!(ips, ["10.77.0.2", "10.77.0.1", "10.77.0.3"]);
    assert_eq!(hosts[0].mac.to_string(), "02:00:0a:4d:00:02");
    assert_eq!(hosts[1].mac, MacAddr::local(99));
    assert_eq!(spec.vm_addresses()[0].mac.to_string(), "02:00:0a:58:00:01");
}

#[test]
fn a_printed_description_reads_the_same() {
    for spec in [LabSpec::papers(), LabSpec::lan(5, Bandwidth::from_mbit(7), MS).with_vms(2)] {
        let text = toml::to_string(&spec).unwrap();
        assert_eq!(LabSpec::parse(&text, "printed").unwrap(), spec);
    }
}

#[test]
fn syntax_errors_name_file_and_line() {
    let error =
        LabSpec::parse("name = 'x'\n\n[[site]]\nname = 'a'\nlatncy = '1 ms'\n", "f.toml").unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("f.toml: TOML parse error at line 5, column 1"), "{text}");
    assert!(text.contains("unknown field `latncy`, expected one of `name`, `latency`"), "{text}");
}

#[test]
fn what_does_not_fit_is_named() {
    let cases: [(String, &str); 18] = [
        (
            error_of(|s| s.hosts[2].site = "fsat".into()),
            "host `fast3`: no site is named `fsat`; the sites are fast, home, remote, slow",
        ),
        (error_of(|s| s.hosts[1].name = name("fast1")), "host `fast1`: a host has this name already"),
        (error_of(|s| s.sites[1].name = "fast1".into()), "host `fast1`: a site has this name already"),
        (error_of(|s| s.sites[1].name = "a/b".into()), "site `a/b`: a name is not empty, has no `/`"),
        (error_of(|s| s.hosts[0].up = Bandwidth::default()), "host `fast1`: `up` is 0 bit/s"),
        (error_of(|s| s.hosts[0].speed = -1.0), "host `fast1`: `speed` is -1, not a number above 0"),
        (error_of(|s| s.hosts[0].room = 0), "host `fast1`: 1 VMs start here, but `room` is 0"),
        (error_of(|s| s.proxy = Some(name("prxy"))), "`proxy`: no host is named `prxy`"),
        (error_of(|s| s.vms[3].host = Some(name("x"))), "VM `vm4`: no host is named `x`"),
        (error_of(|s| s.vm_mtu = 100), "`vm_mtu`: 100 is not from 576 to 9000"),
        (error_of(|s| s.paths[0].loss = 1.5), "path between `fast` and `slow`: `loss` is 1.5"),
        (error_of(|s| s.paths[0].between[1] = "slwo".into()), "no site or host is named `slwo`"),
        (error_of(|s| s.paths[0].between[1] = "slow1".into()), "it joins a site and a host"),
        (error_of(|s| s.paths[0].between[1] = "fast".into()), "its ends are the same"),
        (error_of(|s| s.paths[1] = s.paths[0].clone()), "path between `fast` and `slow`: it is given twice"),
        (error_of(|s| drop(s.paths.remove(5))), "sites `remote` and `home`: no [[path]] is between them"),
        (
            error_of(|s| s.hosts[3].address = Some(Ipv4Addr::new(10, 78, 0, 1))),
            "host `fast4`: 10.78.0.1 is not an address for a host of 10.77.0.0/16",
        ),
        (
            error_of(|s| s.vms[1].mac = Some(MacAddr::local(0x0a58_0001))),
            "VM `vm2`: another one has the address 02:00:0a:58:00:01 already",
        ),
    ];
    for (text, expected) in cases {
        assert!(text.starts_with("papers: ") && text.contains(expected), "{text}\nlacks: {expected}");
    }
}

#[test]
fn subnets_have_a_network_and_hosts() {
    let subnet: Subnet = "10.77.0.0/16".parse().unwrap();
    assert_eq!(subnet.to_string(), "10.77.0.0/16");
    let has = |text: &str| subnet.has_host(text.parse().unwrap());
    assert!(has("10.77.0.1") && has("10.77.255.254"));
    assert!(!has("10.77.0.0") && !has("10.77.255.255") && !has("10.78.0.1"));
    for bad in ["10.77.0.0", "10.77.0.0/33", "10.77.0.1/16", "10.0.0.0/7", "x/16"] {
        assert!(bad.parse::<Subnet>().is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_panic(text in "(name = 'x'\n)?(\\[\\[[a-z]{3,5}\\]\\]\n|[a-z]{2,7} ?= ?['\\[\\]0-9a-z/. ]{0,12}\n){0,8}") {
        let _ = LabSpec::parse(&text, "text");
    }

    #[test]
    fn every_assigned_address_is_of_the_subnet(count in 1_u32..300, given in 1_u32..300) {
        let mut spec = LabSpec::lan(count, Bandwidth::from_mbit(1), MS);
        spec.hosts[(given % count) as usize].address = Some(Ipv4Addr::from(0x0a4d_0000 + given));
        prop_assert!(spec.check().is_ok());
    }
}
