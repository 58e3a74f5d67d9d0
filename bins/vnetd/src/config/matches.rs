//! What a rule matches, as people write it in files and on command lines.

use vnet_core::{Destination, MacAddr, Source};

/// Reads what a rule wants of senders: `any`, a MAC address, or `not` and a MAC address.
pub fn parse_source(text: &str) -> Result<Source, String> {
    match parse_match(text)? {
        Match::Any => Ok(Source::Any),
        Match::Exact(mac) => Ok(Source::Exact(mac)),
        Match::Not(mac) => Ok(Source::Not(mac)),
        Match::Default => Err("`none` is for destinations; write `any` for every source".into()),
    }
}

/// Reads what a rule wants of receivers: `any`, a MAC address, `not` and a MAC
/// address, or `none` (the default rule).
pub fn parse_destination(text: &str) -> Result<Destination, String> {
    Ok(match parse_match(text)? {
        Match::Any => Destination::Any,
        Match::Exact(mac) => Destination::Exact(mac),
        Match::Not(mac) => Destination::Not(mac),
        Match::Default => Destination::Default,
    })
}

enum Match {
    Any,
    Exact(MacAddr),
    Not(MacAddr),
    Default,
}

fn parse_match(text: &str) -> Result<Match, String> {
    let mac = |text: &str| text.parse().map_err(|error: vnet_core::mac::ParseMacError| error.to_string());
    let lower = text.to_ascii_lowercase();
    let mut words = lower.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some("any"), None, None) => Ok(Match::Any),
        (Some("none"), None, None) => Ok(Match::Default),
        (Some("not"), Some(address), None) => mac(address).map(Match::Not),
        (Some(address), None, None) => mac(address).map(Match::Exact),
        _ => Err(format!("`{text}` is neither `any`, `none`, a MAC address nor `not` and a MAC address")),
    }
}
