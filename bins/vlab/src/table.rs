//! Laboratories as tables for people and as JSON for programs.

use std::fmt::Write;

use anyhow::Result;
use serde_json::{Value, json};
use vlab::{Lab, LabSpec, Machine, NicAddress};

/// What a description would build.
pub(crate) fn check(spec: &LabSpec, json: bool) -> Result<String> {
    render(&describe(spec), spec, json)
}

/// What has been built.
pub(crate) fn lab(lab: &Lab, json: bool) -> Result<String> {
    let mut value = describe(lab.spec());
    value["nics"] = serde_json::to_value(lab.nic_kind())?;
    for (entry, host) in entries(&mut value, "hosts").zip(lab.hosts()) {
        entry["netns"] = host.netns().path().to_string_lossy().into();
    }
    for (entry, vm) in entries(&mut value, "vms").zip(lab.vms()) {
        entry["netns"] = vm.netns().path().to_string_lossy().into();
        entry["attachment"] = serde_json::to_value(vm.attachment())?;
    }
    render(&value, lab.spec(), json)
}

fn entries<'a>(value: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    value[key].as_array_mut().into_iter().flatten()
}

fn describe(spec: &LabSpec) -> Value {
    let nic = |nic: NicAddress| (format!("{}/{}", nic.address, nic.prefix), nic.mac.to_string());
    let hosts: Vec<Value> = spec
        .hosts
        .iter()
        .zip(spec.host_addresses())
        .map(|(host, at)| {
            let (address, mac) = nic(at);
            json!({
                "name": host.name, "site": host.site, "address": address, "mac": mac,
                "up": host.up, "down": host.down, "room": host.room, "speed": host.speed,
            })
        })
        .collect();
    let vms: Vec<Value> = spec
        .vms
        .iter()
        .zip(spec.vm_addresses())
        .map(|(vm, at)| {
            let (address, mac) = nic(at);
            json!({ "name": vm.name, "host": vm.host, "address": address, "mac": mac })
        })
        .collect();
    json!({ "name": spec.name, "hosts": hosts, "paths": spec.paths, "vms": vms })
}

fn render(value: &Value, spec: &LabSpec, json: bool) -> Result<String> {
    if json {
        return Ok(format!("{}\n", serde_json::to_string_pretty(value)?));
    }
    let mut out = String::new();
    let (hosts, vms) = (spec.hosts.len(), spec.vms.len());
    writeln!(out, "{}: {hosts} hosts at {} sites, {vms} VMs\n", spec.name, spec.sites.len())?;
    columns(&mut out, &value["hosts"], &["name", "site", "address", "mac", "up", "down", "room", "netns"])?;
    if !spec.paths.is_empty() {
        out.push('\n');
        columns(&mut out, &value["paths"], &["between", "bandwidth", "latency", "jitter", "loss"])?;
    }
    if !spec.vms.is_empty() {
        out.push('\n');
        columns(&mut out, &value["vms"], &["name", "host", "address", "mac", "netns"])?;
    }
    Ok(out)
}

/// The entries as lines under the keys that any of them has.
fn columns(out: &mut String, entries: &Value, keys: &[&str]) -> Result<()> {
    let entries = entries.as_array().map_or(&[][..], Vec::as_slice);
    let keys = keys.iter().filter(|key| entries.iter().any(|entry| !entry[**key].is_null()));
    let columns: Vec<Vec<String>> = keys
        .map(|key| {
            let cells = entries.iter().map(|entry| cell(&entry[*key]));
            std::iter::once(key.to_uppercase()).chain(cells).collect()
        })
        .collect();
    let widths: Vec<usize> =
        columns.iter().map(|cells| cells.iter().map(String::len).max().unwrap_or(0)).collect();
    for line in 0..=entries.len() {
        let cells = columns.iter().zip(&widths).map(|(cells, width)| format!("{:width$}", cells[line]));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(cell).collect::<Vec<_>>().join(" - "),
        other => other.to_string(),
    }
}
