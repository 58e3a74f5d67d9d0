//! A topology as tables.

use super::Picture;
use crate::output::Table;

pub(super) fn render(picture: &Picture<'_>) -> String {
    let topology = picture.topology;
    let mut text = String::new();
    if let Some(network) = picture.network {
        text += &format!("network {network}: ");
    }
    text += &format!(
        "{} hosts, {} links, {} rules\n\n",
        topology.hosts.len(),
        topology.links.len(),
        topology.rule_count()
    );
    text += &hosts(picture).text();
    let links = links(picture).text();
    if !links.is_empty() {
        text.push('\n');
        text += &links;
    }
    text
}

fn hosts(picture: &Picture<'_>) -> Table {
    let vms = picture.vms();
    let mut table = Table::new(["HOST", "ADDRESS", "RULES", "VMS"]);
    for host in &picture.topology.hosts {
        let known = picture.overlay.and_then(|overlay| overlay.daemons.get(&host.machine));
        let address = match known.and_then(|daemon| daemon.address) {
            Some(address) => address.to_string(),
            None => format!("port {}", host.port),
        };
        let vms = vms.get(&host.machine).into_iter().flatten().map(|vm| match vm.mac {
            Some(mac) => format!("{} {mac}", vm.interface),
            None => vm.interface.to_string(),
        });
        let proxy = if picture.proxy() == Some(&host.machine) { " (Proxy)" } else { "" };
        table.row([
            format!("{}{proxy}", host.machine),
            address,
            picture.topology.rules_of(&host.machine).count().to_string(),
            vms.collect::<Vec<_>>().join(", "),
        ]);
    }
    table
}

fn links(picture: &Picture<'_>) -> Table {
    let mut table = match picture.overlay {
        Some(_) => Table::new(["LINK", "KIND", "OPENER", "STATE"]),
        None => Table::new(["LINK", "KIND", "OPENER", ""]),
    };
    for (id, link) in &picture.topology.links {
        let state = match (picture.overlay, picture.why_down(id)) {
            (None, _) => String::new(),
            (Some(_), None) => "up".to_owned(),
            (Some(_), Some(why)) => format!("down: {why}"),
        };
        table.row([id.to_string(), link.kind.to_string(), link.opener.to_string(), state]);
    }
    table
}
