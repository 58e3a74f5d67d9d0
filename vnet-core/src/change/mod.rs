//! What has to change to make one overlay of another, and in which order.
//!
//! A [`Difference`] says what; a [`Plan`] says in which order it is done under
//! traffic so that no frame is lost and none is duplicated:
//!
//! 1. The new links come up.
//! 2. Every daemon gets the new rules, beside the old ones, as a rule set with
//!    a version of its own.
//! 3. Every daemon stamps the frames that enter at it with the new version. A
//!    frame is forwarded by the rules of its stamp on its whole way.
//! 4. Frames with the old stamp reach their destinations.
//! 5. Every daemon forgets the old rules.
//! 6. The links that are no longer needed go down.
//!
//! This is the two-phase update of Reitblatt et al., "Abstractions for Network
//! Update", SIGCOMM 2012. To add the new rules to the old and then take the old
//! away would not do: in between, frames that match rules of both would be
//! duplicated, and daemons that have changed and daemons that haven't would
//! send frames to and fro between them.
//!
//! ```
//! use vnet_core::change::{Difference, Plan, Stage};
//! use vnet_core::{RuleVersion, Shape, generate::Overlay};
//!
//! let star = Overlay::numbered(4, Shape::Star).generate()?;
//! let ring = Overlay::numbered(4, Shape::Ring).generate()?;
//! let difference = Difference::between(&star, &ring);
//! assert_eq!((difference.links_added.len(), difference.links_removed.len()), (2, 1));
//!
//! let plan = Plan::new(&star, &ring, RuleVersion(0), RuleVersion(1));
//! assert!(matches!(plan.stages[0], Stage::LinksUp { .. }));
//! assert!(plan.interrupted_links().is_empty());
//! # Ok::<(), vnet_core::generate::GenerateError>(())
//! ```

mod difference;
mod plan;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use difference::{Difference, LinkReplacement};
pub use plan::{Plan, Stage};
