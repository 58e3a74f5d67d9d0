//! What a demonstration shows: a live view and a table on the terminal, and one
//! self-contained HTML page.

mod html;
mod live;
mod model;
#[cfg(test)]
mod sample;
mod table;

pub(crate) use html::html;
pub(crate) use live::Live;
pub(crate) use model::{
    Application, Change, DemoReport, Event, Host, LinkChange, Migration, Moment, Overlay, OverlayLink, Phase,
    PhaseSpan, Plan, Rates, RuleChange, Timeline, TimelineSample,
};
pub(crate) use table::table;
