//! The plan as tables.

use std::collections::BTreeMap;

use crate::report::model::{Change, LinkChange, Migration, Plan, RuleChange};

use super::escape::{Text, number};

/// What was changed, and why.
pub(super) fn plan(plan: &Plan) -> String {
    format!(
        "<p class=\"reason\">{}</p>\n{}{}{}",
        Text(&plan.reason),
        migrations(&plan.migrations),
        links(&plan.links),
        rules(&plan.rules)
    )
}

fn migrations(migrations: &[Migration]) -> String {
    let row = |m: &Migration| {
        format!(
            "<tr><td>{}</td><td class=\"ends\">{} → {}</td><td class=\"number\">{}</td><td>{}</td></tr>\n",
            Text(&m.vm),
            Text(&m.from),
            Text(&m.to),
            m.took_ms.map_or_else(|| "–".to_owned(), |ms| format!("{} ms", number(ms))),
            Text(&m.reason)
        )
    };
    let rows: String = migrations.iter().map(row).collect();
    let heads = ["VM", "moves", "#took", "because"];
    table(&format!("Migrations ({})", migrations.len()), &heads, &rows)
}

fn links(links: &[LinkChange]) -> String {
    let row = |link: &LinkChange| {
        format!(
            "<tr><td>{}</td><td class=\"ends\">{} – {}</td><td>{}</td><td>{}</td></tr>\n",
            sign(link.change),
            Text(&link.a),
            Text(&link.b),
            Text(&link.kind),
            Text(&link.reason)
        )
    };
    let rows: String = links.iter().map(row).collect();
    table(&format!("Links ({})", links.len()), &["", "between", "kind", "because"], &rows)
}

/// Rules are many: their numbers, and the rules themselves folded away.
fn rules(rules: &[RuleChange]) -> String {
    let mut hosts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for rule in rules {
        let (added, deleted) = hosts.entry(&rule.host).or_default();
        match rule.change {
            Change::Add => *added += 1,
            Change::Delete => *deleted += 1,
        }
    }
    let row = |(host, (added, deleted)): (&str, (usize, usize))| {
        format!(
            "<tr><td>{}</td><td class=\"number\">{added}</td><td class=\"number\">{deleted}</td></tr>\n",
            Text(host)
        )
    };
    let rows: String = hosts.into_iter().map(row).collect();
    let numbers = table(&format!("Rules ({})", rules.len()), &["host", "#added", "#deleted"], &rows);
    if rules.is_empty() {
        return numbers;
    }
    let line = |rule: &RuleChange| {
        format!("{} {}: {}\n", plain_sign(rule.change), Text(&rule.host), Text(&rule.rule))
    };
    let lines: String = rules.iter().map(line).collect();
    format!("{numbers}<details><summary>Every rule</summary>\n<pre>{lines}</pre></details>\n")
}

fn sign(change: Change) -> &'static str {
    match change {
        Change::Add => "<span class=\"add\">added</span>",
        Change::Delete => "<span class=\"delete\">deleted</span>",
    }
}

const fn plain_sign(change: Change) -> char {
    match change {
        Change::Add => '+',
        Change::Delete => '-',
    }
}

/// A table, or a line that says that there is nothing in it. A head that
/// starts with `#` is that of a column of numbers.
pub(super) fn table(caption: &str, heads: &[&str], rows: &str) -> String {
    if rows.is_empty() {
        return format!("<p class=\"none\">{}: none</p>\n", Text(caption));
    }
    let head = |head: &&str| match head.strip_prefix('#') {
        Some(head) => format!("<th scope=\"col\" class=\"number\">{}</th>", Text(head)),
        None => format!("<th scope=\"col\">{}</th>", Text(head)),
    };
    let heads: String = heads.iter().map(head).collect();
    format!(
        "<div class=\"scroll\"><table><caption>{}</caption>\n<thead><tr>{heads}</tr></thead>\n\
         <tbody>\n{rows}</tbody></table></div>\n",
        Text(caption)
    )
}
