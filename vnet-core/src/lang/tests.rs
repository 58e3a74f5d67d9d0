use proptest::prelude::*;

use super::*;
use crate::strategies;
use crate::{Destination, HostName, Link, MacAddr, Source};

proptest! {
    #[test]
    fn printed_programs_parse_to_themselves(program in strategies::program()) {
        prop_assert_eq!(parse("test", &program.to_string()), Ok(program));
    }

    #[test]
    fn printed_topologies_read_as_themselves(topology in strategies::topology()) {
        prop_assert_eq!(read("test", &topology.to_string()), Ok(topology));
    }

    #[test]
    fn deletion_of_everything_leaves_the_hosts(topology in strategies::topology()) {
        let mut program = Program::from(&topology);
        program.configs.extend(program.configs.first().cloned().map(|c| Config { operation: Operation::Delete, ..c }));
        let expected = Topology { hosts: topology.hosts, ..Topology::default() };
        prop_assert_eq!(program.topology(), Ok(expected));
    }

    #[test]
    fn blanks_and_comments_make_no_difference(
        program in strategies::program(),
        between in proptest::collection::vec("[ \t\r\n]{1,3}|#[^\n]{0,9}\n", 1..20),
    ) {
        let text = program.to_string();
        let words: Vec<_> = text.split_whitespace().collect();
        let text: String = words.iter().zip(between.iter().cycle()).flat_map(|(word, blank)| [*word, blank]).collect();
        prop_assert_eq!(parse("test", &text), Ok(program));
    }

    /// Words in any order: nearly all of them wrong, each error at a place in the text.
    #[test]
    fn any_words_parse_or_fail_at_a_place(words in proptest::collection::vec(
        proptest::sample::select(vec![
            "BEGIN", "END", "HOST", "AT", "ADD", "DELETE", "LINK", "TCP", "UDP", "FORWARD", "EDGE", "INTERFACE",
            "NOT", "ANY", "NONE", "a", "b", "7777", "02:00:00:00:00:01", "é", "#", "\n", "\t", ":",
        ]), 0..40)) {
        check_error(&words.join(" "));
    }

    #[test]
    fn any_text_parses_or_fails_at_a_place(text in "\\PC{0,80}|BEGIN\\s(\\PC|\\s){0,80}") {
        check_error(&text);
    }

    #[test]
    fn a_program_cut_short_fails_at_its_end(program in strategies::program(), cut in any::<prop::sample::Index>()) {
        let text = program.to_string();
        let words: Vec<_> = text.split_whitespace().collect();
        let text = words[..cut.index(words.len())].join(" ");
        let error = parse("test", &text).unwrap_err();
        prop_assert_eq!((error.line, error.column), (1, text.len() + 1), "{}", error);
        let at_the_end = matches!(&*error.problem, Problem::Unexpected { found, .. } if found == "the end of the text");
        prop_assert!(at_the_end, "{}", error);
    }
}

fn check_error(text: &str) {
    let Err(error) = read("test", text) else { return };
    let line = text.split('\n').nth(error.line - 1).expect("the line is in the text");
    assert!(error.column <= line.chars().count() + 1, "{error}");
    let rendered = error.to_string();
    assert!(rendered.starts_with(&format!("test:{}:{}: ", error.line, error.column)), "{rendered}");
    assert_eq!(rendered.split('\n').count(), 4, "{rendered}");
}

#[test]
fn the_mark_stands_under_the_place_in_long_lines() {
    let text = format!("BEGIN {} HOST ann AT \u{1}alpha 7777 eth0 {}", "\t".repeat(1000), "x".repeat(1000));
    let error = parse("long", &text).unwrap_err();
    assert_eq!(error.column, 1020);
    let rendered = error.to_string();
    let lines: Vec<_> = rendered.lines().collect();
    let mark = lines[3].chars().position(|c| c == '^').expect("there is a mark");
    let shown: Vec<char> = lines[2].chars().skip(mark).collect();
    assert!(shown.iter().collect::<String>().starts_with(" alpha 7777"), "{rendered}");
    assert!(lines.iter().all(|line| line.chars().count() < 220), "{rendered}");
}

#[test]
fn both_matches_take_every_form() {
    let mac = MacAddr::local(1);
    let forms = [
        ("ANY NONE", Some(Source::Any), Destination::Any),
        ("ANY 02:00:00:00:00:01", Some(Source::Any), Destination::Any),
        ("02:00:00:00:00:01", Some(Source::Exact(mac)), Destination::Exact(mac)),
        ("NOT 02:00:00:00:00:01", Some(Source::Not(mac)), Destination::Not(mac)),
        ("NONE", None, Destination::Default),
    ];
    for (source, expected_source, _) in &forms {
        for (destination, _, expected_destination) in &forms {
            let text = format!("BEGIN HOST u AT a 1 i ADD FORWARD INTERFACE a {source} {destination} i END");
            let result = read("forms", &text);
            match expected_source {
                Some(expected) => {
                    let topology = result.unwrap();
                    let rule = topology.rules_of(&HostName::new("a").unwrap()).next().unwrap();
                    assert_eq!((rule.source, rule.destination), (*expected, *expected_destination));
                }
                None => assert_eq!(*result.unwrap_err().problem, Problem::SourceNone),
            }
        }
    }
}

#[test]
fn programs_apply_to_what_is_there() {
    let base = read("base", "BEGIN HOST u AT a 1 i HOST u AT b 1 i ADD LINK UDP a a b END").unwrap();
    let apply = |text: &str| parse("change", text).unwrap().apply_to(base.clone());

    let grown =
        apply("BEGIN HOST u AT b 1 i HOST u AT c 1 i ADD LINK TCP c b c DELETE LINK UDP a b a END").unwrap();
    let host = |name| HostName::new(name).unwrap();
    let link = Link { kind: crate::LinkKind::Tcp, opener: host("c"), a: host("b"), b: host("c") };
    assert_eq!(grown.links.into_values().collect::<Vec<_>>(), [link]);
    assert_eq!(grown.hosts.len(), 3);

    let moved = apply("BEGIN HOST u AT b 2 i END").unwrap_err();
    assert_eq!(*moved.problem, Problem::DuplicateHost { host: host("b"), line: None });
}

#[test]
fn faults_of_programs_without_a_text_have_no_place() {
    let mut program = parse("two", "BEGIN HOST u AT a 1 i END").unwrap();
    program.hosts.push(program.hosts[0].item.clone().into());
    let fault = program.topology().unwrap_err();
    assert_eq!(fault.statement, None);
    assert_eq!(fault.to_string(), "expected a machine that isn't declared yet: host `a` is, at line 1");
}
