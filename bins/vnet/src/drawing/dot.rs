//! A topology for Graphviz.

use std::fmt::Write;

use vnet_core::LinkKind;

use super::Picture;

pub(super) fn render(picture: &Picture<'_>) -> String {
    let vms = picture.vms();
    let mut dot = String::from("graph overlay {\n  layout=neato; overlap=false; splines=true;\n");
    dot.push_str(
        "  node [shape=box, style=\"rounded,filled\", fillcolor=\"#dbeafe\", fontname=\"sans-serif\"];\n",
    );
    for host in &picture.topology.hosts {
        let is_proxy = picture.proxy() == Some(&host.machine);
        let extra = if is_proxy { ", peripheries=2" } else { "" };
        // Writing to a string can't fail, here and below. Names need no escapes.
        let _ = writeln!(dot, "  \"{0}\" [label=\"{0}\"{extra}];", host.machine);
        for vm in vms.get(&host.machine).into_iter().flatten() {
            let mac = vm.mac.map_or_else(String::new, |mac| format!("\\n{mac}"));
            let _ = writeln!(
                dot,
                "  \"{host}/{vm}\" [label=\"{vm}{mac}\", shape=ellipse, fillcolor=\"#fef3c7\", fontsize=10];\n  \
                 \"{host}\" -- \"{host}/{vm}\" [style=dotted, len=0.6];",
                host = host.machine,
                vm = vm.interface,
            );
        }
    }
    for (id, link) in &picture.topology.links {
        let style = if link.kind == LinkKind::Tcp { "dashed" } else { "solid" };
        let color = if picture.why_down(id).is_some() { "red" } else { "black" };
        let _ = writeln!(
            dot,
            "  \"{}\" -- \"{}\" [style={style}, color={color}, tooltip=\"{link}\", len=2];",
            link.a, link.b
        );
    }
    dot.push_str("}\n");
    dot
}
