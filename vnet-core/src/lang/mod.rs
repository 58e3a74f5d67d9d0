//! The description language: hosts, links and rules as text.
//!
//! The grammar, with terminals in capitals:
//!
//! ```text
//! program     = BEGIN host* config* END
//! host        = HOST username AT machine port interface
//! config      = (ADD | DELETE) link* rule*
//! link        = LINK (TCP | UDP) machine machine machine
//! rule        = FORWARD (EDGE | INTERFACE) machine qualifier mac qualifier mac destination
//! qualifier   = NOT | ANY | (nothing)
//! destination = machine machine | interface
//! mac         = 01:02:03:04:05:06 | NONE
//! ```
//!
//! Words are separated by blanks or line ends, capitals count, and `#` starts
//! a comment that ends with the line. A `LINK` names the machine that opens
//! it, then its two ends. The two matches of a rule are those of source and
//! destination:
//!
//! | written | as source | as destination |
//! | --- | --- | --- |
//! | `02:00:00:00:00:01` | this address | this address |
//! | `NOT 02:00:00:00:00:01` | every other address | every other address |
//! | `ANY NONE` | every address | every address |
//! | `ANY 02:00:00:00:00:01` | as `ANY NONE` | as `ANY NONE` |
//! | `NONE` | an error | the default: every address, at the lowest strength |
//! | `NOT NONE` | an error | an error |
//!
//! A program is carried out from top to bottom (in a `DELETE` block the rules
//! go before the links). What makes no sense is an error, see [`Problem`]. A
//! rule over a link that isn't there is none, for daemons can be in that state;
//! [`Topology::warnings`](crate::Topology::warnings) names it.
//!
//! ```
//! let text = "
//!     BEGIN
//!     HOST ann AT alpha 7777 eth0
//!     HOST ann AT beta  7777 eth0
//!     ADD
//!     LINK UDP beta alpha beta            # beta opens it
//!     FORWARD EDGE      alpha ANY NONE 02:00:00:00:00:02 alpha beta
//!     FORWARD INTERFACE beta  ANY NONE 02:00:00:00:00:02 vm2
//!     END";
//! let topology = vnet_core::lang::read("two.vnet", text)?;
//! assert_eq!(topology.rule_count(), 2);
//! assert_eq!(vnet_core::lang::read("again", &topology.to_string())?, topology);
//!
//! let error = vnet_core::lang::read("two.vnet", &text.replace("UDP", "UPD")).unwrap_err();
//! assert_eq!((error.line, error.column), (6, 10));
//! # Ok::<(), vnet_core::lang::LangError>(())
//! ```

mod ast;
mod error;
mod evaluate;
mod lexer;
mod parser;
mod print;
#[cfg(test)]
mod tests;

pub use ast::{Config, HostRule, Operation, Position, Positioned, Program};
pub use error::{Fault, LangError, Problem};
pub use parser::parse;

use crate::topology::Topology;

/// The longest program that is read, in bytes.
pub const MAX_PROGRAM: usize = 16 << 20;

/// Reads `text`, which came from `file`, as the description of a whole overlay.
pub fn read(file: &str, text: &str) -> Result<Topology, LangError> {
    parse(file, text)?.topology().map_err(|fault| fault.locate(file, text))
}
