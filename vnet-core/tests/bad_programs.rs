//! Programs with one mistake each, and what is said of them.

use std::fmt::Write;

const BAD: [&str; 38] = [
    // The whole.
    "",
    "# nothing but a comment",
    "begin\nEND\n",
    "BEGIN\nHOST ann AT alpha 7777 eth0\n",
    "BEGIN\nEND\nEND\n",
    "BEGIN\nLINK UDP a a b\nEND\n",
    // Hosts.
    "BEGIN\nHOST ann alpha 7777 eth0\nEND\n",
    "BEGIN\nHOST ann AT alpha port eth0\nEND\n",
    "BEGIN\nHOST ann AT alpha 65536 eth0\nEND\n",
    "BEGIN\nHOST ann AT alpha 0 eth0\nEND\n",
    "BEGIN\nHOST ann AT alpha 7777\nEND\n",
    "BEGIN\nHOST ann AT al/pha 7777 eth0\nEND\n",
    "BEGIN\nHOST ann AT alpha 7777 eth0\n\nHOST bob AT alpha 7778 eth0\nEND\n",
    "BEGIN\nADD\nHOST ann AT alpha 7777 eth0\nEND\n",
    // Links.
    "BEGIN {hosts} ADD\nLINK SCTP alpha alpha beta\nEND\n",
    "BEGIN {hosts} ADD\nLINK UDP alpha beta\nEND\n",
    "BEGIN {hosts} ADD\nLINK UDP alpha alpha betta\nEND\n",
    "BEGIN {hosts} ADD\nLINK UDP alpha alpha alpha\nEND\n",
    "BEGIN {hosts} ADD\nLINK UDP gamma alpha beta # gamma is no end\nEND\n",
    "BEGIN {hosts} ADD\nLINK UDP alpha alpha beta\nLINK TCP beta beta alpha\nEND\n",
    "BEGIN {hosts} DELETE\nLINK UDP alpha alpha beta\nEND\n",
    "BEGIN {hosts} ADD\nLINK UDP alpha alpha beta\nDELETE\nLINK TCP alpha alpha beta\nEND\n",
    "BEGIN {hosts} ADD\nFORWARD INTERFACE alpha ANY NONE NONE vm1\nLINK UDP alpha alpha beta\nEND\n",
    "BEGIN {hosts} DELETE\nLINK UDP alpha alpha beta extra\nEND\n",
    // Rules.
    "BEGIN {hosts} ADD\nFORWARD LINK alpha ANY NONE NONE vm1\nEND\n",
    "BEGIN {hosts} ADD\nFORWARD INTERFACE alpha 02:00:00:00:00:01 vm1\nEND\n",
    "BEGIN {hosts} ADD\nFORWARD INTERFACE alpha 02:00:00:00:00 NONE vm1\nEND\n",
    "BEGIN {hosts} ADD\nFORWARD INTERFACE alpha ANY 02-00-00-00-00-01 NONE vm1\nEND\n",
    "BEGIN {hosts} ADD\nFORWARD INTERFACE alpha NONE 02:00:00:00:00:01 vm1\nEND\n",
    "BEGIN {hosts} ADD\nFORWARD INTERFACE alpha ANY NONE NOT NONE vm1\nEND\n",
    "BEGIN {hosts} ADD\nFORWARD INTERFACE alpha ANY NONE NONE alpha beta\nEND\n",
    "BEGIN {hosts} ADD\nFORWARD EDGE alpha ANY NONE NONE alpha\nEND\n",
    "BEGIN {hosts} ADD\nFORWARD EDGE alpha NOT 02:00:00:00:00:01 ANY NONE beta alpha\nEND\n",
    "BEGIN {hosts} ADD\nFORWARD EDGE alpha ANY NONE NONE alpha alpha\nEND\n",
    "BEGIN {hosts} ADD\nFORWARD EDGE alpha ANY NONE 02:00:00:00:00:01 alpha delta\nEND\n",
    "BEGIN {hosts} ADD\nFORWARD INTERFACE delta ANY NONE NONE vm1\nEND\n",
    "BEGIN {hosts} ADD\nFORWARD INTERFACE alpha ANY NONE NONE vm1\nFORWARD INTERFACE alpha ANY NONE NONE vm1\nEND\n",
    "BEGIN {hosts} DELETE\n\tFORWARD INTERFACE alpha ANY NONE NONE vm1\nEND\n",
];

const HOSTS: &str =
    "\nHOST ann AT alpha 7777 eth0\nHOST ann AT beta 7777 eth0\nHOST bob AT gamma 7777 eth0\n";

#[test]
fn every_mistake_is_named_with_its_place() {
    let mut table = String::new();
    for (number, program) in BAD.iter().enumerate() {
        let text = program.replace("{hosts}", HOSTS);
        let error = vnet_core::lang::read("bad.vnet", &text).expect_err(&text);
        writeln!(table, "--- {}", number + 1).unwrap();
        writeln!(table, "{error}").unwrap();
    }
    insta::assert_snapshot!(table);
}
